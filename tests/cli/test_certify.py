"""The way of a request through the commands: keys, certificate, verification, and what nobody may see of the keys."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from bundle.small import UNITS, small
from click.testing import CliRunner, Result
from compliance.issuance import policy_text
from unlearnkit.cli.main import main

from unlearnkit.bundle import PseudonymKey, sign_bundle, write_bundle
from unlearnkit.compliance.workspace import Workspace
from unlearnkit.signing.keys import PrivateKey, read_private_key

PASSPHRASE = "correct horse battery staple"


def run(*arguments: str | Path, passphrase: bool = False, code: int | None = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments], env={"SECRET": PASSPHRASE} if passphrase else None)
    assert code is None or result.exit_code == code, result.output
    return result


@dataclass(frozen=True)
class Office:
    root: Path
    outputs: list[str]

    def run(self, *arguments: str | Path, code: int | None = 0, secret: bool = True) -> Result:
        """In the workspace; everything that is printed is kept."""
        options = ["--passphrase-env", "SECRET"] if secret else []
        result = run(*arguments, *options, passphrase=True, code=code)
        self.outputs.append(result.output + result.stderr)
        return result

    def signer(self) -> PrivateKey:
        return read_private_key(self.root / "keys" / "signer.pem", passphrase=PASSPHRASE.encode())


@pytest.fixture
def office(tmp_path, monkeypatch) -> Office:
    """A workspace with encrypted keys, and a bundle of five people that it has signed."""
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_bytes(policy_text())
    started = run("init", "office", "--policy", "../policy.toml", "--passphrase-env", "SECRET", passphrase=True)
    made = Office(tmp_path / "office", [started.output])
    monkeypatch.chdir(made.root)
    key = PseudonymKey.load(Workspace.find().pseudonym_key_path)
    (tmp_path / "run").mkdir()
    contents = small(tmp_path / "run", weights=False)
    units = [key.pseudonym(name) for name in UNITS]
    write_bundle(Path("bundle"), manifest=contents.manifest, **{**contents.contents, "units": units})
    sign_bundle(Path("bundle"), made.signer())
    return made


def certified(office: Office) -> Path:
    office.run("request-delete", "ann", secret=False)
    office.run("certify", "R2", "--bundle", "bundle")
    return Path("R2.certificate.json")


def test_a_certificate_is_issued_proved_and_verified(office):
    certificate = certified(office)
    proof = certificate.with_suffix(".tlog-proof")
    paths = ["bundle", "audit", str(certificate), str(proof), "audit/checkpoint"]
    result = office.run("--json", "verify", *paths, "--bundle", "bundle", secret=False)
    record = json.loads(result.stdout)
    assert record["verified"] is True
    assert [item["kind"] for item in record["paths"]] == ["bundle", "log", "certificate", "proof", "checkpoint"]
    checks = [check["name"] for check in record["paths"][2]["checks"]]
    assert checks == ["signature", "bundle", "artefacts", "log", "request", "delta budget", "numbers", "decision"]
    assert all(check["passed"] for item in record["paths"] for check in item["checks"])


def test_a_tampered_certificate_is_a_verification_failure_that_names_the_check(office):
    certificate = certified(office)
    envelope = json.loads(certificate.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"units":5', b'"units":6')
    envelope["payload"] = base64.b64encode(payload).decode()
    certificate.write_bytes(json.dumps(envelope, separators=(",", ":")).encode())
    result = office.run("--json", "verify", certificate, "--bundle", "bundle", secret=False, code=4)
    record = json.loads(result.stdout)
    assert record["verified"] is False
    assert [check["passed"] for check in record["paths"][0]["checks"]] == [False]


def test_what_is_none_of_ours_is_malformed(office):
    Path("notes.txt").write_text("hello")
    result = office.run("verify", "notes.txt", secret=False, code=3)
    assert "is no bundle, log, checkpoint, proof, evidence or certificate" in result.stderr


def test_without_trusted_keys_nothing_is_verified(office, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no key is trusted" in run("verify", "office/bundle", code=4).stderr


def test_over_budget_is_refused(office):
    for name, code in (("ann", 0), ("ben", 0), ("cat", 5)):
        request = json.loads(office.run("--json", "request-delete", name, secret=False).stdout)
        office.run("certify", request["requests"][0]["id"], "--bundle", "bundle", code=code)


def test_verifying_needs_no_torch(office):
    certificate = certified(office)
    code = f"""
import sys
sys.modules["torch"] = None
from unlearnkit.cli.main import main
main(["verify", "bundle", {str(certificate)!r}, "--bundle", "bundle"], standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("VERIFIED: ") == 2


def test_no_command_shows_or_stores_a_private_key_or_its_passphrase(office):
    certificate = certified(office)
    office.run("keys", "new", "own.pem")
    office.run("keys", "show", "own.pem")
    office.run("-v", "keys", "show", "missing.pem", code=None)
    office.run("-v", "certify", "R9", "--bundle", "bundle", code=None)
    office.run("-v", "log", "checkpoint")
    office.run("-v", "verify", certificate, "--bundle", "bundle", secret=False)
    office.run("-v", "info", "bundle", secret=False)
    office.run("-v", "predict", "bundle", "--probe", "test_loss", "--delete", "ann", secret=False)
    wrong = CliRunner().invoke(
        main, ["-v", "keys", "show", "own.pem", "--passphrase-env", "SECRET"], env={"SECRET": "wrong " + PASSPHRASE}
    )
    assert wrong.exit_code != 0
    office.outputs.append(wrong.output + wrong.stderr)
    secrets = _traces(office.signer()) + _traces(read_private_key(Path("own.pem"), passphrase=PASSPHRASE.encode()))
    stored = {
        str(file): file.read_bytes() for file in office.root.rglob("*") if file.is_file() and "private" not in file.name
    }
    for secret in (*secrets, PASSPHRASE.encode()):
        assert not any(secret in text.encode() for text in office.outputs)
        assert [name for name, raw in stored.items() if secret in raw] == []


def _traces(key: PrivateKey) -> list[bytes]:
    """The unencrypted key in every spelling that a leak would have: PEM lines, DER, the number itself."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    number = load_pem_private_key(key.private_pem(), None).private_numbers().private_value
    raw = number.to_bytes(32, "big")
    lines = [line for line in key.private_pem().splitlines() if not line.startswith(b"-----")]
    return [*lines[:1], raw, raw.hex().encode(), base64.b64encode(raw), str(number).encode()]


def test_a_new_key_is_private_and_never_overwrites(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = json.loads(run("--json", "keys", "new", "k.pem").stdout)
    assert Path("k.pem").stat().st_mode & 0o777 == 0o600
    assert Path("k.pub.pem").read_text() == record["public_key"]
    assert json.loads(run("--json", "keys", "show", "k.pub.pem").stdout)["key_id"] == record["key_id"]
    assert json.loads(run("--json", "keys", "show", "k.pem").stdout)["key_id"] == record["key_id"]
    before = Path("k.pem").read_bytes()
    assert run("keys", "new", "k.pem", code=None).exit_code == 1
    assert Path("k.pem").read_bytes() == before
    Path("k.pem").chmod(0o644)
    assert run("keys", "show", "k.pem", code=None).exit_code != 0
