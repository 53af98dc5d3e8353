"""A workspace at work, as a notebook uses it: requests, certificates, checkpoints, proofs, audits."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.bundle.small import UNITS, small
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log import reader, verification
from unlearnkit.compliance.log.proof import parse_proof
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.errors import (
    ConsistencyError,
    PolicyError,
    RefusedError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
    UnlearnkitError,
)
from unlearnkit.office.steps import RequestSteps
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.certificate_file import parse_certificate_file

PASSPHRASE = b"correct horse"


@pytest.fixture
def office(tmp_path, monkeypatch) -> uk.Workspace:
    """A workspace with encrypted keys, and a bundle of five people that it has signed."""
    (tmp_path / "policy.toml").write_bytes(policy_text())
    made = uk.Workspace.create(
        tmp_path / "office", origin="example.com/log", policy="../policy.toml", passphrase=PASSPHRASE
    ).unlocked(PASSPHRASE)
    monkeypatch.chdir(made.root)
    bundle(made, made.signer_key(PASSPHRASE))
    return made


def in_use(office: uk.Workspace) -> None:
    office.register("bundle", name="digits", version="1")


def bundle(office: uk.Workspace, signer: PrivateKey, name: str = "bundle") -> Path:
    scratch = office.root / f"{name}-run"
    scratch.mkdir()
    contents = small(scratch, weights=False, key=PseudonymKey.load(office.pseudonym_key_path))
    write_bundle(office.root / name, manifest=contents.manifest, signer=signer, **contents.contents)
    return office.root / name


def test_the_way_of_a_request_from_receipt_to_an_answer_that_others_verify(office):
    (request,) = office.receive([UNITS[0]])
    assert (request.id, request.state, request.steps[0].body.source) == ("R2", "received", "web-form")
    assert office.acknowledge(request).state == "acknowledged"
    assert office.verify_identity("R2", method="in-person").state == "identity verified"
    in_use(office)
    issued = office.certify([request])
    assert issued.certificate.release == "digits@1"
    assert issued.path == office.root / "certificates" / "R2-digits@1.certificate.json"
    assert issued.digest == sha256_hex(parse_certificate_file(issued.path.read_bytes(), where="c").envelope)
    assert office.assess(request, decision="fulfil").state == "assessed"
    done = office.fulfil(request, method="negligible-effect", evidence=[issued.path])
    assert done.is_closed
    assert done.steps[-1].body.evidence == (issued.digest,)
    assert office.request("R2") == done
    found = office.verify(issued.path, bundle="bundle")
    assert found.value.certificate == issued.certificate


def test_a_workspace_is_found_from_inside_and_keeps_its_passphrase_to_itself(office, monkeypatch):
    (office.root / "a").mkdir()
    monkeypatch.chdir("a")
    found = uk.Workspace.find()
    assert found == office
    assert found.passphrase is None
    assert "correct" not in repr(office)
    assert uk.Workspace.nearest(Path("/")) is None


def test_a_wrong_passphrase_is_told_before_anything_is_recorded_or_spent(office):
    (request,) = office.receive([UNITS[0]])
    before = len(office.view())
    with pytest.raises(UnlearnkitError, match="passphrase"):
        uk.Workspace.find().certify([request], bundle="bundle")
    assert len(office.view()) == before
    assert not office.certificates_path.exists()


def test_one_certificate_is_about_several_people_spends_once_and_takes_one_pass_over_the_log(office, monkeypatch):
    requests = office.receive(UNITS[:2])
    in_use(office)
    reads = []
    with monkeypatch.context() as patched:
        for module in (reader, verification):
            real = module.read_lines
            patched.setattr(
                module, "read_lines", lambda path, offset=0, real=real: reads.append(offset) or real(path, offset)
            )
        issued = office.certify(requests)
    assert reads.count(0) == 1  # what comes later begins where that has ended
    certificate = issued.certificate
    assert (issued.path.name[:3], certificate.requests, certificate.spent) == ("R2-", ("R2", "R3"), "0.05")
    assert certificate.deleted == tuple(sorted(request.subject for request in requests))
    proof = parse_proof(parse_certificate_file(issued.path.read_bytes(), where="c").proof, where="p")
    assert proof.checkpoint == office.checkpoint().raw
    assert office.verify(issued.path, bundle="bundle").value.digest == issued.digest


def test_a_certificate_lies_where_it_was_asked_for(office, tmp_path):
    requests = office.receive(UNITS[:2])
    in_use(office)
    assert office.certify(requests, bundle="bundle", release="digits@1", out="x.json").path == Path("x.json")
    assert office.certify(requests[1:], bundle="bundle", out=tmp_path).path == tmp_path / "R3-digits@1.certificate.json"
    for wrong in ([], [requests[0], requests[0]]):
        with pytest.raises(ValueError, match="expected at least one, each once"):
            office.certify(wrong, bundle="bundle")


def test_open_requests_are_those_of_people_in_the_bundle(office):
    office.receive([UNITS[0], UNITS[0], UNITS[1], UNITS[2], "stranger"])
    in_use(office)
    office.withdraw("R4", reason="requested-by-person")
    assert [request.id for request in office.open_requests("digits@1")] == ["R2", "R5"]
    assert office.open_requests() == office.open_requests("digits@1")


def test_a_bundle_that_a_stranger_signed_is_not_certified_from_opened_or_not(office):
    stranger = PrivateKey.generate(Algorithm.P256)
    path = bundle(office, stranger, "other")
    (request,) = office.receive([UNITS[0]])
    opened = uk.Bundle.open(path, trust=[stranger.public])
    for given in (path, opened, uk.Bundle.open(path)):
        with pytest.raises(ThresholdError):
            office.certify([request], bundle=given)
    unverified = uk.Bundle.open("bundle")
    assert office.open_bundle(unverified).signers == (office.signer_key(PASSPHRASE).public.key_id,)
    assert office.open_bundle(office.open_bundle("bundle")).signers


def test_checkpoints_and_proofs(office):
    office.receive(UNITS)
    checkpoint = office.checkpoint()
    assert checkpoint.size == len(office.view()) == 7
    proof = office.prove(3)
    Path("p").write_bytes(proof.raw)
    assert office.verify("p").value.entry == office.view().entry(3)
    assert office.prove_growth(2).raw.startswith(b"old 2\n")
    assert office.import_checkpoint(checkpoint.raw) == checkpoint
    assert office.export("public").size == 7
    with pytest.raises(UnknownNameError, match="entry 7 is not under the checkpoint"):
        office.prove(7)
    other = uk.Workspace.create(office.root / "other", origin="example.com/other")
    with pytest.raises((SignatureError, ConsistencyError)):
        office.import_checkpoint(other.checkpoint().raw)


# -- requests


def test_requests_are_listed_the_most_urgent_first(office):
    office.receive(["late"], on=date(2025, 3, 2))
    office.receive(["early"], on=date(2025, 3, 1))
    office.receive(["early"])  # a duplicate, which needs nothing
    office.withdraw("R2", reason="requested-by-person")
    assert [item.id for item in office.requests()] == ["R3", "R4"]
    assert [item.id for item in office.requests(everything=True)] == ["R3", "R2", "R4"]
    assert [item.id for item in office.requests(overdue=True)] == ["R3"]
    assert [item.id for item in office.requests(subject="early")] == ["R3", "R4"]
    assert [item.id for item in office.requests(subject="late", everything=True)] == ["R2"]
    assert len(office.all_requests().requests) == 3


def test_every_step_of_a_desk_is_one_of_a_workspace_with_the_same_settings():
    steps = [
        name
        for name, method in inspect.getmembers(Desk, inspect.isfunction)
        if "on" in inspect.signature(method).parameters and not name.startswith("_")
    ]
    assert len(steps) == 17
    for name in steps:
        ours = inspect.signature(getattr(RequestSteps, name)).parameters
        assert {*inspect.signature(getattr(Desk, name)).parameters, "by"} == {*ours}, name


def test_who_did_it_is_a_word_of_the_policy(office):
    (request,) = office.receive([UNITS[0]], by="support")
    assert request.steps[0].body.by == "support"
    with pytest.raises(PolicyError, match="does not list 'me' among its actors"):
        office.acknowledge(request, by="me")
    assert office.extend(request, reason="complexity").state == "extended"
    office.verify_identity(request, method="in-person")
    refused = office.refuse(request, reason="art-17-3-c-public-health", evidence=["unlearnkit.toml"])
    assert refused.steps[-1].body.evidence == (sha256_hex(Path("unlearnkit.toml").read_bytes()),)


def test_a_policy_that_is_edited_is_that_of_the_next_request_and_of_no_step_of_one_before(office):
    office.receive([UNITS[0]])
    file = office.root.parent / "policy.toml"
    file.write_text(file.read_text().replace('"in-person"', '"by-video"'))
    office.receive([UNITS[1]])
    assert office.verify_identity("R2", method="in-person").state == "identity verified"
    with pytest.raises(PolicyError, match="does not list 'in-person'"):
        office.verify_identity("R3", method="in-person")
    assert office.policy_of(["R2"]).digest != office.policy_of(["R3"]).digest == office.policy().digest
    with pytest.raises(RefusedError, match=r"these requests were received under 2 policies: .*: R2; .*: R3"):
        office.policy_of(["R2", "R3"])
    (late,) = office.receive([UNITS[2]])
    assert office.by_policy([late, "R2", "R3"]) == ((late.id, "R3"), ("R2",))


def test_a_destroyed_key_names_nobody_any_more(office):
    office.receive([UNITS[0]])
    with pytest.raises(RefusedError, match="1 request open"):
        office.destroy_key()
    office.withdraw("R2", reason="requested-by-person")
    assert office.destroy_key() == 4
    with pytest.raises(RefusedError, match="in force: None"):
        office.receive([UNITS[1]])
    with pytest.raises(RefusedError, match="the pseudonym key was destroyed"):
        uk.Workspace.find().receive([UNITS[1]])


def test_a_workspace_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import unlearnkit as uk; uk.Workspace; uk.verify"
    subprocess.run([sys.executable, "-c", code], check=True)
