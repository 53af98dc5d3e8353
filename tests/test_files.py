"""Nothing is half-written, whatever call fails; secrets are never open to others, not even for a moment."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from itertools import product
from pathlib import Path

import pytest

from unlearnkit.errors import FormatError, RefusedError
from unlearnkit.files import (
    decode_text,
    fsync_directory,
    fsync_file,
    publish_directory,
    read_private,
    write_atomic,
    write_new,
)

WRITERS = (write_atomic, write_new)


@pytest.fixture
def calls(monkeypatch):
    """Names of the calls that matter for durability, in order, with what they were about."""
    seen: list[tuple[str, str]] = []
    for name in ("open", "write", "fchmod", "fsync", "replace", "rename", "link", "unlink"):
        monkeypatch.setattr(os, name, _recorded(name, getattr(os, name), seen))
    return seen


@pytest.mark.parametrize("write", WRITERS)
def test_a_written_file_has_its_bytes_and_mode_and_leaves_nothing_else(tmp_path, write):
    write(tmp_path / "a", b"data", mode=0o640)
    assert (tmp_path / "a").read_bytes() == b"data"
    assert _mode(tmp_path / "a") == 0o640
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize("write", WRITERS)
def test_the_mode_does_not_depend_on_the_umask(tmp_path, write):
    previous = os.umask(0o077)
    try:
        write(tmp_path / "a", b"data", mode=0o644)
    finally:
        os.umask(previous)
    assert _mode(tmp_path / "a") == 0o644


def test_an_existing_file_is_replaced_with_the_new_mode(tmp_path):
    write_atomic(tmp_path / "a", b"old", mode=0o644)
    write_atomic(tmp_path / "a", b"new", mode=0o600)
    assert ((tmp_path / "a").read_bytes(), _mode(tmp_path / "a")) == (b"new", 0o600)


def test_a_new_file_never_replaces_another(tmp_path):
    write_new(tmp_path / "a", b"old")
    with pytest.raises(FileExistsError, match="a"):
        write_new(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


def test_a_new_file_does_not_follow_a_dangling_link(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="a"):
        write_new(tmp_path / "a", b"secret")
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("write", "call"), [*product(WRITERS, ("fchmod", "fsync")), (write_atomic, "replace"), (write_new, "link")]
)
def test_a_failure_before_the_name_is_given_changes_nothing(tmp_path, monkeypatch, write, call):
    if write is write_atomic:
        (tmp_path / "a").write_bytes(b"old")
    before = {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)}

    def fail(*_args, **_kwargs):
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="injected"):
        write(tmp_path / "a", b"new")
    assert {name: (tmp_path / name).read_bytes() for name in _names(tmp_path)} == before


@pytest.mark.parametrize("write", WRITERS)
def test_writing_into_a_missing_folder_makes_nothing(tmp_path, write):
    with pytest.raises(FileNotFoundError, match="missing"):
        write(tmp_path / "missing" / "a", b"data")
    assert _names(tmp_path) == []


def test_a_write_that_stops_halfway_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    resource = pytest.importorskip("resource")
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, previous[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomic(tmp_path / "a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


@pytest.mark.parametrize(("write", "naming"), [(write_atomic, "replace"), (write_new, "link")])
def test_the_order_is_mode_then_bytes_then_disk_then_name_then_directory(tmp_path, calls, write, naming):
    write(tmp_path / "a", b"data", mode=0o600)
    names = [name for name, _ in calls if name in ("fchmod", "fsync", naming)]
    assert names == ["fchmod", "fsync", naming, "fsync"]
    synced = [subject for name, subject in calls if name == "fsync"]
    assert synced[0].startswith(str(tmp_path / ".a."))
    assert synced[1] == str(tmp_path)


def test_the_mode_is_set_while_the_file_is_empty(tmp_path, monkeypatch):
    sizes = []
    fchmod = os.fchmod

    def watch(descriptor, mode):
        sizes.append((os.fstat(descriptor).st_size, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", watch)
    write_atomic(tmp_path / "a", b"secret", mode=0o600)
    assert sizes == [(0, 0o600)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o610])
def test_a_secret_that_others_can_touch_is_refused(tmp_path, mode):
    path = tmp_path / "secret"
    write_new(path, b"secret", mode=mode)
    with pytest.raises(
        RefusedError, match=f"secret is open to others: its mode is {mode:04o}, expected 0600"
    ) as caught:
        read_private(path)
    assert caught.value.hint is not None
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_of_its_own_is_read(tmp_path, mode):
    write_new(tmp_path / "secret", b"secret", mode=mode)
    assert read_private(tmp_path / "secret") == b"secret"


def test_publishing_puts_everything_on_disk_before_the_name(tmp_path, calls):
    staging = tmp_path / "staging"
    (staging / "sub" / "deep").mkdir(parents=True)
    for name in ("x", "sub/y", "sub/deep/z"):
        (staging / name).write_bytes(b"data")
    calls.clear()
    publish_directory(staging, tmp_path / "final")
    assert (tmp_path / "final" / "sub" / "deep" / "z").read_bytes() == b"data"
    assert not staging.exists()
    rename = [name for name, _ in calls].index("rename")
    synced = [subject for name, subject in calls[:rename] if name == "fsync"]
    assert sorted(synced) == sorted(str(staging / name) for name in ("", "x", "sub", "sub/y", "sub/deep", "sub/deep/z"))
    assert synced[-1] == str(staging)
    assert [subject for name, subject in calls[rename:] if name == "fsync"] == [str(tmp_path)]


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_publishing_never_replaces_anything(tmp_path, kind):
    staging, final = tmp_path / "staging", tmp_path / "final"
    staging.mkdir()
    (staging / "x").write_bytes(b"data")
    make = {"directory": final.mkdir, "file": final.touch, "link": lambda: final.symlink_to("nowhere")}
    make[kind]()
    with pytest.raises(FileExistsError, match="final exists already"):
        publish_directory(staging, final)
    assert (staging / "x").read_bytes() == b"data"
    assert final.is_symlink() == (kind == "link")


def test_publishing_what_is_not_there_fails(tmp_path):
    with pytest.raises(FileNotFoundError, match="staging"):
        publish_directory(tmp_path / "staging", tmp_path / "final")
    assert _names(tmp_path) == []


def test_publishing_refuses_links(tmp_path):
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "x").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic links"):
        publish_directory(staging, tmp_path / "final")
    assert not (tmp_path / "final").exists()


def test_syncing_tells_files_from_directories(tmp_path):
    fsync_directory(tmp_path)
    with pytest.raises(FileNotFoundError, match="gone"):
        fsync_file(tmp_path / "gone")
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError, match="a"):
        fsync_directory(tmp_path / "a")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _recorded(name, function, seen):
    def wrapper(*args, **kwargs):
        subject = Path(f"/proc/self/fd/{args[0]}").readlink() if isinstance(args[0], int) else args[0]
        seen.append((name, str(subject)))
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_editors_and_spreadsheets_is_read(encoding):
    assert decode_text("Müller\r\nJosé".encode(encoding), where="x") == "Müller\r\nJosé"
    assert decode_text(codecs.BOM_UTF16_BE + "Müller".encode("utf-16-be"), where="x") == "Müller"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("ann\nMüller".encode("latin-1"), "x line 2: expected UTF-8, got the byte 0xfc"),
        ("Müller".encode("utf-16-le"), "x"),
        ("ann".encode("utf-16-le"), "x holds NUL characters"),
        (codecs.BOM_UTF16_LE + b"a", "x line 1: expected UTF-16"),
    ],
)
def test_text_in_another_encoding_is_refused_with_a_cure(raw, message):
    with pytest.raises(FormatError, match=message) as refused:
        decode_text(raw, where="x")
    assert "iconv" in refused.value.hint
    assert ("UTF-16LE" in refused.value.hint) is (b"\0" in raw)
