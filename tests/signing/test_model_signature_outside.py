"""model.sig as outside programs see it: the OpenSSF tool and openssl accept ours, and refuse tampered ones."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_signing import signing

from tests import needs
from tests.signing.openssl import openssl_verifies
from unlearnkit.signing.model_signature import SIGNATURE_NAME, sign_listing, verify_listing

FILES = {
    "manifest.json": b"{}",
    ".hidden": b"h",
    "probes/margins.safetensors": b"tensor",
    "probes.txt": b"sorts after probes/ by parts, before it by characters",
    "empty": b"",
    "sub/deep/ünïcode name.txt": b"x",
}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


@pytest.fixture(scope="module")
def signature(signer):
    return sign_listing(DIGESTS, name="bundle", signers=[signer])


def test_the_tool_accepts_ours(tmp_path, signer, second_signer):
    raw = sign_listing(DIGESTS, name="bundle", signers=[signer, second_signer])
    folder = _folder(tmp_path / "renamed", FILES, raw)
    run = _model_signing("verify", folder, signer, tmp_path)
    assert run.returncode == 0, run.stderr
    assert b"Verification succeeded" in run.stdout + run.stderr


@pytest.mark.parametrize("abuse", ["changed file", "extra file", "missing file", "changed signature", "other key"])
def test_the_tool_rejects_tampering(tmp_path, signature, signer, stranger, abuse):
    folder = _folder(tmp_path / "bundle", FILES, signature)
    if abuse == "changed file":
        (folder / "probes" / "margins.safetensors").write_bytes(b"tensoR")
    if abuse == "extra file":
        (folder / "probes" / "extra").touch()
    if abuse == "missing file":
        (folder / "empty").unlink()
    if abuse == "changed signature":
        (folder / SIGNATURE_NAME).write_bytes(_with_other_name(signature))
    run = _model_signing("verify", folder, stranger if abuse == "other key" else signer, tmp_path)
    assert run.returncode == 1, run.stdout


def test_we_accept_what_the_tool_signs(tmp_path, signer):
    folder = _folder(tmp_path / "bundle", FILES, b"")
    (folder / SIGNATURE_NAME).unlink()
    (tmp_path / "key.pem").write_bytes(signer.private_pem())
    signing.Config().use_elliptic_key_signer(private_key=tmp_path / "key.pem").sign(folder, tmp_path / "out.sig")
    raw = (tmp_path / "out.sig").read_bytes()
    assert dict(verify_listing(raw, where="x", keys=[signer.public]).digests) == DIGESTS


@needs.program("openssl")
def test_openssl_accepts_ours_and_not_a_tampered_one(tmp_path, signature, signer):
    assert openssl_verifies(signature, signer.public.pem, tmp_path)
    assert not openssl_verifies(_with_other_name(signature), signer.public.pem, tmp_path)


def _folder(path: Path, files: dict[str, bytes], signature: bytes) -> Path:
    for name, data in {**files, SIGNATURE_NAME: signature}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def _with_other_name(signature: bytes) -> bytes:
    """A change that nobody but the signature notices: the name of the statement's subject."""
    bundle = json.loads(signature)
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b'"name":"bundle"', b'"name":"bundlf"')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    return json.dumps(bundle).encode()


def _model_signing(verb: str, folder: Path, key, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    public = tmp_path / "pub.pem"
    public.write_bytes(key.public.pem)
    command = [sys.executable, "-m", "model_signing", verb, "key", folder, "--signature", folder / SIGNATURE_NAME]
    environment = {**os.environ, "HOME": str(tmp_path)}
    return subprocess.run([*command, "--public_key", public], capture_output=True, check=False, env=environment)
