"""Whatever the umask, nobody else can look into bundles and logs; and guessing a passphrase costs its rounds."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests import needs
from tests.bundle.small import small
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.keys import Algorithm, PrivateKey, parse_private_key
from unlearnkit.signing.pbes2 import ROUNDS, encrypted_pem

GIVEN_AWAY = {"log.vkey", "signer.pub.pem"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_bundles_and_workspaces_are_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        small(tmp_path, weights=False).write(tmp_path / "bundle")
        office = Workspace.create(tmp_path / "office", origin="example.com/log")
        office.receive(["ann"])
        office.checkpoint()
    finally:
        os.umask(before)
    for path in [tmp_path / "bundle", *(tmp_path / "bundle").rglob("*"), office.log_path, *office.root.rglob("*/*")]:
        expected = 0o700 if path.is_dir() else 0o644 if path.name in GIVEN_AWAY else 0o600
        assert path.stat().st_mode & 0o777 == expected, path
    assert (office.root / "audit.signed").stat().st_mode & 0o777 == 0o600


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
