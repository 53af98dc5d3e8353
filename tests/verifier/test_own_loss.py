"""What the model keeps of each person who asks: one element each, with and without everybody together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bundle.small import KEY, UNITS, own_losses
from tests.verifier.issuance import RULES, audited, issuer, retrained, undrawn
from unlearnkit.errors import UnknownNameError, VerificationError
from unlearnkit.verifier.claims import make_claims

BOTH = RULES.replace('["test_loss"]', '["test_loss", "own_loss"]').replace(
    "test_loss = 20\n", "test_loss = 20\nown_loss = TOLERANCE\n"
)


def rules(tolerance: str) -> str:
    return audited(BOTH).replace("TOLERANCE", tolerance)


@pytest.fixture
def office(tmp_path):
    return issuer(tmp_path, rules=rules("50"), count=16, own=True)


def own(issued):
    (claim,) = [claim for claim in issued.certificate.claims if claim.probe == "own_loss"]
    return claim


def test_each_who_asks_has_an_element_and_who_stands_has_none(office):
    raw = office.audit()
    first = office.request("dan")
    office.desk.verify_identity(first, method="in-person")
    office.desk.fulfil(first, method="negligible-effect", evidence=["e" * 64])
    issued = office.issue(office.request("ben"), office.request("ann"), evidence=[office.read(raw)])
    claim, names = own(issued), ("ann", "ben")
    pseudonyms = {KEY.pseudonym(name): name for name in names}
    assert set(claim.people) == set(pseudonyms)
    assert claim.shape == (2,)
    assert len(issued.certificate.deleted) == 3
    places = [UNITS.index(pseudonyms[person]) for person in claim.people]
    assert [float(text) for text in claim.base] == pytest.approx(own_losses().base[places])
    office.verify(issued.raw, evidence=[raw])


def test_the_truth_is_within_the_bound_of_who_asks(office):
    raw = office.audit()
    names = undrawn(office.read(raw), 2)
    issued = office.issue(*map(office.request, names), evidence=[office.read(raw)])
    claim, places = own(issued), sorted(UNITS.index(name) for name in names)
    truth = dict(zip(places, retrained(places)[1], strict=True))
    for person, predicted, epsilon in zip(claim.people, claim.predicted, claim.epsilon, strict=True):
        place = next(i for i in places if KEY.pseudonym(UNITS[i]) == person)
        assert abs(truth[place] - float(predicted)) <= float(epsilon)


def test_a_model_that_remembers_somebody_is_not_kept_however_little_the_test_loss_moves(tmp_path):
    office = issuer(tmp_path, rules=rules("0.0001"), count=16, own=True)
    raw = office.audit()
    issued = office.issue(office.request("ann"), evidence=[office.read(raw)])
    decision = issued.certificate.decision
    assert (decision.outcome, decision.rule) == ("retrain", "certificate.tolerances.own_loss")
    assert decision.reasons[0].startswith("test_loss: it changes by")
    assert decision.reasons[1].startswith(f"own_loss of {KEY.pseudonym('ann')[:8]}: it changes by")


def test_a_person_who_was_retrained_has_the_value_that_retraining_gave(office):
    raw = office.audit()
    evidence = office.read(raw)
    row, single = next((i, set_) for i, set_ in enumerate(evidence.audit.deletions) if len(set_) == 1)
    issued = office.issue(office.request(UNITS[single[0]]), evidence=[evidence])
    claim = own(issued)
    assert (claim.kind, float(claim.predicted[0])) == ("retrained", evidence.audit.own_losses[row][0])
    office.verify(issued.raw, evidence=[raw])


def test_without_an_audit_own_losses_are_certified_as_far_as_that_goes(office):
    issued = office.issue(office.request("ann"))
    claim = own(issued)
    assert (claim.kind, claim.covers) == ("certified", ("sampling",))
    assert issued.certificate.decision.rule == "certificate.must_cover"
    office.verify(issued.raw)


def test_whose_own_loss_it_is_cannot_be_altered(office):
    raw = office.audit()
    issued = office.issue(office.request("ann"), evidence=[office.read(raw)])

    def other(certificate):
        changed = [replace(c, people=("1" * 64,)) if c.people else c for c in certificate.claims]
        return replace(certificate, claims=tuple(changed))

    with pytest.raises(VerificationError, match="people is"):
        office.verify(office.forge(issued, other), evidence=[raw])


def test_another_probe_of_that_name_is_none(tmp_path):
    """A test loss that is called own_loss would say little of anybody."""
    office = issuer(tmp_path, rules=rules("1"), count=16, own=True)
    bundle = office.bundle
    bundle.manifest = replace(bundle.manifest, own_loss="")
    with pytest.raises(UnknownNameError, match="asks for own_loss, and the bundle's probe of that name is another one"):
        make_claims(bundle, [KEY.pseudonym("ann")], office.policy, asking=[KEY.pseudonym("ann")], delta=None)
    (tmp_path / "none").mkdir()
    without = issuer(tmp_path / "none", rules=rules("1"), count=16)
    with pytest.raises(UnknownNameError, match="asks for the probes own_loss, which the bundle does not have"):
        without.issue(without.request("ann"))
