"""A key behind a command: openssl stands for a token, and for who checks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests import needs
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.workspace import FILE_NAME, WorkspaceFiles
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.command import commanded_key
from unlearnkit.signing.keys import Algorithm, PrivateKey, write_private_key, write_public_key


@pytest.fixture
def token(tmp_path):
    """A key that only a command can use."""
    key = PrivateKey.generate(Algorithm.P256)
    write_private_key(tmp_path / "token.pem", key)
    command = ["openssl", "pkeyutl", "-sign", "-inkey", str(tmp_path / "token.pem"), "-pkeyopt", "digest:sha256"]
    return command, key.public


@needs.program("openssl")
def test_a_command_signs_as_the_key_itself_would(token, tmp_path):
    command, public = token
    key = commanded_key(command, public)
    assert key.public == public
    signature = key.sign(b"message")
    assert public.verify(signature, b"message") == b"message"
    (tmp_path / "sig").write_bytes(signature)
    write_public_key(tmp_path / "pub.pem", public)
    check = ["openssl", "dgst", "-sha256", "-verify", tmp_path / "pub.pem", "-signature", tmp_path / "sig"]
    assert subprocess.run(check, input=b"message", capture_output=True, check=True).stdout == b"Verified OK\n"
    with pytest.raises(RefusedError, match="the private key is not here"):
        key.private_pem()


@needs.program("openssl")
def test_a_signature_by_another_key_is_not_used(token):
    with pytest.raises(VerificationError, match="gave a signature that is not by"):
        commanded_key(token[0], PrivateKey.generate(Algorithm.P256).public).sign(b"message")


def test_a_command_that_fails_or_dawdles_is_refused_and_says_why(monkeypatch):
    public = PrivateKey.generate(Algorithm.P256).public
    failing = [sys.executable, "-c", "import sys; sys.exit('no token is plugged in')"]
    with pytest.raises(RefusedError, match="did not sign: exit code 1: no token is plugged in"):
        commanded_key(failing, public).sign(b"message")
    monkeypatch.setattr("unlearnkit.signing.command.SECONDS", 0)
    with pytest.raises(RefusedError, match="did not sign within 0 seconds"):
        commanded_key([sys.executable, "-c", "input()"], public).sign(b"message")


@needs.program("openssl")
def test_a_workspace_signs_with_the_command_of_its_settings(token, tmp_path):
    office = WorkspaceFiles.create(tmp_path / "office", origin="example.com/log")
    file, keys = office.root / FILE_NAME, office.root / "keys"
    command = ", ".join(f'"{part}"' for part in token[0])
    file.write_text(f"sign = [{command}]\n{file.read_text()}")
    for name in ("signer.pem", "signer.pub.pem"):
        (keys / name).unlink()
    write_public_key(keys / "signer.pub.pem", token[1])
    assert token[1].verify(office.signer_key().sign(b"x"), b"x") == b"x"


@needs.program("openssl")
def test_a_log_is_signed_with_the_command_of_its_settings_before_and_after_a_rotation(tmp_path, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(clock, "utc_now", lambda: datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=next(seconds)))
    office = Workspace.create(tmp_path / "office", origin="example.com/log")
    file, first = office.root / FILE_NAME, office.log_public_key().public
    (tmp_path / "sign.sh").write_text('cat > "$0.in" && openssl pkeyutl -sign -rawin -inkey "$1" -in "$0.in"')
    token = PrivateKey.generate(Algorithm.ED25519)
    write_private_key(tmp_path / "token.pem", token)
    with pytest.raises(RefusedError, match="the log signs with ed25519"):
        office.rotate_key("log", to=PrivateKey.generate(Algorithm.P256).public)
    office.rotate_key("log", to=token.public)
    file.write_text(f'sign_log = ["sh", "{tmp_path}/sign.sh", "{tmp_path}/token.pem"]\n{file.read_text()}')
    office.receive(["ann"])
    assert office.checkpoint().keys == (token.public, first)  # with the key in the file as well, until that is revoked
    office.revoke_key(first.key_id)
    office.receive(["ben"])
    assert office.checkpoint().keys == (token.public,)
    assert office.view().unsigned == 0
