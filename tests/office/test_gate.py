"""The gate: a request is fulfilled by what shows it, and by nothing older, other or weaker."""

from __future__ import annotations

from pathlib import Path

import pytest

import unlearnkit as uk
from tests.bundle.small import UNITS, small
from tests.verifier.issuance import RULES, policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.compliance.requests.request import Request
from unlearnkit.errors import RefusedError

POLICY = policy_text(RULES.replace("delta_budget = 0.12", "delta_budget = 0.9"))


@pytest.fixture
def office(tmp_path, monkeypatch) -> uk.Workspace:
    (tmp_path / "policy.toml").write_bytes(POLICY)
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    monkeypatch.chdir(made.root)
    contents = small(tmp_path, weights=False, key=PseudonymKey.load(made.pseudonym_key_path))
    write_bundle(Path("bundle"), manifest=contents.manifest, signer=made.signer_key(), **contents.contents)
    for request in made.receive(UNITS):
        made.verify_identity(request, method="in-person")
    made.register("bundle", name="digits", version="1")
    return made


def fulfil(office: uk.Workspace, request: str, *evidence: Path) -> Request:
    return office.fulfil(request, method="negligible-effect", evidence=evidence)


def refused(office: uk.Workspace, request: str, *evidence: Path, reason: str) -> None:
    before = len(office.view())
    with pytest.raises(RefusedError, match=f"{request} cannot become fulfilled: .*{reason}"):
        fulfil(office, request, *evidence)
    assert len(office.view()) == before
    assert not office.request(request).is_closed


def test_a_certificate_of_this_request_that_decided_so_fulfils_it(office):
    issued = office.certify(["R2", "R3"])
    assert fulfil(office, "R2", issued.path).is_closed
    assert fulfil(office, "R3", issued.path).is_closed  # it is about both of them


def test_a_document_or_a_certificate_of_somebody_else_does_not(office):
    issued = office.certify(["R2"])
    for document in (Path("unlearnkit.toml"), Path("trust.toml")):
        refused(office, "R2", document, reason="no certificate of effect of it, as the log records them")
    refused(office, "R3", issued.path, reason="no certificate of effect of it")


def test_who_was_answered_since_is_left_out_of_a_certificate_which_shows_nothing_any_more(office):
    first, second = (office.certify([name], out=f"{name}.json") for name in ("R2", "R3"))
    fulfil(office, "R2", first.path)
    refused(office, "R3", second.path, reason="others were answered without retraining: R2")
    again = office.certify(["R3"], out="again.json")
    assert len(again.certificate.standing) == 1
    refused(office, "R3", second.path, reason="is older than that of entry")
    assert fulfil(office, "R3", again.path).is_closed


def test_a_certificate_that_decided_otherwise_does_not(office):
    (office.root.parent / "policy.toml").write_bytes(POLICY.replace(b"test_loss = 20", b"test_loss = 0.0001"))
    (request,) = office.receive(["17"])
    assert request.duplicate_of == "R6"
    office.withdraw("R6", reason="requested-by-person")
    (request,) = office.receive(["17"])
    office.verify_identity(request, method="in-person")
    issued = office.certify([request])
    assert issued.certificate.decision.outcome != "keep"
    refused(office, request.id, issued.path, reason=f"decided {issued.certificate.decision.outcome}")


def test_a_certificate_from_a_release_that_is_not_in_force_does_not(office):
    issued = office.certify(["R2"])
    office.retire("digits@1")
    refused(office, "R2", issued.path, reason="is about no release in force")
    office.register("bundle", name="digits", version="2")
    refused(office, "R2", issued.path, reason="is about no release in force")
    assert fulfil(office, "R2", office.certify(["R2"], out="again.json").path).is_closed


def test_an_attestation_counts_where_the_policy_says_so_and_nowhere_else(office):
    issued = office.certify(["R2"])
    text = POLICY.replace(b"attested = []", b'attested = ["negligible-effect"]')
    (office.root.parent / "policy.toml").write_bytes(text)
    document = Path("unlearnkit.toml")
    refused(office, "R3", document, reason="no certificate of effect of it")  # it was received under the other text
    office.withdraw("R3", reason="recorded-by-mistake")
    (again,) = office.receive([UNITS[1]])
    office.verify_identity(again, method="in-person")
    assert fulfil(office, again.id, document).state == "fulfilled (attested)"
    refused(office, "R2", issued.path, reason=f"others were answered without retraining: {again.id}")
    assert fulfil(office, "R2", office.certify(["R2"], out="again.json").path).state == "fulfilled"
    with pytest.raises(RefusedError, match="R4 cannot become fulfilled: no certificate of exclusion of it"):
        office.fulfil("R4", method="retrained", evidence=["unlearnkit.toml"])
