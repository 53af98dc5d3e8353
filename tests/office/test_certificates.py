"""Certificates as files: on disk before the log says so, replaced by nothing, picked up after whatever stopped them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

import unlearnkit as uk
from tests import needs
from tests.bundle.small import UNITS, small
from tests.interrupted import in_child, killed_before, operations_of
from tests.verifier.issuance import RULES, policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer, format_trust
from unlearnkit.errors import (
    FormatError,
    RefusedError,
    ThresholdError,
    UnknownNameError,
    UnlearnkitError,
    VerificationError,
)
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file

POLICY = policy_text(RULES.replace("delta_budget = 0.12", "delta_budget = 0.9"))


def workspace(folder: Path, policy: bytes = POLICY) -> uk.Workspace:
    """An office with a bundle of five people; two of them ask, as R2 and R3."""
    (folder / "policy.toml").write_bytes(policy)
    made = uk.Workspace.create(folder / "office", origin="example.com/log", policy="../policy.toml")
    contents = small(folder, weights=False, key=PseudonymKey.load(made.pseudonym_key_path))
    write_bundle(made.root / "bundle", manifest=contents.manifest, signer=made.signer_key(), **contents.contents)
    made.receive(UNITS[:2])
    made.register(made.root / "bundle", name="digits", version="1")
    return made


@pytest.fixture
def office(tmp_path) -> uk.Workspace:
    return workspace(tmp_path)


def bundle(office: uk.Workspace) -> Path:
    return office.root / "bundle"


def held(path: Path) -> CertificateFile:
    return parse_certificate_file(path.read_bytes(), where=str(path))


def issued(office: uk.Workspace) -> int:
    return sum(1 for _ in office.view().of_type("certificate-issued"))


# -- names and places


def test_a_certificate_is_named_after_its_first_request_and_the_release(office):
    assert office.certify(["R3", "R2"]).path.name == "R2-digits@1.certificate.json"
    assert office.certify(["R3"]).path == office.root / "certificates" / "R3-digits@1.certificate.json"


def test_nothing_is_overwritten_and_that_is_told_before_any_work(office, monkeypatch):
    key = office.root / "keys" / "signer.pem"
    secret = key.read_bytes()
    first = office.certify(["R2"], bundle=bundle(office))
    before, kept = issued(office), first.path.read_bytes()
    monkeypatch.setattr("unlearnkit.office.certificates.certify", None)  # nothing is computed
    for out, reason in ((None, "is there already"), (key, "is no certificate"), (office.root, "is there already")):
        if out == office.root:
            shutil.copy(first.path, office.root)
        with pytest.raises(RefusedError, match=reason):
            office.certify(["R2"], bundle=bundle(office), out=out)
    with pytest.raises(RefusedError, match="is no certificate"):
        office.certify(["R2"], bundle=bundle(office), out=key, force=True)
    with pytest.raises(UnknownNameError, match="there is no folder"):
        office.certify(["R2"], bundle=bundle(office), out=office.root / "nowhere" / "c.json")
    monkeypatch.undo()
    assert (key.read_bytes(), first.path.read_bytes(), issued(office)) == (secret, kept, before)
    again = office.certify(["R2"], bundle=bundle(office), force=True)
    assert again.path == first.path
    assert again.digest != first.digest


def test_who_comes_second_to_a_name_loses_nothing_and_spends_nothing(office, tmp_path, monkeypatch):
    """Somebody made a file of that name while claims were computed."""
    from unlearnkit.verifier import issue

    make_claims, place = issue.make_claims, tmp_path / "c.json"

    def slow(*args, **settings):
        place.write_text("somebody else's")
        return make_claims(*args, **settings)

    monkeypatch.setattr(issue, "make_claims", slow)
    with pytest.raises(FileExistsError):
        office.certify(["R2"], bundle=bundle(office), out=place)
    assert (place.read_text(), issued(office)) == ("somebody else's", 0)


# -- what is in the file


def test_the_file_holds_the_envelope_that_the_log_names_the_entry_and_the_proof(office):
    made = office.certify(["R2"], bundle=bundle(office))
    file = held(made.path)
    assert file.to_bytes() == made.path.read_bytes()
    assert sha256_hex(file.envelope) == made.digest == file.digest == made.entry.body["certificate"]
    assert file.entry == made.entry.line
    assert (office.log_path / "checkpoint").read_bytes() in file.proof


@needs.program("jq")
def test_outside_tools_take_the_parts_out_byte_by_byte(office, tmp_path):
    securesystemslib = pytest.importorskip("securesystemslib.dsse")
    made = office.certify(["R2"], bundle=bundle(office))
    file = held(made.path)

    def part(name: str) -> bytes:
        return subprocess.run(["jq", "-cj", f".{name}", made.path], capture_output=True, check=True).stdout

    assert part("envelope") == file.envelope
    assert part("entry") + b"\n" == file.entry
    assert part("proof") == file.proof
    envelope = securesystemslib.Envelope.from_dict(json.loads(part("envelope")))
    assert json.loads(envelope.payload)["predicateType"] == "https://unlearnkit.dev/certificate/v1"
    (tmp_path / "p.tlog-proof").write_bytes(part("proof"))
    assert office.verify(tmp_path / "p.tlog-proof").value.entry == made.entry


def test_a_bare_envelope_is_a_certificate_too_beside_the_log(office, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = office.certify(["R2"], bundle=bundle(office))
    (tmp_path / "bare.json").write_bytes(held(made.path).envelope)
    found = office.verify(tmp_path / "bare.json", bundle=bundle(office))
    assert found.value.digest == made.digest
    assert "proof" not in [check.name for check in found.checks]
    with pytest.raises(UnknownNameError, match="what this file is about is not there"):
        uk.verify(tmp_path / "bare.json", bundle=bundle(office), trust=office.root / "trust.toml")


@pytest.mark.parametrize("missing", ["entry", "proof"])
def test_an_entry_without_its_proof_is_malformed(office, missing):
    made = office.certify(["R2"], bundle=bundle(office))
    parts = json.loads(made.path.read_bytes())
    del parts[missing]
    made.path.write_bytes(canonicalize(parts))
    with pytest.raises(FormatError, match="belong together"):
        office.verify(made.path, bundle=bundle(office))


# -- interrupted


def test_killed_before_any_operation_no_recorded_certificate_is_without_its_file(tmp_path):
    """And whatever is left is finished from the file, or made again, without spending twice."""
    made = workspace(tmp_path)

    def certify(root: Path) -> None:
        uk.Workspace.read(root).certify(["R2"], bundle=root / "bundle")

    def copy(name: str) -> Path:
        return Path(shutil.copytree(made.root, tmp_path / name))

    (tmp_path / "policy.toml").write_bytes(POLICY)
    whole = copy("whole")
    count = operations_of(whole, lambda: certify(whole))
    assert count > 15
    states = set()
    for nth in range(1, count + 1):
        root = copy(str(nth))
        assert killed_before(nth, root, lambda: certify(root)) == -signal.SIGKILL  # noqa: B023  called at once
        office = uk.Workspace.read(root)
        recorded = office.certificates()
        assert all(item.path is not None for item in recorded)  # in the log: on disk
        files = sorted(office.certificates_path.glob("[!.]*"))
        states.add((len(recorded), len(files)))
        if files:
            done = office.resume(files[0], bundle=bundle(office))
        else:
            done = office.certify(["R2"], bundle=bundle(office))
        assert (done.certificate.spent, issued(office)) == ("0.05", 1)
        checks = [check.name for check in office.verify(done.path, bundle=bundle(office)).checks]
        assert {"proof", "log"} <= set(checks)
        shutil.rmtree(root)
    assert states == {(0, 0), (0, 1), (1, 1)}


def test_an_interrupted_certificate_that_does_not_hold_any_more_is_not_recorded(office, monkeypatch):
    from unlearnkit.verifier.recording import Record

    def stop(*_: object) -> None:
        raise OSError(28, "no space")

    def interrupted(name: str) -> Path:
        monkeypatch.setattr(Record, "append", stop)
        with pytest.raises(OSError, match="no space"):
            office.certify([name], bundle=bundle(office))
        monkeypatch.undo()
        (path,) = office.certificates_path.glob(f"{name}-*.json")
        return path

    first = interrupted("R2")
    with pytest.raises(VerificationError, match=r"does not record this certificate") as caught:
        office.verify(first, bundle=bundle(office))
    assert "certify --resume" in caught.value.hint
    office.certify(["R3"], bundle=bundle(office))  # the account is another one now
    with pytest.raises(RefusedError, match="other certificates have spent delta since"):
        office.resume(first, bundle=bundle(office))
    with pytest.raises(RefusedError, match="is there already") as caught:
        office.certify(["R2"], bundle=bundle(office))
    assert f"certify --resume {first}" in caught.value.hint
    again = office.certify(["R2"], bundle=bundle(office), force=True)
    assert again.certificate.spent == "0.10"
    office.verify_identity("R3", method="in-person")
    (path,) = office.certificates_path.glob("R3-*.json")
    (request,) = office.receive([UNITS[2]])
    stale = interrupted(request.id)
    office.fulfil("R3", method="negligible-effect", evidence=[path])
    with pytest.raises(RefusedError, match="somebody was answered without retraining since"):
        office.resume(stale, bundle=bundle(office))
    office.withdraw(request, reason="requested-by-person")
    with pytest.raises(RefusedError, match="is closed"):
        office.resume(stale, bundle=bundle(office))
    assert issued(office) == 2


def test_a_lost_file_is_told_and_any_copy_of_the_envelope_brings_it_back(office, tmp_path):
    made = office.certify(["R2"], bundle=bundle(office))
    assert [(item.index, item.path) for item in office.certificates()] == [(made.entry.index, made.path)]
    copy = tmp_path / "copy.json"
    copy.write_bytes(held(made.path).envelope)
    made.path.unlink()
    ((item),) = office.certificates()
    assert (item.digest, item.path) == (made.digest, None)
    back = office.resume(copy)
    assert (back.entry, issued(office)) == (made.entry, 1)
    assert held(copy).proof is not None


def test_a_finished_certificate_is_proved_anew_under_the_present_checkpoint(office):
    made = office.certify(["R2"], bundle=bundle(office))
    before = held(made.path)
    office.receive(["somebody"])
    assert office.resume(made.path).entry == made.entry
    after = held(made.path)
    assert (after.envelope, after.entry) == (before.envelope, before.entry)
    assert after.proof != before.proof
    assert office.verify(made.path, bundle=bundle(office)).value.digest == made.digest


def _certify_at_once(root: Path, name: str, start, results) -> None:
    start.wait()
    office = uk.Workspace.read(root)
    made = office.certify([name], bundle=root / "bundle")
    results.put((made.certificate.spent, str(made.path)))


def test_two_officers_at_once_have_one_account_and_lose_no_file(office):
    processes = get_context("fork")
    start, results = processes.Barrier(2), processes.Queue()
    officers = [
        processes.Process(target=_certify_at_once, args=(office.root, name, start, results)) for name in ("R2", "R3")
    ]
    for officer in officers:
        officer.start()
    found = sorted(results.get(timeout=60) for _ in officers)
    for officer in officers:
        officer.join()
    assert [spent for spent, _ in found] == ["0.05", "0.10"]
    assert sorted(str(item.path) for item in office.certificates()) == sorted(path for _, path in found)
    for _, path in found:
        assert office.verify(path, bundle=bundle(office)).value.certificate.log == "example.com/log"


# -- several signatures


@pytest.fixture
def pair(tmp_path) -> tuple[uk.Workspace, PrivateKey]:
    """An office whose policy asks for two signatures, and the key of the second officer."""
    office = workspace(tmp_path, POLICY.replace(b"threshold = 1 ", b"threshold = 2 "))
    second, trust = PrivateKey.generate(Algorithm.P256), office.trust()
    roles = (Role.CERTIFICATE_SIGNER,)
    store = replace(trust, signers=(*trust.signers, Signer("second officer", roles, second.public)))
    (office.root / "trust.toml").write_text(format_trust(store))
    return office, second


def test_the_last_signature_records_and_nothing_is_spent_before(pair):
    office, second = pair
    made = office.certify(["R2"], bundle=bundle(office))
    assert (made.entry, made.missing, issued(office)) == (None, 1, 0)
    with pytest.raises(ThresholdError, match="its policy asks for 2") as caught:
        office.verify(made.path, bundle=bundle(office))
    assert "--countersign" in caught.value.hint
    with pytest.raises(ThresholdError, match="has 1 signature, its policy asks for 2"):
        office.resume(made.path, bundle=bundle(office))
    done = office.countersign(made.path, bundle=bundle(office), key=second)
    assert (done.missing, done.certificate, issued(office)) == (0, made.certificate, 1)
    found = office.verify(made.path, bundle=bundle(office)).value
    assert set(found.signers) == {office.signer_key().public.key_id, second.public.key_id}


def test_who_has_signed_or_may_not_sign_adds_nothing(pair):
    office, second = pair
    made = office.certify(["R2"], bundle=bundle(office))
    kept = made.path.read_bytes()
    for key, reason in ((None, "has signed .* already"), (PrivateKey.generate(Algorithm.P256), "may not sign")):
        with pytest.raises(RefusedError, match=reason):
            office.countersign(made.path, bundle=bundle(office), key=key)
    assert (made.path.read_bytes(), issued(office)) == (kept, 0)
    twice = json.loads(kept)
    twice["envelope"]["signatures"] *= 2
    made.path.write_bytes(canonicalize(twice))
    with pytest.raises(UnlearnkitError, match="none of them twice"):
        office.countersign(made.path, bundle=bundle(office), key=second)


def test_the_second_officer_does_not_sign_what_is_not_so(pair, tmp_path):
    office, second = pair
    made = office.certify(["R2"], bundle=bundle(office))
    claim = replace(made.certificate.claims[0], epsilon=("0.001",))
    from unlearnkit.verifier.certificate import sign_certificate

    forged = tmp_path / "forged.json"
    envelope = sign_certificate(replace(made.certificate, claims=(claim,)), [office.signer_key()])
    forged.write_bytes(CertificateFile(envelope=envelope).to_bytes())
    before = forged.read_bytes()
    with pytest.raises(VerificationError, match="lower than what the bundle gives"):
        office.countersign(forged, bundle=bundle(office), key=second)
    assert (forged.read_bytes(), issued(office)) == (before, 0)


def test_the_second_signature_survives_a_kill_before_any_operation(pair, tmp_path):
    office, second = pair
    made = office.certify(["R2"], bundle=bundle(office))

    def countersign(root: Path) -> None:
        there = uk.Workspace.read(root)
        there.countersign(root / "certificates" / made.path.name, bundle=root / "bundle", key=second)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(office.root, tmp_path / name))

    whole = copy("whole")
    for nth in range(1, operations_of(whole, lambda: countersign(whole)) + 1):
        root = copy(str(nth))
        assert killed_before(nth, root, lambda: countersign(root)) == -signal.SIGKILL  # noqa: B023  called at once
        there = uk.Workspace.read(root)
        path = root / "certificates" / made.path.name
        if in_child(lambda: there.resume(path, bundle=root / "bundle") and None):  # noqa: B023  called at once
            countersign(root)
        assert there.verify(path, bundle=root / "bundle").value.certificate == made.certificate
        assert issued(there) == 1
        shutil.rmtree(root)
