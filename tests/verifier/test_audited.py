"""Certificates whose bounds rest on retrainings: the evidence must be there, be the one that is named, and suffice."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bundle.small import UNITS, small
from tests.verifier.issuance import RULES, issuer, with_claim
from unlearnkit.errors import AssumptionError, EstimationError, ThresholdError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.certificate import question_digest
from unlearnkit.verifier.evidence import Audit, Evidence, sign_evidence, verify_evidence
from unlearnkit.verifier.plan import UnitDeletions, draw_deletions

SINGLE, COUNT = UnitDeletions(least=1, most=1), 25


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return issuer(tmp_path_factory.mktemp("office"), rules=RULES.replace("0.12", "0.99"))


@pytest.fixture(scope="module")
def retrained(office, tmp_path_factory):
    """What real retrainings would have given: the polynomial that the bundle is a sketch of."""
    polynomial = small(tmp_path_factory.mktemp("again"), weights=False).polynomial

    def evidence(distribution=SINGLE, count=COUNT, lie=0.0) -> bytes:
        masks = np.zeros((count, len(UNITS)))
        for mask, deletion in zip(masks, draw_deletions(office.bundle, distribution, count), strict=True):
            mask[list(deletion)] = 1
        values = (polynomial.base + polynomial.change(masks))[:, 0] + lie
        return sign_evidence(Audit.of(office.bundle, distribution, {"test_loss": values}), [office.signer])

    return evidence


def read(office, raw: bytes) -> Evidence:
    return verify_evidence(raw, where="evidence", keys=[office.signer.public], bundle=office.bundle)


def test_an_audited_claim_names_its_evidence_and_verifies_with_it(office, retrained):
    raw = retrained()
    issued = office.issue(office.request(), evidence=[read(office, raw)])
    (claim,) = issued.certificate.claims
    assert claim.kind == "audited"
    assert claim.method.startswith("audited: ")
    assert claim.covers == ("sampling", "rounding", "truncation")
    assert claim.evidence == (read(office, raw).digest,)
    _, checks = office.verify(issued.raw, evidence=[raw])
    assert checks[-2:] == ["numbers", "decision"]
    with pytest.raises(VerificationError, match=r"rests on evidence .*, which is not there"):
        office.verify(issued.raw)
    with pytest.raises(VerificationError, match=r"rests on evidence .*, which is not there"):
        office.verify(issued.raw, evidence=[retrained(lie=1.0)])


def test_other_evidence_gives_other_numbers_and_cannot_be_passed_off(office, retrained):
    """Named wherever the claim names evidence, it makes another epsilon."""
    raw = retrained()
    issued = office.issue(office.request(), evidence=[read(office, raw)])
    other, (claim,) = retrained(lie=1.0), issued.certificate.claims
    old, new = (read(office, file).digest for file in (raw, other))
    asked = {"bundle": issued.certificate.bundle, "deleted": issued.certificate.deleted, "delta": claim.delta}
    question = question_digest(**asked, probe=claim.probe, kind=claim.kind, evidence=[new])
    named = tuple(text.replace(old, new) for text in claim.assumptions)
    forged = office.forge(issued, with_claim(evidence=(new,), assumptions=named, question=question))
    with pytest.raises(VerificationError, match=r"epsilon of element 0 is .*, lower than what the bundle gives"):
        office.verify(forged, evidence=[raw, other])


def test_an_audit_of_other_deletions_certifies_nothing_of_one_person(office, retrained):
    pairs = read(office, retrained(UnitDeletions(least=2, most=3)))
    with pytest.raises(AssumptionError, match=r"a deletion of 1 units like this one is never drawn"):
        office.issue(office.request(), evidence=[pairs])


def test_too_few_retrainings_carry_no_certificate(office, retrained):
    few = read(office, retrained(count=18))
    with pytest.raises(EstimationError, match=r"18 retrainings carry no bound at delta=0.05"):
        office.issue(office.request(), evidence=[few])


def test_evidence_by_a_stranger_counts_for_nothing(office, retrained):
    raw = retrained()
    issued = office.issue(office.request(), evidence=[read(office, raw)])
    stranger = PrivateKey.generate(Algorithm.P256)
    resigned = sign_evidence(read(office, raw).audit, [stranger])
    with pytest.raises(ThresholdError, match=r"too few trusted signatures"):
        office.verify(issued.raw, evidence=[resigned])
