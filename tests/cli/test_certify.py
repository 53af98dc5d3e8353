"""The way of a request through the commands: certificate, proof, verification, delta budget."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from tests.bundle.small import small
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import Bundle, PseudonymKey, sign_bundle
from unlearnkit.canonical import canonicalize
from unlearnkit.estimation import Differences
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.keys import PrivateKey, read_private_key
from unlearnkit.verifier.replayed import NOT_REPLAYED, ReplayReport, directions_from_seed, sign_replay

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
    small(tmp_path / "run", weights=False, key=key).write(Path("bundle"))
    sign_bundle(Path("bundle"), made.signer())
    return made


def in_use(office: Office) -> None:
    office.run("release", "add", "bundle", "--name", "digits", "--version", "1", secret=False)


def certified(office: Office) -> Path:
    office.run("request-delete", "ann", secret=False)
    in_use(office)
    office.run("certify", "R2")
    return Path("certificates/R2-digits@1.certificate.json")


def test_a_certificate_is_issued_proved_and_verified(office):
    certificate = certified(office)
    proof = Path("c.tlog-proof")
    proof.write_text(json.loads(certificate.read_bytes())["proof"])
    paths = ["bundle", "audit", str(certificate), str(proof), "audit/checkpoint"]
    result = office.run("--json", "verify", *paths, "--bundle", "bundle", secret=False)
    record = json.loads(result.stdout)
    assert record["verified"] is True
    assert [item["kind"] for item in record["paths"]] == ["bundle", "log", "certificate", "proof", "checkpoint"]
    checks = [check["name"] for check in record["paths"][2]["checks"]]
    assert checks == [
        "signature",
        "bundle",
        "artefacts",
        "proof",
        "log",
        "release",
        "sketch",
        "request",
        "standing set",
        "delta budget",
        "audits",
        "numbers",
        "decision",
    ]
    assert all(check["passed"] for item in record["paths"] for check in item["checks"])


def test_a_tampered_certificate_is_a_verification_failure_that_names_the_check(office):
    certificate = certified(office)
    envelope = json.loads(certificate.read_bytes())["envelope"]
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
    assert "is no bundle, log, checkpoint, proof, evidence, signed replay, receipt or certificate" in result.stderr


def test_over_budget_is_refused(office):
    in_use(office)
    for name, code in (("ann", 0), ("ben", 0), ("cat", 5)):
        request = json.loads(office.run("--json", "request-delete", name, secret=False).stdout)
        office.run("certify", request["requests"][0]["id"], "--release", "digits@1", code=code)


def test_one_certificate_answers_those_who_are_named_or_all_that_are_open(office):
    office.run("request-delete", "ann", "ben", "stranger", secret=False)
    in_use(office)
    both = json.loads(office.run("--json", "certify", "R2", "R3", "--bundle", "bundle", "-o", "c.json").stdout)
    assert (both["requests"], both["together"], both["delta"]["spent"]) == (["R2", "R3"], 2, "0.05")
    everybody = json.loads(office.run("--json", "certify", "--open").stdout)
    assert everybody["requests"] == ["R2", "R3"]
    assert everybody["path"] == str(office.root / "certificates" / "R2-digits@1.certificate.json")
    assert everybody["delta"]["spent"] == "0.05"  # the same question
    assert (
        "2, with those answered without retraining before"
        in office.run("certify", "--open", "--release", "digits@1", "--force").stdout
    )
    for wrong in (["certify"], ["certify", "R2", "--open"]):
        assert "give requests, or --open" in office.run(*wrong, code=2).output


def test_who_is_in_no_release_gets_a_certificate_of_absence_and_an_answer(office):
    office.run("request-delete", "stranger", secret=False)
    office.run("requests", "verify-identity", "R2", "--method", "in-person", secret=False)
    in_use(office)
    issued = json.loads(office.run("--json", "certify", "R2").stdout)
    assert (issued["kind"], issued["path"], issued["releases"]) == (
        "absence",
        str(office.root / "certificates" / "R2.absence.json"),
        ["digits@1"],
    )
    assert "absence: none of the releases in force holds their data" in office.run("certify", "R2", "-o", "x").stdout
    record = json.loads(office.run("--json", "verify", "certificates/R2.absence.json", secret=False).stdout)
    assert [check["name"] for check in record["paths"][0]["checks"]][-2:] == ["releases", "people"]
    how = ["--method", "no-data-held", "--evidence", "certificates/R2.absence.json"]
    assert "R2  fulfilled " in office.run("requests", "fulfil", "R2", *how, secret=False).stdout
    assert "they were in no release" in office.run("certify", "R2", "--kind", "exclusion", code=5).stderr


def test_one_for_each_policy_is_of_exclusion_or_absence_and_in_a_folder(office):
    for arguments in (
        ["certify", "--open", "--each-policy"],
        ["certify", "--open", "--kind", "effect", "--each-policy"],
        ["certify", "--open", "--kind", "absence", "--each-policy", "-o", "absence.json"],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert "--each-policy is for --kind exclusion or absence, and -o is then a folder" in result.stderr


def test_what_is_lost_or_without_proof_is_listed_and_brought_back(office):
    certificate = certified(office)
    office.run("request-delete", "stranger", secret=False)
    office.run("certify", "R5", "--kind", "absence")
    whole = certificate.read_bytes()
    rows = json.loads(office.run("--json", "certify", "--list", secret=False).stdout)["certificates"]
    assert [(row["kind"], row["requests"], row["proved"]) for row in rows] == [
        ("effect", ["R2"], True),
        ("absence", ["R5"], True),
    ]
    assert rows[0]["path"] == str(office.root / certificate)
    for file in (certificate, Path("certificates/R5.absence.json")):
        parts = json.loads(file.read_bytes())
        file.write_bytes(canonicalize({name: parts[name] for name in ("envelope", "schema")}))
    assert office.run("certify", "--list", secret=False).stdout.count("WITHOUT PROOF") == 2
    certificate.rename("copy.json")
    assert (
        f"NOT HERE: no file in certificates/ has the envelope {rows[0]['sha256']}"
        in office.run("certify", "--list", secret=False).stdout
    )
    office.run("certify", "--resume", "copy.json")
    office.run("certify", "--resume", "certificates/R5.absence.json")
    assert Path("copy.json").read_bytes() != whole  # under a later checkpoint
    assert json.loads(Path("copy.json").read_bytes())["entry"] == json.loads(whole)["entry"]
    office.run("verify", "copy.json", "certificates/R5.absence.json", "--bundle", "bundle", secret=False)


def test_a_second_officer_signs_with_a_key_and_a_passphrase_of_their_own(office, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_bytes(policy.read_bytes().replace(b"threshold = 1 ", b"threshold = 2 "))
    (tmp_path / "theirs").write_text("another passphrase\n")
    (tmp_path / "theirs").chmod(0o600)
    run("keys", "new", "mine.pem", "--passphrase-file", tmp_path / "theirs")
    trust = Path("trust.toml")
    pem = Path("mine.pub.pem").read_text()
    officer = f'\n[[signer]]\nname = "second"\nroles = ["certificate-signer"]\npublic_key = """\n{pem}"""\n'
    trust.write_text(trust.read_text() + officer)
    office.run("request-delete", "ann", secret=False)
    in_use(office)
    begun = json.loads(office.run("--json", "certify", "R2", "-o", "c.json").stdout)
    assert (begun["entry"], begun["missing_signatures"]) == (None, 1)
    assert "its policy asks for 2" in office.run("verify", "c.json", "--bundle", "bundle", secret=False, code=4).stderr
    assert office.run("--json", "certify", "--list", secret=False).stdout.count("requests") == 0
    theirs = ["--key", "mine.pem", "--key-passphrase-file", tmp_path / "theirs"]
    done = json.loads(office.run("--json", "certify", "--countersign", "c.json", *theirs).stdout)
    assert (done["missing_signatures"], done["requests"]) == (0, ["R2"])
    office.run("verify", "c.json", "--bundle", "bundle", secret=False)


def test_nothing_is_overwritten_by_a_certificate(office):
    office.run("request-delete", "ann", secret=False)
    in_use(office)
    key = Path("keys/signer.pem").read_bytes()
    for option in ([], ["--force"]):
        refused = office.run("certify", "R2", "-o", "keys/signer.pem", *option, code=5)
        assert "is there already, and is no certificate" in refused.stderr
    assert Path("keys/signer.pem").read_bytes() == key
    office.run("certify", "R2")
    again = office.run("certify", "R2", code=5)
    assert "certify --resume" in again.stderr
    office.run("certify", "R2", "--force")


def replayed(office: Office, path: Path) -> Path:
    """A signed replay of the bundle, in a file."""
    signer = office.signer()
    bundle = Bundle.open(Path("bundle"), trust=[signer.public])
    sizes = {name: bundle.probe(name).base.size for name in bundle.probe_names}
    found = {name: Differences(base=np.full(n, 1e-3), coefficients=np.full((2, n), 1e-4)) for name, n in sizes.items()}
    chosen = directions_from_seed(bundle, "heads", 2)
    path.write_bytes(sign_replay(ReplayReport.of(bundle, "heads", chosen, found, names_units=True), [signer]))
    return path


def test_a_signed_replay_tells_rounding_in_a_certificate_and_to_who_verifies_it(office, tmp_path):
    policy, replay = tmp_path / "policy.toml", replayed(office, tmp_path / "replay.json")
    policy.write_bytes(policy.read_bytes().replace(b"[certificate.rounding]\ntest_loss = 0.000001\n", b""))
    office.run("request-delete", "ann", secret=False)
    in_use(office)
    (told,) = json.loads(office.run("--json", "certify", "R2", "--replay", replay).stdout)["claims"]
    (plain,) = json.loads(office.run("--json", "certify", "R2", "-o", "plain.json").stdout)["claims"]
    assert (plain["covers"], told["covers"]) == (["sampling", "truncation"], ["sampling", "rounding", "truncation"])
    assert float(told["epsilon"][0]) > float(plain["epsilon"][0]) + 0.99e-3
    certificate, about = Path("certificates/R2-digits@1.certificate.json"), ("--bundle", "bundle")
    paths = (certificate, replay)
    verified = json.loads(office.run("--json", "verify", *paths, *about, "--evidence", replay, secret=False).stdout)
    assert [item["kind"] for item in verified["paths"]] == ["certificate", "signed replay"]
    assert NOT_REPLAYED in verified["paths"][0]["unchecked"]
    assert "which is not there" in office.run("verify", certificate, *about, secret=False, code=1).stderr


def test_a_second_officer_signs_only_with_the_replay_at_hand(office, tmp_path):
    policy, replay = tmp_path / "policy.toml", replayed(office, tmp_path / "replay.json")
    policy.write_bytes(policy.read_bytes().replace(b"threshold = 1 ", b"threshold = 2 "))
    office.run("keys", "new", "mine.pem")
    trust, pem = Path("trust.toml"), Path("mine.pub.pem").read_text()
    officer = f'\n[[signer]]\nname = "second"\nroles = ["certificate-signer"]\npublic_key = """\n{pem}"""\n'
    trust.write_text(trust.read_text() + officer)
    office.run("request-delete", "ann", secret=False)
    in_use(office)
    office.run("certify", "R2", "-o", "c.json", "--replay", replay)
    sign = ("--json", "certify", "--countersign", "c.json", "--key", "mine.pem")
    assert "rest on the signed replay" in office.run(*sign, code=1).stderr
    assert json.loads(office.run(*sign, "--replay", replay).stdout)["missing_signatures"] == 0
