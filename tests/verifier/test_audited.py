"""Certificates whose bounds rest on retrainings: those that a plan fixed beforehand, all of them, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from tests.bundle.small import UNITS
from tests.verifier.issuance import audited, issuer, retrained, undrawn, with_claim
from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import (
    AssumptionError,
    RefusedError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
    VerificationError,
)
from unlearnkit.estimation.conformal import scale
from unlearnkit.estimation.tolerance import tolerance_score
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier import issue
from unlearnkit.verifier.audits import AUDIT_FINISHED, logged_audits
from unlearnkit.verifier.evidence import sign_evidence
from unlearnkit.verifier.plan import UnitDeletions
from unlearnkit.verifier.retrainings import Retrainings


@pytest.fixture
def office(tmp_path):
    return issuer(tmp_path, rules=audited(), count=16)


@pytest.fixture
def raw(office):
    return office.audit()


def asked(office, raw, size: int = 2) -> list[str]:
    """Requests of people whom the audit did not leave out together."""
    return [office.request(name) for name in undrawn(office.read(raw), size)]


def claim_of(office, *requests, **options):
    issued = office.issue(*requests, **options)
    return issued, issued.certificate.claims[0]


def test_an_audited_claim_names_its_evidence_spends_nothing_and_verifies_with_it(office, raw):
    evidence = office.read(raw)
    issued, claim = claim_of(office, *asked(office, raw), evidence=[evidence])
    assert (claim.kind, claim.content, claim.confidence, claim.delta) == ("audited", "0.5", "0.9", None)
    assert claim.covers == ("sampling", "rounding", "truncation")
    assert claim.evidence == (evidence.digest,)
    (named,) = issued.certificate.audits
    assert (named.evidence, named.bundle) == (evidence.digest, office.bundle.digest)
    assert issued.certificate.spent == "0"
    _, checks = office.verify(issued.raw, evidence=[raw])
    assert checks[-3:] == ["audits", "numbers", "decision"]
    with pytest.raises(UnknownNameError, match=r"the audit of entry \d+ counts, and its evidence .* is not there"):
        office.verify(issued.raw)


def test_epsilon_is_the_score_of_the_stratum_by_the_scale_of_the_set(office, raw):
    """Found again here, draw by draw."""
    evidence = office.read(raw)
    _, claim = claim_of(office, *asked(office, raw), evidence=[evidence])
    sketch, scores = office.bundle.probe("test_loss"), []
    for mask, truth in zip(evidence.masks(), evidence.audit.probes["test_loss"], strict=True):
        if mask.sum() >= 2:
            prediction = sketch.predict(mask[None])
            scores.append((np.abs(truth - prediction.value) / scale(sketch, mask[None], prediction)).item())
    assert len(scores) == 9
    rank, score = tolerance_score(np.array(scores), 0.5, 0.9)
    x = np.zeros((1, len(UNITS)))
    x[0, [UNITS.index(name) for name in undrawn(evidence, 2)]] = 1
    expected = score * scale(sketch, x, sketch.predict(x)).item()
    assert expected <= float(claim.epsilon[0]) <= expected * (1 + 1e-5)
    assert f"the {rank}th smallest of N=9 scores, 2 to 3 units" in claim.method


def test_a_person_who_was_retrained_has_their_retrained_value(office, raw):
    evidence = office.read(raw)
    single = next(deletion for deletion in evidence.audit.deletions if len(deletion) == 1)
    issued, claim = claim_of(office, office.request(UNITS[single[0]]), evidence=[evidence])
    assert (claim.kind, claim.epsilon, claim.delta, claim.content) == ("retrained", ("0",), None, None)
    assert float(claim.predicted[0]) == retrained(list(single))[0]
    office.verify(issued.raw, evidence=[raw])


def test_people_whom_no_stratum_holds_get_a_signed_insufficient(office, raw):
    requests = [office.request(name) for name in UNITS[:4]]
    issued, claim = claim_of(office, *requests, evidence=[office.read(raw)])
    assert claim.kind == "certified"
    office.verify(issued.raw, evidence=[raw])
    policy = parse_policy(office.policy.text.replace('["certified", "audited"]', '["audited"]').encode(), where="p")
    decision = issue.decide(issued.certificate.claims, policy, people=4, directions=16)
    assert (decision.outcome, decision.rule) == ("insufficient", "audit.strata")


def test_where_nothing_is_certified_either_nothing_is_claimed_and_that_is_insufficient(tmp_path):
    office = issuer(tmp_path, rules=audited(), count=2)
    raw = office.audit()
    requests = [office.request(name) for name in UNITS[:4]]
    issued = office.issue(*requests, evidence=[office.read(raw)], delta=Decimal("0.000000001"))
    assert issued.certificate.decision.outcome == "insufficient"
    office.verify(issued.raw, evidence=[raw])


def test_all_finished_audits_count_and_none_is_left_out(office, raw):
    request = office.request()
    with pytest.raises(UnknownNameError, match=r"the audit of entry \d+ counts, and its evidence .* is not there"):
        office.issue(request)
    (named,) = logged_audits(LogView.read(office.log.path), office.bundle.manifest.recipe_digest)
    assert named.evidence == office.read(raw).digest


def test_an_unfinished_audit_is_named_too(office):
    committed = office.commit()
    issued = office.issue(office.request())
    assert [(audit.committed, audit.evidence) for audit in issued.certificate.audits] == [(committed, None)]
    office.verify(issued.raw)


def test_more_retrainings_extend_and_replace_nothing(office, raw):
    """Under a policy with larger counts; each draw is in both files, and counts once."""
    text = office.policy.text.replace("count = 5", "count = 8")
    larger = replace(office, policy=parse_policy(text.encode(), where="policy"))
    again = larger.audit()
    first, second = (office.read(file) for file in (raw, again))
    assert second.audit.deletions[:5] == first.audit.deletions[:5]
    assert second.planned.strata[0].committed == first.planned.strata[0].committed
    found = Retrainings.of(office.bundle, [second, first], larger.policy.audit)
    assert len(found.draws) == 17
    with pytest.raises(UnknownNameError, match="is not there"):
        office.issue(office.request("cat"), evidence=[second])
    issued = office.issue(office.request("cat"), evidence=[second, first])
    assert len(issued.certificate.audits) == 2
    office.verify(issued.raw, evidence=[again, raw])
    with pytest.raises(UnknownNameError, match=r"the audit of entry \d+ counts, and its evidence .* is not there"):
        office.verify(issued.raw, evidence=[again])


def test_two_audits_that_disagree_on_a_draw_decide_nothing(office, raw):
    committed = office.commit()
    lying = office.finish(committed, office.evidence(office.planned(), lie=1.0))
    with pytest.raises(AssumptionError, match="two audits have different numbers of the draw"):
        office.issue(office.request(), evidence=[office.read(raw), lying])


def test_an_experiment_decides_nothing(office):
    free = office.read(office.evidence(UnitDeletions(least=1, most=1), count=30))
    with pytest.raises(VerificationError, match="is an experiment: who made it chose what was drawn"):
        office.issue(office.request(), evidence=[free])
    with pytest.raises(AssumptionError, match="is an experiment"):
        Retrainings.of(office.bundle, [free], office.policy.audit)


def test_draws_of_a_root_that_the_log_never_had_are_caught(office):
    """An issuer who tries roots until the draws please."""
    committed = office.commit()
    planned = office.planned()
    tried = replace(planned, strata=tuple(replace(stratum, root="ab" * 32) for stratum in planned.strata))
    evidence = office.finish(committed, office.evidence(tried))
    with pytest.raises(VerificationError, match="does not follow from what the log committed to"):
        office.issue(office.request(), evidence=[evidence])


def test_strata_that_nobody_committed_to_are_caught(office):
    committed = office.commit()
    planned = office.planned()
    other = replace(planned, strata=(replace(planned.strata[1], least=2, most=4),))
    evidence = office.finish(committed, office.evidence(other))
    with pytest.raises(VerificationError, match="commits to no audit of deletions of 2 to 4 people"):
        office.issue(office.request(), evidence=[evidence])


def test_evidence_that_the_log_does_not_finish_with_is_caught(office, raw):
    other = office.read(office.evidence(office.planned(), lie=0.5))
    with pytest.raises(VerificationError, match="is of no finished audit that the log has"):
        office.issue(office.request(), evidence=[office.read(raw), other])


def test_fewer_retrainings_than_the_policy_asks_for_are_none(office):
    """A plan that an earlier, weaker policy made."""
    raw = office.audit()
    stricter = parse_policy(office.policy.text.replace("count = 5", "count = 6").encode(), where="policy")
    found = Retrainings.of(office.bundle, [office.read(raw)], stricter.audit)
    assert found.tolerance("test_loss", 1) is None
    assert found.tolerance("test_loss", 2) is not None
    assert found.tolerance("margins", 2) is None


def test_an_audit_that_is_recorded_while_claims_are_computed_is_not_left_out(office, monkeypatch):
    request, make_claims = office.request(), issue.make_claims

    def audited_meanwhile(*args, **settings):
        office.commit()
        return make_claims(*args, **settings)

    monkeypatch.setattr(issue, "make_claims", audited_meanwhile)
    with pytest.raises(RefusedError, match="an audit was recorded while claims were computed"):
        office.issue(request)


def test_an_audit_is_finished_once_and_only_if_somebody_committed_to_it(office, raw):
    view = LogView.read(office.log.path)
    (named,) = logged_audits(view, office.bundle.manifest.recipe_digest)
    office.log.record(AUDIT_FINISHED, {"committed": named.committed, "evidence": "e" * 64})
    with pytest.raises(VerificationError, match=r"finishes audit .* before it, or again"):
        office.issue(office.request(), evidence=[office.read(raw)])


def test_other_evidence_gives_other_numbers_and_cannot_be_passed_off(office, raw):
    issued, claim = claim_of(office, *asked(office, raw), evidence=[office.read(raw)])
    smaller = tuple(str(Decimal(text) / 2) for text in claim.epsilon)
    forged = office.forge(issued, with_claim(epsilon=smaller, epsilon_each=smaller))
    with pytest.raises(VerificationError, match=r"epsilon of element 0 is .*, lower than what the bundle gives"):
        office.verify(forged, evidence=[raw])


def test_evidence_by_a_stranger_counts_for_nothing(office, raw):
    issued, _ = claim_of(office, *asked(office, raw), evidence=[office.read(raw)])
    stranger = PrivateKey.generate(Algorithm.P256)
    resigned = sign_evidence(office.read(raw).audit, [stranger])
    with pytest.raises((ThresholdError, SignatureError)):
        office.verify(issued.raw, evidence=[resigned])


def test_no_number_of_requests_uses_up_what_an_audit_says(office, raw):
    """A statement about all deletions of a stratum is made once; the budget here is of two certified ones."""
    evidence, bundle, view = [office.read(raw)], office.bundle, LogView.read(office.log.path)
    settings = {"log": office.log, "origin": "o", "policy": office.policy, "signers": [office.signer]}
    for number in range(40):
        request = office.request(UNITS[number % 5])
        with office.log.exclusive() as writer:
            view.up_to(writer.end)
        certificate = issue.certify(bundle, [request], evidence=evidence, view=view, **settings).certificate
    assert certificate.spent == "0"
    assert certificate.claims[0].kind in ("audited", "retrained")
