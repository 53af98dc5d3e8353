"""Each claim of a certificate is lowered, raised or swapped by an issuer who signs and records it correctly."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.verifier.issuance import RULES, issuer, with_claim
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.releases.release import ReleaseEvent, Retired
from unlearnkit.errors import (
    DigestMismatchError,
    FormatError,
    RefusedError,
    ThresholdError,
    UnknownNameError,
    UnlearnkitError,
    VerificationError,
)
from unlearnkit.records import to_json
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.audits import LoggedAudit
from unlearnkit.verifier.certificate import Kind, Norm, Outcome
from unlearnkit.verifier.verify import verify_certificate, verify_signed_certificate


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return issuer(tmp_path_factory.mktemp("office"), rules=RULES.replace("0.12", "0.99"))


@pytest.fixture(scope="module")
def issued(office):
    return office.issue(office.request())


def times(factor: str):
    return lambda values: tuple(str(Decimal(value) * Decimal(factor)) for value in values)


def curve(**changed):
    return with_claim(curve=lambda old: replace(old, **{k: v(getattr(old, k)) for k, v in changed.items()}))


def series(**changed):
    return with_claim(convergence=lambda old: replace(old, **changed))


def norms(**changed):
    return with_claim(
        stability=lambda rows: tuple(
            Norm(
                **{n: str(Decimal(getattr(r, n)) * changed.get(n, 1)) for n in ("norm", "low", "high")}, degree=r.degree
            )
            for r in rows
        )
    )


CLAIMS = {
    "epsilon lowered": (with_claim(epsilon=times("0.999")), "epsilon of element 0 is .*, lower than"),
    "epsilon raised": (with_claim(epsilon=times("1.001")), "epsilon of element 0 is .*, higher than"),
    "base raised": (with_claim(base=times("1.001")), r"base\[0\] is"),
    "base lowered": (with_claim(base=times("0.999")), r"base\[0\] is"),
    "prediction raised": (with_claim(predicted=times("1.001")), r"predicted\[0\] is"),
    "share of those who ask": (with_claim(asked=times("0.999")), r"asked\[0\] is"),
    "prediction lowered": (with_claim(predicted=times("0.999")), r"predicted\[0\] is"),
    "degree": (with_claim(degree=2), "degree is 2, the bundle gives 1"),
    "method": (with_claim(method="certified: by me"), "method is 'certified: by me'"),
    "kind": (
        with_claim(kind=Kind.AUDITED, delta=None, content="0.9", confidence="0.9"),
        "kind is audited, the bundle gives certified",
    ),
    "people": (with_claim(people=("1" * 64,), shape=(1,)), "shape is"),
    "question": (with_claim(question="a" * 64), "question is not the one"),
    "covers less": (with_claim(covers=("sampling",)), "covers is"),
    "assumptions left out": (with_claim(assumptions=lambda old: old[1:]), "assumptions is"),
    "the verdict on the series": (series(verdict="doubtful"), "the series is doubtful, the bundle says converging"),
    "the ratio of terms": (series(terms="0.001"), "the ratio of terms"),
    "the ratio of norms": (series(norms="unknown"), "the ratio of norms"),
    "epsilon of each": (with_claim(epsilon_each=times("0.9")), "epsilon_each of element 0 is .*, lower"),
    "explanation": (with_claim(explanation="Trust me."), "explanation is"),
    "another probe": (with_claim(probe="margins"), "the policy names the probes"),
    "curve's values": (curve(values=times("1.01")), "the curve's values"),
    "curve's errors": (curve(standard_errors=lambda old: tuple("1" for _ in old)), "the curve's standard_errors"),
    "curve's weights": (curve(weights=times("0.5")), "at other weights"),
    "stability": (norms(norm=Decimal("1.01")), "the stability at degree 1"),
    "stability's low": (norms(low=Decimal("0.9")), "the stability at degree 1"),
    "stability's high": (norms(high=Decimal("1.1")), "the stability at degree 1"),
    "stability left out": (with_claim(stability=()), "the stability profile has other degrees"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_an_altered_claim_is_caught(office, issued, name):
    change, reason = CLAIMS[name]
    raw = office.forge(issued, change)
    with pytest.raises(VerificationError, match=reason):
        office.verify(raw)


def test_a_claim_that_names_a_file_which_nobody_has_cannot_be_made_again(office, issued):
    with pytest.raises(UnknownNameError, match=f"rest on the signed replay {'e' * 64}, which is not there"):
        office.verify(office.forge(issued, with_claim(evidence=("e" * 64,))))


def field(**changed):
    return lambda certificate: replace(certificate, **changed)


FIELDS = {
    "bundle": (field(bundle="1" * 64), "its bundle is"),
    "model": (field(model="1" * 64), "its model is"),
    "recipe": (field(recipe="1" * 64), "its recipe is"),
    "release": (field(release="other@1"), "the log has no release other@1"),
    "counterfactual": (field(counterfactual="nothing"), "its counterfactual is"),
    "units": (field(units=6), "its units is 6"),
    "directions": (field(directions=600), "its directions is 600"),
    "account": (field(account="1" * 64), "its account is"),
    "who asked": (field(subjects=("1" * 64,)), "was made by somebody else"),
    "who asked, and one more": (lambda c: replace(c, subjects=tuple(sorted({*c.subjects, "1" * 64}))), "as asking"),
    "who stands": (field(standing=("1" * 64,)), "its standing set has 1 person, the log and the bundle give 0"),
    "who is deleted": (field(deleted=("1" * 64,)), "deletes other data"),
    "audits": (field(audits=(LoggedAudit(committed=0, bundle="b" * 64),)), "it names 1 audit, the log has 0"),
    "claims left out": (field(claims=()), "the policy names the probes"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_an_altered_statement_is_caught(office, issued, name):
    change, reason = FIELDS[name]
    raw = office.forge(issued, change)
    with pytest.raises(UnlearnkitError, match=reason) as caught:
        office.verify(raw)
    assert isinstance(caught.value, VerificationError | FormatError)


BY_HAND = {
    "spent": (field(spent="0.01"), "it says 0.01, the log says"),
    "budget": (field(budget="0.999"), "delta budget is not the policy's"),
    "issued": (field(issued="2025-01-01T00:00:00Z"), "it says it was issued"),
    "decision": (
        lambda c: replace(c, decision=replace(c.decision, outcome=Outcome.RETRAIN)),
        "it decides retrain",
    ),
    "reasons": (lambda c: replace(c, decision=replace(c.decision, reasons=("because",))), "it decides"),
    "rule": (lambda c: replace(c, decision=replace(c.decision, rule="mine")), "it decides .* by mine"),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_an_altered_conclusion_is_caught(office, issued, name):
    change, reason = BY_HAND[name]
    raw = office.forge(issued, conclusion=change)
    with pytest.raises(VerificationError, match=reason):
        office.verify(raw)


def test_a_laxer_policy_than_the_request_was_received_under_is_caught(office, issued):
    def laxer(certificate):
        return replace(certificate, policy=certificate.policy.replace("test_loss = 20", "test_loss = 30"))

    raw = office.forge(issued, laxer)
    with pytest.raises(VerificationError, match="the request was received under"):
        office.verify(raw)


def test_forging_without_a_change_verifies(office, issued):
    """The forger's tools alone are not what is caught."""
    office.verify(office.forge(issued))


def test_a_certificate_that_the_log_does_not_record_is_caught(office, issued):
    from unlearnkit.verifier.certificate import sign_certificate

    again = sign_certificate(issued.certificate, [office.signer])  # another signature of the same statement
    with pytest.raises(VerificationError, match="does not record this certificate"):
        office.verify(again)


def test_an_entry_after_the_checkpoint_is_caught(office, issued):
    publish_checkpoint(office.log, office.log_key)
    raw = office.forge(issued)
    with pytest.raises(VerificationError, match="is not under the log's checkpoint"):
        verify_certificate(raw, where="c.json", beside=office.materials())


def test_a_certificate_of_a_request_that_was_closed_before_it_is_caught(tmp_path):
    office = issuer(tmp_path)
    request = office.request()
    issued = office.issue(request)
    office.desk.withdraw(request, reason="requested-by-person")
    office.verify(issued.raw)  # it was open then
    with pytest.raises(VerificationError, match=f"request {request} was withdrawn before it, with entry 4"):
        office.verify(office.forge(issued))


def test_a_certificate_of_a_request_that_came_after_it_or_never_is_caught(tmp_path):
    office = issuer(tmp_path)
    issued = office.issue(office.request())
    for name, reason in (("R5", "request R5 was received after it"), ("R77", "the log has no request R77")):
        raw = office.forge(issued, field(requests=(name,)))
        office.request("ann")
        with pytest.raises(VerificationError, match=reason):
            office.verify(raw)


def test_a_certificate_from_a_release_that_was_not_in_force_is_caught(tmp_path):
    office = issuer(tmp_path)
    issued = office.issue(office.request())
    retired = Retired(release="small@1", by="engineer", on=office.log.now().date())
    office.log.record(ReleaseEvent.RETIRED, to_json(retired))
    office.verify(issued.raw)  # it was in force then
    with pytest.raises(RefusedError, match="is of no release in force: there are none"):
        office.issue(office.request("ben"))
    with pytest.raises(VerificationError, match="release small@1 was not in force at entry 6"):
        office.verify(office.forge(issued))


def test_the_log_is_read_once(tmp_path, monkeypatch):
    from unlearnkit.compliance.log import reader, verification

    office = issuer(tmp_path)
    raw = office.issue(office.request()).raw
    publish_checkpoint(office.log, office.log_key)
    reads = []
    for module in (reader, verification):
        real = module.read_lines
        monkeypatch.setattr(module, "read_lines", lambda *place, real=real: reads.append(place) or real(*place))
    found = verify_certificate(raw, where="c.json", beside=office.materials())
    assert found.certificate.requests == ("R2",)
    assert len(reads) == 1


def test_what_was_not_checked_is_said(tmp_path):
    office = issuer(tmp_path)
    raw = office.issue(office.request()).raw
    publish_checkpoint(office.log, office.log_key)
    office.request("ben")
    said = verify_certificate(raw, where="c.json", beside=office.materials()).unchecked
    assert any("training again" in line for line in said)
    assert any("witnesses" in line for line in said)
    assert any("the last entry of the log" in line for line in said)
    alone = verify_signed_certificate(raw, where="c.json", trust=office.trust)
    assert [check.name for check in alone.checks] == ["signature"]
    assert alone.unchecked == ("what it says: only who signed it was looked at",)


def test_another_signer_is_not_believed(office, issued):
    stranger = replace(office, signer=PrivateKey.generate(Algorithm.P256))
    with pytest.raises(ThresholdError, match="too few trusted signatures"):
        office.verify(stranger.forge(issued))


def test_every_flipped_byte_is_caught(office, issued):
    raw = issued.raw
    for position in range(0, len(raw), 97):
        tampered = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises((VerificationError, FormatError, DigestMismatchError)):
            office.verify(tampered)
