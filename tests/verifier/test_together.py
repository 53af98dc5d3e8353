"""Decisions add up: a certificate is about everybody who stands and those who ask now, and somebody is one too many."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from tests.bundle.small import KEY, UNITS, small
from tests.compliance.requests.desks import DIGEST
from tests.verifier.issuance import RULES, issuer, register_release
from unlearnkit.bundle import Bundle, write_bundle
from unlearnkit.compliance.releases.standing import standing_set
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.verifier import issue
from unlearnkit.verifier.account import account_of

LOOSE = RULES.replace("delta_budget = 0.12", "delta_budget = 0.9").replace("test_loss = 0.5", "test_loss = 0.2")


def reach(certificate) -> Decimal:
    (claim,) = certificate.claims
    return abs(Decimal(claim.predicted[0]) - Decimal(claim.base[0])) + Decimal(claim.epsilon[0])


def answer(office, request: str) -> None:
    office.desk.verify_identity(request, method="in-person")
    office.desk.fulfil(request, method="negligible-effect", evidence=[DIGEST])


@pytest.fixture
def tight(tmp_path):
    """An office whose tolerance is just what the one who moves most moves, for sure, alone."""
    (tmp_path / "first").mkdir()
    first = issuer(tmp_path / "first", rules=LOOSE)
    most = max(reach(first.issue(first.request(name)).certificate) for name in UNITS)
    (tmp_path / "second").mkdir()
    return issuer(tmp_path / "second", rules=LOOSE.replace("test_loss = 20", f"test_loss = {most}"))


def truth_of(office, deleted: tuple[str, ...]) -> float:
    """The true value without some people, from the polynomial that the bundle was made of."""
    folder = office.folder / "again"
    folder.mkdir(exist_ok=True)
    weights = np.array([[float(KEY.pseudonym(name) in deleted) for name in UNITS]])
    polynomial = small(folder, weights=False).polynomial
    return float(polynomial.base[0] + polynomial.change(weights)[0, 0])


def test_each_alone_is_negligible_and_one_after_another_the_last_is_not(tight):
    outcomes = []
    for name in UNITS:
        request = tight.request(name)
        issued = tight.issue(request)
        outcomes.append(issued.certificate.decision.outcome)
        tight.verify(issued.raw)
        if outcomes[-1] != "keep":
            break
        answer(tight, request)
    assert outcomes[0] == "keep"
    assert outcomes[-1] != "keep"
    (claim,) = issued.certificate.claims
    truth = truth_of(tight, issued.certificate.deleted)
    assert abs(truth - float(claim.predicted[0])) <= float(claim.epsilon[0])


def test_at_once_they_are_not_negligible_either_and_one_certificate_spends_once(tight):
    requests = [tight.request(name) for name in UNITS]
    for request in requests:
        assert tight.issue(request).certificate.decision.outcome == "keep"
    spent = Decimal(tight.issue(requests[0]).certificate.spent)
    issued = tight.issue(*requests)
    assert issued.certificate.decision.outcome != "keep"
    assert Decimal(issued.certificate.spent) == spent + Decimal("0.05")
    assert issued.certificate.requests == tuple(requests)
    tight.verify(issued.raw)
    (claim,) = issued.certificate.claims
    assert abs(truth_of(tight, issued.certificate.deleted) - float(claim.predicted[0])) <= float(claim.epsilon[0])


@pytest.fixture
def office(tmp_path):
    """Ann was answered without retraining."""
    made = issuer(tmp_path, rules=LOOSE)
    answer(made, made.request("ann"))
    return made


def test_a_claim_is_about_all_of_them_beside_the_share_of_those_who_ask(office):
    certificate = office.issue(office.request("ben")).certificate
    ann, ben = KEY.pseudonym("ann"), KEY.pseudonym("ben")
    assert (certificate.subjects, certificate.standing) == ((ben,), (ann,))
    assert certificate.deleted == tuple(sorted((ann, ben)))
    sketch, (claim,) = office.bundle.probe("test_loss"), certificate.claims
    assert float(claim.predicted[0]) == float(sketch.predict([ann, ben]).value)
    assert float(claim.asked[0]) == float(sketch.predict([ben]).value)


def test_who_was_answered_and_asks_again_is_counted_once(office):
    certificate = office.issue(office.request("ann")).certificate
    assert certificate.subjects == certificate.standing == certificate.deleted == (KEY.pseudonym("ann"),)


def test_a_standing_set_that_is_left_out_is_caught(office):
    issued = office.issue(office.request("ben"))
    ben = issued.certificate.subjects
    for change in (lambda c: replace(c, standing=(), deleted=ben), lambda c: replace(c, standing=())):
        with pytest.raises(VerificationError, match="its standing set has 0 people, the log and the bundle give 1"):
            office.verify(office.forge(issued, change))
    with pytest.raises(VerificationError, match="deletes other data than that of who asks and who stands"):
        office.verify(office.forge(issued, lambda c: replace(c, deleted=ben)))


def test_a_certificate_stays_what_it_was_when_others_are_answered_after_it(office):
    first = office.issue(office.request("ben"))
    later = office.request("cat")
    answer(office, later)
    office.verify(first.raw)
    register = LogView.read(office.folder / "log").register
    assert len(standing_set(register, office.bundle)) == 2
    assert standing_set(register, office.bundle, before=first.entry.index) == first.certificate.standing


def test_who_is_answered_while_claims_are_computed_is_not_left_out(office, monkeypatch):
    ben, cat, make_claims = office.request("ben"), office.request("cat"), issue.make_claims

    def answered_meanwhile(*args, **settings):
        answer(office, cat)
        return make_claims(*args, **settings)

    monkeypatch.setattr(issue, "make_claims", answered_meanwhile)
    entries = len(list(office.log.entries()))
    with pytest.raises(RefusedError, match="answered without retraining while claims were computed"):
        office.issue(ben)
    assert [entry.type for entry in office.log.entries()][entries:] == [
        "request-identity-verified",
        "request-fulfilled",
    ]


def test_a_bundle_that_is_signed_anew_or_described_otherwise_has_no_fresh_account(office, tmp_path):
    (tmp_path / "other-run").mkdir()
    contents = small(tmp_path / "other-run", weights=False)
    manifest = replace(contents.manifest, versions={"numpy": "3"})
    write_bundle(tmp_path / "other", manifest=manifest, signer=office.signer, **contents.contents)
    other = Bundle.open(tmp_path / "other", trust=[office.signer.public])
    assert other.digest != office.bundle.digest
    assert account_of(other.manifest) == account_of(office.bundle.manifest)
    first = office.issue(office.request("ben")).certificate
    register_release(office.log, other, "2", replaces="small@1")
    options = {"log": office.log, "origin": office.log_key.origin, "policy": office.policy, "signers": [office.signer]}
    again = issue.certify(other, first.requests, **options).certificate
    assert (first.spent, again.spent) == ("0.05", "0.10")


def test_a_question_that_the_log_records_with_two_deltas_is_a_failure(office):
    issued = office.issue(office.request("ben"))
    office.verify(issued.raw)

    def cheaper(certificate):
        (claim,) = certificate.claims
        return replace(certificate, claims=(replace(claim, delta="0.001"),))

    with pytest.raises(VerificationError, match="records a question with two deltas"):
        office.verify(office.forge(issued, cheaper))
    with pytest.raises(VerificationError, match="records a question with two deltas"):
        office.verify(office.forge(issued))


def test_where_the_declared_decay_bounds_nothing_for_so_many_truncation_is_not_covered(tmp_path):
    office = issuer(tmp_path, rules=LOOSE.replace("test_loss = 0.2", "test_loss = 0.5"))
    issued = office.issue(*[office.request(name) for name in UNITS])
    assert issued.certificate.claims[0].covers == ("sampling", "rounding")
    assert (issued.certificate.decision.outcome, issued.certificate.decision.rule) == (
        "insufficient",
        "certificate.must_cover",
    )
    office.verify(issued.raw)
