"""Whatever the umask, nobody else can look into bundles and logs; and guessing a passphrase costs its rounds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.bundle.small import small
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.keys import Algorithm, PrivateKey, parse_private_key
from unlearnkit.signing.pbes2 import ROUNDS, encrypted_pem

GIVEN_AWAY = {"log.vkey", "signer.pub.pem"}


def cleared(office: Workspace) -> Path:
    """The certificate of somebody who is not in the model in use, whose bundle is signed here."""
    (office.root / "run").mkdir(mode=0o700)
    contents = small(office.root / "run", weights=False, key=PseudonymKey.load(office.pseudonym_key_path))
    write_bundle(office.root / "bundle", manifest=contents.manifest, signer=office.signer_key(), **contents.contents)
    shutil.rmtree(office.root / "run")
    office.register(office.root / "bundle", name="digits", version="1")
    return office.certify_absence(office.receive(["nobody@example.org"]), kind="absence").path


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_bundles_and_workspaces_are_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        office = Workspace.create(tmp_path / "office", origin="example.com/log")
        assert cleared(office).parent.name == "certificates"
    finally:
        os.umask(before)
    for path in (office.log_path, *office.root.rglob("*/*")):
        if not path.is_symlink():
            expected = 0o700 if path.is_dir() else 0o644 if path.name in GIVEN_AWAY else 0o600
            assert path.stat().st_mode & 0o777 == expected, path
    for folder in ("bundle", "releases", "certificates", "keys"):
        assert (office.root / folder).stat().st_mode & 0o777 == 0o700
    assert (office.root / "audit.signed").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("readers", "file", "folder"), [("group", 0o640, 0o750), ("everybody", 0o644, 0o755)])
def test_who_else_may_read_is_a_choice_of_the_settings_and_never_about_secrets(tmp_path, readers, file, folder):
    office = Workspace.create(tmp_path / "office", origin="example.com/log")
    settings = office.root / "unlearnkit.toml"
    settings.write_text(f'readers = "{readers}"\n{settings.read_text()}')
    path, bundle = cleared(office), office.root / "bundle"
    office.share(bundle)  # which `Workspace.sketch` does
    shared = [path, office.root / "audit.signed", *office.log_path.rglob("*"), *bundle.rglob("*")]
    assert len(shared) > 8
    for place in (*shared, path.parent, office.log_path, bundle):
        assert place.stat().st_mode & 0o777 == (folder if place.is_dir() else file), place
    for place in office.keys_path.iterdir():
        assert place.stat().st_mode & 0o777 == (0o644 if place.name in GIVEN_AWAY else 0o600), place
    assert office.keys_path.stat().st_mode & 0o777 == 0o700


@needs.program("openssl")
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_openssl_reads_an_encrypted_key_and_tells_its_rounds(tmp_path, algorithm):
    key = PrivateKey.generate(algorithm)
    (tmp_path / "key.pem").write_bytes(key.private_pem(b"correct horse"))
    command = ["openssl", "pkey", "-in", str(tmp_path / "key.pem"), "-passin", "pass:correct horse", "-pubout"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == key.public.pem
    told = subprocess.run(
        ["openssl", "asn1parse", "-in", str(tmp_path / "key.pem")], capture_output=True, check=True
    ).stdout
    assert int(re.search(rb"INTEGER +:([0-9A-F]+)", told)[1], 16) == ROUNDS >= 600_000
    assert b"hmacWithSHA256" in told
    assert parse_private_key(key.private_pem(b"x"), where="x", passphrase=b"x").public == key.public


def test_a_passphrase_is_not_empty():
    with pytest.raises(ValueError, match="must be 1 or more bytes"):
        encrypted_pem(b"", b"")
