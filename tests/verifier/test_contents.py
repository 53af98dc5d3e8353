"""Certificates that rest on a signed replay: what it says of rounding is in the claims, and they are made again so."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.small import KEY, UNITS
from tests.verifier.issuance import RULES, Issuer, issuer, with_claim
from tests.verifier.test_own_loss import rules
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import (
    DigestMismatchError,
    FormatError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
    VerificationError,
)
from unlearnkit.estimation import Differences
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.examination import verify
from unlearnkit.verifier.issue import Issuance
from unlearnkit.verifier.replayed import (
    NOT_REPLAYED,
    ReplayReport,
    SignedReplay,
    directions_from_seed,
    sign_replay,
    verify_signed_replay,
)

SEED = "a checkpoint, later than the bundle"
DELTA = Decimal("0.02")
DECLARED = RULES.replace("[certificate.stability]\ntest_loss = 0.5\n", "")
UNDECLARED = DECLARED.replace("[certificate.rounding]\ntest_loss = 0.000001\n", "")


@pytest.fixture
def office(tmp_path) -> Issuer:
    """With too few directions to be exact, and nothing declared about rounding."""
    return issuer(tmp_path, rules=UNDECLARED, count=2)


def replay(office: Issuer, size: float = 1e-3, *, key: PrivateKey | None = None, series: bool = True) -> bytes:
    """A replay that finds up to so much different. series: along directions, too."""
    bundle, rng, found = office.bundle, np.random.default_rng(3), {}
    for name in bundle.probe_names:
        elements = bundle.probe(name).base.size
        base, coefficients = size * rng.uniform(0.5, 1, elements), size * rng.uniform(0.5, 1, (2, elements))
        found[name] = Differences(base=base, coefficients=coefficients if series else None)
    directions = directions_from_seed(bundle, SEED, 1)
    report = ReplayReport.of(bundle, SEED, directions, found, names_units=True)
    return sign_replay(report, [key or office.signer])


def read(office: Issuer, raw: bytes) -> SignedReplay:
    return verify_signed_replay(raw, where="replay.json", keys=[office.signer.public], bundle=office.bundle)


def issued(office: Issuer, raw: bytes | None = None) -> Issuance:
    return office.issue(office.request(), replay=None if raw is None else read(office, raw))


def epsilons(made: Issuance) -> list[float]:
    (claim,) = made.certificate.claims
    return [float(claim.epsilon[0]), float(claim.epsilon_each[0])]


def test_a_claim_takes_rounding_from_the_replay_and_names_it(office):
    raw = replay(office)
    made = issued(office, raw)
    (claim,) = made.certificate.claims
    assert claim.covers == ("sampling", "rounding")
    assert claim.evidence == (sha256_hex(raw),)
    verified, checks = office.verify(made.raw, evidence=[raw])
    assert checks[-2:] == ["numbers", "decision"]
    assert NOT_REPLAYED in verified.unchecked


def test_epsilon_is_what_the_bound_gives_with_these_differences_and_no_smaller_than_without(office):
    raw = replay(office)
    without, made = issued(office), issued(office, raw)
    sketch, deleted = office.bundle.probe("test_loss"), made.certificate.deleted
    assert without.certificate.claims[0].covers == ("sampling",)
    predicted = float(made.certificate.claims[0].predicted[0])
    for family, least, got in zip(("all", "each"), epsilons(without), epsilons(made), strict=True):
        found = read(office, raw).differences("test_loss")
        bound = sketch.bound(deleted, 0.05, family=family, rounding=found)
        assert got == pytest.approx(float(bound.epsilon) + abs(predicted - float(bound.estimate)), rel=2e-5)
        assert got >= least + found.base[0]


def test_a_replay_takes_the_place_of_what_is_declared(tmp_path):
    office = issuer(tmp_path, rules=DECLARED.replace("test_loss = 0.000001", "test_loss = 5"), count=2)
    declared, made = issued(office), issued(office, replay(office))
    assert declared.certificate.claims[0].covers == made.certificate.claims[0].covers
    assert max(epsilons(made)) < min(epsilons(declared)) - 4


def test_what_the_replay_does_not_tell_is_not_covered_whatever_is_declared(tmp_path):
    office = issuer(tmp_path, rules=DECLARED, count=2)
    raw = replay(office, series=False)
    made = issued(office, raw)
    (claim,) = made.certificate.claims
    assert (claim.covers, claim.evidence) == (("sampling",), (sha256_hex(raw),))
    assert made.certificate.decision.rule == "certificate.must_cover"
    office.verify(made.raw, evidence=[raw])


def test_own_losses_take_the_differences_of_who_asks(tmp_path):
    office = issuer(tmp_path, rules=rules("50"), count=16, own=True)
    found, names = read(office, raw := replay(office)), ("dan", "ann")
    requests = [office.request(name) for name in names]
    (plain,), (made,) = (
        [claim for claim in office.issue(*requests, replay=item, delta=DELTA).certificate.claims if claim.people]
        for item in (None, found)
    )
    assert ("rounding" in plain.covers, "rounding" in made.covers) == (False, True)
    places = [next(i for i, unit in enumerate(UNITS) if KEY.pseudonym(unit) == person) for person in made.people]
    elements = np.array(places)
    sketch, own = office.bundle.probe("own_loss").of(elements), found.differences("own_loss").of(elements)
    without, covered = (sketch.bound(list(made.people), float(DELTA), rounding=item).epsilon for item in (None, own))
    grown = np.array(made.epsilon, float) - np.array(plain.epsilon, float)
    assert grown == pytest.approx(covered - without, abs=3e-6)  # six digits are written
    assert (grown > own.base).all()
    assert abs(own.base[0] - own.base[1]) > 1e-5
    office.verify(office.issue(*requests, replay=found, delta=DELTA).raw, evidence=[raw])


def test_a_lower_difference_is_another_replay_and_another_epsilon(office):
    raw, lower = replay(office), replay(office, 1e-6)
    made = issued(office, raw)
    for less, epsilon in zip(epsilons(issued(office, lower)), epsilons(made), strict=True):
        assert less < epsilon - 5e-4
    with pytest.raises(UnknownNameError, match=f"rest on the signed replay {sha256_hex(raw)}, which is not there"):
        office.verify(made.raw, evidence=[lower])


def test_a_claim_that_lies_about_its_replay_is_caught(office):
    raw, lower = replay(office), replay(office, 1e-6)
    (small,) = issued(office, lower).certificate.claims
    lied = office.forge(issued(office, raw), with_claim(epsilon=small.epsilon, epsilon_each=small.epsilon_each))
    with pytest.raises(VerificationError, match=r"epsilon of element 0 is .*, lower than what the bundle gives"):
        office.verify(lied, evidence=[raw])


def test_a_claim_that_names_no_replay_cannot_take_from_one(office):
    """Though one is at hand."""
    raw = replay(office)
    hidden = office.forge(issued(office, raw), with_claim(evidence=()))
    with pytest.raises(VerificationError, match=r"covers is .*'rounding'"):
        office.verify(hidden, evidence=[raw])


def test_claims_do_not_name_a_replay_by_halves(tmp_path):
    office = issuer(tmp_path, rules=rules("50"), count=16, own=True)
    made = office.issue(office.request(), replay=read(office, raw := replay(office)))

    def halved(certificate: Certificate) -> Certificate:
        first, *others = certificate.claims
        return replace(certificate, claims=(replace(first, evidence=()), *others))

    with pytest.raises(VerificationError, match="test_loss: evidence is not the one that follows"):
        office.verify(office.forge(made, halved), evidence=[raw])


def test_claims_that_name_several_replays_are_refused(office):
    raw, other = replay(office), replay(office, 1e-6)
    names = tuple(map(sha256_hex, (raw, other)))

    def several(certificate: Certificate) -> Certificate:
        return replace(certificate, claims=tuple(replace(claim, evidence=names) for claim in certificate.claims))

    forged = office.forge(issued(office, raw), several)
    with pytest.raises(VerificationError, match="its certified claims name 2 replays, expected one"):
        office.verify(forged, evidence=[raw, other])


def test_without_the_replay_the_claims_cannot_be_made_again(office):
    made = issued(office, replay(office))
    with pytest.raises(UnknownNameError, match="which is not there") as caught:
        office.verify(made.raw)
    assert "verify --evidence FILE" in str(caught.value.hint)


def test_replays_and_audits_are_told_apart_among_the_evidence(tmp_path):
    office = issuer(tmp_path, rules=rules("50"), count=16, own=True)
    audit, raw = office.audit(), replay(office)
    request = office.request()
    made = office.issue(request, evidence=[office.read(audit)], replay=read(office, raw))
    assert {claim.kind for claim in made.certificate.claims} <= {"audited", "retrained"}
    assert {claim.evidence for claim in made.certificate.claims} == {(sha256_hex(audit),)}
    office.verify(made.raw, evidence=[raw, audit])


def test_a_replay_that_is_tampered_with_foreign_or_unsigned_is_refused(office, tmp_path):
    made = issued(office, raw := replay(office))
    envelope = json.loads(raw)
    payload = base64.b64decode(envelope["payload"]).replace(b'"names_units":true', b'"names_units":false')
    altered = canonicalize({**envelope, "payload": base64.b64encode(payload).decode()})
    (tmp_path / "other").mkdir()
    foreign = issuer(tmp_path / "other", rules=UNDECLARED, count=3)
    for wrong, error in (
        (altered, SignatureError),
        (replay(office, key=PrivateKey.generate(Algorithm.P256)), ThresholdError),
        (canonicalize({**envelope, "signatures": []}), FormatError),
        (replay(foreign, key=office.signer), DigestMismatchError),
    ):
        with pytest.raises(error):
            office.verify(made.raw, evidence=[wrong])
    with pytest.raises(DigestMismatchError, match="the replay is about bundle"):
        office.issue(office.request("ben"), replay=read(foreign, replay(foreign)))


def test_a_replay_is_verified_as_a_file_of_its_own(office, tmp_path):
    path = Path(tmp_path / "replay.json")
    path.write_bytes(raw := replay(office))
    found = verify(path, bundle=office.folder / "bundle", trust=office.trust)
    assert (found.kind, found.value) == ("signed replay", read(office, raw))
    assert [check.name for check in found.checks] == ["signature", "bundle", "directions"]
    assert found.unchecked == (NOT_REPLAYED,)
    with pytest.raises(UnknownNameError, match="what this file is about is not there"):
        verify(path, trust=office.trust)
