"""What lies around under the right name is not believed: unfinished work, keys and folders of somebody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.bundle.small import small
from unlearnkit.bundle import Bundle, write_bundle
from unlearnkit.errors import FormatError, RefusedError
from unlearnkit.files import read_private, write_new
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.sketching.lock import locked


def enter(folder):
    with locked(folder, busy="busy"):
        return sorted(path.name for path in folder.iterdir())


def test_unfinished_work_that_was_made_here_is_taken_up_again_also_by_another_process(tmp_path):
    assert enter(tmp_path / "work") == ["lock", "made-here"]
    (tmp_path / "work" / "piece").write_bytes(b"1")
    assert "piece" in enter(tmp_path / "work")
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700
    code = "import sys, pathlib, tests.attacks.test_planted as t; t.enter(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "work")], check=True)


@pytest.mark.parametrize("delivered", ["bare", "with a mark of somebody else", "with that of another folder"])
def test_unfinished_work_that_was_delivered_is_not_taken_up(tmp_path, delivered):
    """As with a bundle that came with `.audit.json.partial`, whose numbers were signed as retrainings."""
    folder = tmp_path / ".audit.json.partial"
    folder.mkdir(mode=0o700)
    (folder / "run.json").write_bytes(b"{}")
    if delivered == "with a mark of somebody else":
        (folder / "made-here").write_text("0" * 64)
    if delivered == "with that of another folder":
        enter(tmp_path / "mine")
        shutil.copy(tmp_path / "mine" / "made-here", folder)
    with pytest.raises(RefusedError, match="was not made here by you: nothing in it is believed"):
        enter(folder)


def test_unfinished_work_that_others_could_have_written_to_is_not_taken_up(tmp_path):
    enter(tmp_path / "work")
    (tmp_path / "work").chmod(0o770)
    with pytest.raises(RefusedError, match="was not made here by you"):
        enter(tmp_path / "work")


def test_unfinished_work_behind_a_link_is_not_taken_up(tmp_path):
    enter(tmp_path / "work")
    (tmp_path / "link").symlink_to(tmp_path / "work")
    with pytest.raises(RefusedError, match="was not made here by you"):
        enter(tmp_path / "link")


def test_the_key_of_another_user_is_refused(tmp_path, monkeypatch):
    write_new(tmp_path / "key.pem", b"secret", mode=0o600)
    owner = (tmp_path / "key.pem").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # what the administrator owns counts as one's own
        os.chown(tmp_path / "key.pem", 12345, -1)
    with pytest.raises(RefusedError, match="belongs to somebody else"):
        read_private(tmp_path / "key.pem")


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    folder, signer = tmp_path_factory.mktemp("signed"), PrivateKey.generate(Algorithm.P256)
    (folder / "run").mkdir()
    contents = small(folder / "run", weights=False)
    write_bundle(folder / "bundle", manifest=contents.manifest, signer=signer, **contents.contents)
    return folder / "bundle", signer.public


@pytest.mark.parametrize("name", [".git", "sketch/.git", "empty", "probes/deeper/empty"])
def test_a_folder_that_should_not_be_there_is_a_difference_though_it_is_empty(signed, tmp_path, name):
    path = shutil.copytree(signed[0], tmp_path / "bundle")
    (path / name).mkdir(parents=True)
    with pytest.raises(FormatError, match=f"not in the bundle's manifest: '{name}/'"):
        Bundle.open(path, trust=[signed[1]])


def test_a_folder_that_cannot_be_looked_into_is_a_difference(signed, tmp_path, monkeypatch):
    path = shutil.copytree(signed[0], tmp_path / "bundle")
    (path / "probes" / "closed").mkdir()
    real = os.scandir

    def closed(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(FormatError, match=r"cannot be looked into: .*closed: Permission denied"):
        Bundle.open(path, trust=[signed[1]])


def test_files_inside_a_git_folder_are_a_difference(signed, tmp_path):
    path = shutil.copytree(signed[0], tmp_path / "bundle")
    (path / ".git").mkdir()
    (path / ".git" / "config").write_bytes(b"")
    with pytest.raises(FormatError, match=r"not in the bundle's manifest: '.git/config'"):
        Bundle.open(path, trust=[signed[1]])
