"""Trusted time: a local authority (`openssl ts`) stamps checkpoints; what it did not stamp has no time."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from tests import needs
from unlearnkit.compliance.log.checkpoint import checkpoint_text
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.errors import FormatError, SignatureError
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.timestamp import Authority, timestamp_request, verify_timestamp

pytestmark = needs.program("openssl")

CONFIG = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = {name}
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[ts]
default_tsa = tsa_config
[tsa_config]
dir = {folder}
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""


def openssl(*arguments: object) -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=True).stdout


def authority(folder: Path, name: str) -> Path:
    """A root and a time-stamping certificate under it."""
    folder.mkdir()
    config = folder / "openssl.cnf"
    config.write_text(CONFIG.format(folder=folder, name=name))
    (folder / "serial").write_text("01\n")
    for who in ("ca", "tsa"):
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / f"{who}.key")
    openssl("req", "-x509", "-new", "-key", folder / "ca.key", "-days", 30, "-config", config, "-extensions", "ca",
            "-out", folder / "ca.pem")  # fmt: skip
    openssl("req", "-new", "-key", folder / "tsa.key", "-config", config, "-subj", f"/CN={name} stamps", "-out",
            folder / "tsa.csr")  # fmt: skip
    openssl("x509", "-req", "-in", folder / "tsa.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-days", 30, "-extfile", config, "-extensions", "tsa",
            "-out", folder / "tsa.pem")  # fmt: skip
    return folder


def stamped(folder: Path, request: bytes) -> bytes:
    (folder / "request.tsq").write_bytes(request)
    openssl("ts", "-reply", "-config", folder / "openssl.cnf", "-section", "tsa_config", "-queryfile",
            folder / "request.tsq", "-signer", folder / "tsa.pem", "-inkey", folder / "tsa.key", "-out",
            folder / "reply.tsr")  # fmt: skip
    return (folder / "reply.tsr").read_bytes()


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("tsa") / "one", "one")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("tsa") / "two", "two")


def fails(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def run(*arguments: str) -> str:
    result = fails(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_stamp_is_by_a_named_authority_over_the_very_bytes(tsa, stranger):
    raw = stamped(tsa, timestamp_request(b"data"))
    known = Authority.read([tsa / "ca.pem"])
    time = verify_timestamp(raw, data=b"data", where="x", authority=known)
    assert abs(time - datetime.now(UTC)) < timedelta(hours=1)
    for data, roots in ((b"other", known), (b"data", Authority.read([stranger / "ca.pem"])), (b"data", Authority(()))):
        with pytest.raises(SignatureError):
            verify_timestamp(raw, data=data, where="x", authority=roots)
    for damaged in (b"", b"x", raw[:50], raw + b"x", raw[:200] + bytes([raw[200] ^ 1]) + raw[201:]):
        with pytest.raises((FormatError, SignatureError)):
            verify_timestamp(damaged, data=b"data", where="x", authority=known)


def test_a_log_shows_since_when_its_entries_have_been_there(tsa, stranger, tmp_path, monkeypatch):
    office = Workspace.create(tmp_path / "office", origin="example.com/log")
    monkeypatch.chdir(office.root)
    run("log", "timestamp", "-o", "request.tsq")
    raw = stamped(tsa, (office.root / "request.tsq").read_bytes())
    (office.root / "reply.tsr").write_bytes(raw)
    assert fails("log", "timestamp", "--import", "reply.tsr", "--authority", str(stranger / "ca.pem")).exit_code == 4
    assert "entries   2" in run("log", "timestamp", "--import", "reply.tsr", "--authority", str(tsa / "ca.pem"))
    office.receive(["ann"])
    head = office.checkpoint()
    assert fails("log", "timestamp", "--import", "reply.tsr", "--authority", str(tsa / "ca.pem")).exit_code == 4
    shown = json.loads(run("--json", "log", "verify", "--authority", str(tsa / "ca.pem")))
    assert [(item["size"], item["time"][:4]) for item in shown["timestamps"]] == [(2, str(datetime.now(UTC).year))]
    assert "there at" not in run("log", "verify")
    (office.root / "data").write_text(checkpoint_text(office.origin, 2, office.view().tree().root(2)))
    told = openssl("ts", "-verify", "-data", office.root / "data", "-in", office.log_path / "timestamps" / "2.tsr",
                   "-CAfile", tsa / "ca.pem")  # fmt: skip
    assert b"Verification: OK" in told or told == b""
    (office.log_path / "timestamps" / "2.tsr").rename(office.log_path / "timestamps" / f"{head.size}.tsr")
    assert fails("log", "verify", "--authority", str(tsa / "ca.pem")).exit_code == 4


def test_a_stamp_of_another_log_is_none_of_this_one(tsa, tmp_path):
    office = Workspace.create(tmp_path / "office", origin="example.com/log")
    other = Workspace.create(tmp_path / "other", origin="example.com/other")
    head = publish_checkpoint(other.open_log(), other.log_key())
    raw = stamped(tsa, timestamp_request(checkpoint_text(head.origin, head.size, head.root).encode()))
    (office.log_path / "timestamps").mkdir()
    (office.log_path / "timestamps" / "2.tsr").write_bytes(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(office.root)
        assert fails("log", "verify", "--authority", str(tsa / "ca.pem")).exit_code == 4
