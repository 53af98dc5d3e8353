"""Issuing certificates: what they claim, what they spend, and when there are none."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from tests.bundle.small import UNITS
from tests.verifier.issuance import RULES, issuer, policy_text
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.errors import BudgetExceededError, FormatError, PolicyError, RefusedError, UnknownNameError
from unlearnkit.verifier import issue
from unlearnkit.verifier.account import CERTIFICATE_ISSUED


@pytest.fixture
def office(tmp_path):
    return issuer(tmp_path)


def test_a_claim_is_around_the_prediction_and_covers_what_was_declared(office):
    issued = office.issue(office.request())
    (claim,) = issued.certificate.claims
    sketch = office.bundle.probe("test_loss")
    assert float(claim.base[0]) == sketch.base
    assert float(claim.predicted[0]) == sketch.predict(issued.certificate.deleted).value
    bound = sketch.bound(issued.certificate.deleted, 0.05, decay=0.5, rounding=1e-6)
    least = float(bound.epsilon) + abs(float(claim.predicted[0]) - float(bound.estimate))
    assert least <= float(claim.epsilon[0]) <= least * (1 + 1e-5)
    assert claim.kind == "certified"
    assert claim.method.startswith("certified: ")
    assert claim.covers == ("sampling", "rounding", "truncation")
    assert issued.certificate.decision.outcome == "keep"


def test_the_log_records_the_certificate_by_its_digest(office):
    issued = office.issue(office.request())
    assert issued.entry.type == CERTIFICATE_ISSUED
    assert issued.entry.body["certificate"] == sha256_hex(issued.raw)
    assert [entry.index for entry in office.log.entries()][-1] == issued.entry.index


def test_an_outsider_verifies_it_with_public_keys_alone(office):
    verified, checks = office.verify(office.issue(office.request()).raw)
    assert verified.signers == (office.signer.public.key_id,)
    before = ["signature", "bundle", "artefacts", "log", "release", "sketch", "request", "standing set"]
    assert checks == [*before, "delta budget", "audits", "numbers", "decision"]


def test_the_same_question_spends_nothing_and_others_add_up(office):
    ann, ben = office.request("ann"), office.request("ben")
    spent = [office.issue(request).certificate.spent for request in (ann, ann, ben)]
    assert [Decimal(s) for s in spent] == [Decimal("0.05"), Decimal("0.05"), Decimal("0.10")]


DIGITS = "0.0123456789012345678901"


def test_a_delta_that_the_log_could_not_be_read_with_is_refused_before_anything_is_recorded(office):
    """And in a policy too, whose largest delta is what a certificate has when nobody asks for another."""
    request = office.request()
    entries = list(office.log.entries())
    with pytest.raises(ValueError, match=r"not a probability above 0 and below 1, .* at most 15 digits"):
        office.issue(request, delta=Decimal(DIGITS))
    with pytest.raises(PolicyError, match=r"delta must be above 0 and at most 0.05: got NaN"):
        office.issue(request, delta=Decimal("NaN"))
    assert list(office.log.entries()) == entries
    text = policy_text(RULES).replace(b"largest_delta = 0.05", f"largest_delta = {DIGITS}".encode())
    with pytest.raises(FormatError, match=r"x: certificate.largest_delta: not a probability"):
        parse_policy(text, where="x")


@pytest.mark.parametrize("delta", ["0.02", "0.020", "2E-2"])
def test_one_delta_however_it_is_spelled_is_one_question(office, delta):
    request = office.request()
    asked = {
        issue.certificate.claims[0].question
        for issue in (office.issue(request, delta=Decimal("0.02")), office.issue(request, delta=Decimal(delta)))
    }
    assert len(asked) == 1
    assert office.issue(request, delta=Decimal(delta)).certificate.spent == "0.02"


def test_over_budget_is_refused_and_nothing_is_recorded(office):
    for name in ("ann", "ben"):
        office.issue(office.request(name))
    request = office.request("cat")
    before = list(office.log.entries())
    with pytest.raises(BudgetExceededError, match=r"0\.10 is spent, and this would make it 0\.15"):
        office.issue(request)
    assert list(office.log.entries()) == before


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"delta": Decimal("0.06")}, PolicyError, "delta must be above 0 and at most 0.05: got 0.06"),
        ({"delta": Decimal(0)}, PolicyError, "delta must be above 0"),
    ],
)
def test_what_the_policy_does_not_allow_is_not_certified(office, options, error, reason):
    with pytest.raises(error, match=reason):
        office.issue(office.request(), **options)


def test_a_request_that_is_not_there_or_closed_is_not_certified(office):
    with pytest.raises(UnknownNameError, match="R9"):
        office.issue("R9")
    request = office.request()
    office.desk.withdraw(request, reason="recorded-by-mistake")
    with pytest.raises(RefusedError, match="closed"):
        office.issue(request)


def test_a_request_that_is_withdrawn_while_claims_are_computed_gets_no_certificate(office, monkeypatch):
    """Everything that depends on the log is decided again under its lock."""
    request, make_claims = office.request(), issue.make_claims

    def withdrawn_meanwhile(*args, **settings):
        claims = make_claims(*args, **settings)
        office.desk.withdraw(request, reason="requested-by-person")
        return claims

    monkeypatch.setattr(issue, "make_claims", withdrawn_meanwhile)
    with pytest.raises(RefusedError, match=f"request {request} is closed: it was withdrawn, with entry 3") as caught:
        office.issue(request)
    assert "no certificate was issued, and no delta spent" in caught.value.hint
    assert [entry.type for entry in office.log.entries()][-1] == "request-withdrawn"
    monkeypatch.undo()
    assert Decimal(office.issue(office.request("ben")).certificate.spent) == Decimal("0.05")  # hers alone


def test_a_budget_that_is_spent_while_claims_are_computed_is_spent(office, monkeypatch):
    ann, ben, cat = (office.request(name) for name in ("ann", "ben", "cat"))
    make_claims = issue.make_claims

    def others_meanwhile(*args, **settings):
        monkeypatch.setattr(issue, "make_claims", make_claims)
        for request in (ann, ben):
            office.issue(request)
        return make_claims(*args, **settings)

    monkeypatch.setattr(issue, "make_claims", others_meanwhile)
    with pytest.raises(BudgetExceededError, match=r"0\.10 is spent, and this would make it 0\.15"):
        office.issue(cat)


def test_a_duplicate_of_a_closed_request_is_closed(office):
    first, second = office.request(), office.request()
    office.issue(second)
    office.desk.withdraw(first, reason="requested-by-person")
    with pytest.raises(RefusedError, match=f"request {second} is closed: it was withdrawn"):
        office.issue(second)


def test_somebody_whose_data_the_bundle_does_not_have_is_not_certified(office):
    with pytest.raises(RefusedError, match="has no data of the person"):
        office.issue(office.request("zoe"))


def test_a_policy_that_changed_since_the_request_is_not_applied(office, tmp_path):

    request = office.request()
    laxer = parse_policy(policy_text(RULES.replace("= 20", "= 30")), where="policy")
    with pytest.raises(PolicyError, match="another version of its policy"):
        office.issue(request, policy=laxer)


def test_without_a_declared_decay_truncation_is_not_covered_and_the_policy_is_not_met(tmp_path):
    rules = RULES.replace("[certificate.stability]\ntest_loss = 0.5\n", "")
    office = issuer(tmp_path, rules=rules)
    certificate = office.issue(office.request()).certificate
    assert certificate.claims[0].covers == ("sampling", "rounding")
    assert certificate.decision.outcome == "insufficient"
    assert certificate.decision.rule == "certificate.must_cover"


def test_an_effect_above_the_tolerance_needs_retraining(tmp_path):
    rules = RULES.replace("test_loss = 20", "test_loss = 0.0001").replace("test_loss = 0.5", "test_loss = 0.2")
    office = issuer(tmp_path, rules=rules)
    influences = np.abs(office.bundle.probe("test_loss").influences())
    certificate = office.issue(office.request(UNITS[influences.argmax()])).certificate
    assert certificate.decision.outcome == "retrain", certificate.decision
