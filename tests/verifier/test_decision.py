"""Decisions: every rule, alone, keeps a deletion from being called negligible."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.claims import POLICY, claim, policy
from unlearnkit.compliance.policy.audits import AuditRules
from unlearnkit.compliance.policy.policy import CertificateRules
from unlearnkit.verifier.certificate import Decision, Kind, Outcome, Series
from unlearnkit.verifier.decision import decide

POLICY_READ = policy()
RULES = POLICY_READ.certificate


def judged(claims, rules: CertificateRules = RULES, people: int = 1, audit: AuditRules = POLICY_READ.audit) -> Decision:
    made = replace(POLICY_READ, certificate=rules, audit=audit)
    return decide(claims, made, people=people, directions=16)


def series(verdict: str = "converging", terms: str = "0.4", norms: str = "0.5") -> Series:
    return Series(verdict=verdict, terms=terms, norms=norms)


UNKNOWN_SERIES = series("unknown", "unknown", "unknown")


def test_a_claim_that_meets_every_rule_is_negligible():
    decision = judged([claim()])
    assert (decision.outcome, decision.rule) == (Outcome.KEEP, "certificate.tolerances")
    assert decision.reasons == ("loss: it changes by 0.008 at most, and the tolerance is 0.02",)


@pytest.mark.parametrize(
    ("changed", "rules", "outcome", "rule"),
    [
        ({"predicted": ("0.53",)}, {}, Outcome.RETRAIN, "tolerances.loss"),
        ({"predicted": ("0.47",)}, {}, Outcome.RETRAIN, "tolerances.loss"),
        ({"predicted": ("0.519",)}, {}, Outcome.INSUFFICIENT, "tolerances.loss"),
        # what rests on retrainings of sets of that size is in doubt where this one is, and not where another would be
        ({"convergence": series("doubtful", "0.4", "2")}, {}, Outcome.KEEP, "tolerances"),
        ({"convergence": series("doubtful", "1.1", "0.5")}, {}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({"convergence": series("doubtful", "1.1", "2")}, {"largest_ratio": Decimal(2)}, Outcome.KEEP, "tolerances"),
        (
            {"convergence": series("converging", "0.4", "0.9"), "kind": Kind.CERTIFIED},
            {"largest_ratio": Decimal("0.8")},
            Outcome.INSUFFICIENT,
            "largest_ratio",
        ),
        (
            {"convergence": series("doubtful", "0.4", "2"), "kind": Kind.CERTIFIED},
            {"largest_ratio": Decimal(2)},
            Outcome.INSUFFICIENT,
            "largest_ratio",
        ),
        (
            {"convergence": series("diverging", "2", "2")},
            {"largest_ratio": Decimal(9)},
            Outcome.INSUFFICIENT,
            "largest_ratio",
        ),
        ({"convergence": series("doubtful", "2"), "predicted": ("0.53",)}, {}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({"convergence": UNKNOWN_SERIES}, {}, Outcome.KEEP, "tolerances"),
        ({"convergence": UNKNOWN_SERIES, "kind": Kind.CERTIFIED}, {}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({}, {"largest_ratio": Decimal("0.39")}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({}, {"largest_ratio": Decimal("0.4")}, Outcome.KEEP, "tolerances"),
        ({"convergence": series(norms="unknown")}, {"largest_ratio": Decimal("0.4")}, Outcome.KEEP, "tolerances"),
        ({}, {"largest_ratio": None}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({"kind": Kind.CERTIFIED, "delta": "0.06"}, {}, Outcome.INSUFFICIENT, "largest_delta"),
        ({"kind": Kind.CERTIFIED}, {"largest_delta": None}, Outcome.INSUFFICIENT, "largest_delta"),
        ({"kind": Kind.CERTIFIED}, {}, Outcome.KEEP, "tolerances"),
        ({"kind": Kind.RETRAINED}, {"bound_methods": ("certified",)}, Outcome.INSUFFICIENT, "bound_methods"),
        ({"kind": Kind.RETRAINED, "convergence": series("diverging", "9")}, {}, Outcome.KEEP, "tolerances"),
        ({"covers": ("sampling", "rounding")}, {}, Outcome.INSUFFICIENT, "must_cover"),
        ({}, {"bound_methods": ("certified",)}, Outcome.INSUFFICIENT, "bound_methods"),
        ({}, {"bound_methods": ()}, Outcome.INSUFFICIENT, "bound_methods"),
        ({"kind": Kind.CERTIFIED}, {"minimum_directions": 17}, Outcome.INSUFFICIENT, "minimum_directions"),
        ({"kind": Kind.CERTIFIED}, {"minimum_directions": None}, Outcome.INSUFFICIENT, "minimum_directions"),
        ({"probe": "margins"}, {}, Outcome.INSUFFICIENT, "probes"),
        ({}, {"probes": ()}, Outcome.INSUFFICIENT, "probes"),
    ],
)
def test_each_rule_decides(changed, rules, outcome, rule):
    decision = judged([claim(**changed)], replace(RULES, **rules))
    assert (decision.outcome, decision.rule) == (outcome, f"certificate.{rule}")


def test_a_policy_that_states_nothing_finds_nothing_negligible():
    assert judged([claim()], CertificateRules()).outcome == Outcome.INSUFFICIENT


def test_the_element_that_moves_most_decides():
    several = claim(shape=(2,), base=("0.5", "0"), predicted=("0.505", "-0.1"), epsilon=("0.003", "0.003"))
    assert judged([several]).outcome == Outcome.RETRAIN


def test_to_keep_takes_the_error_of_each_element_and_to_retrain_that_of_all():
    """Near the tolerance from below and above: the narrower of the two errors decides to keep, never to retrain."""
    below = {"predicted": ("0.515",), "epsilon": ("0.006",), "epsilon_each": ("0.004",)}
    assert judged([claim(**below)]).outcome == Outcome.KEEP
    above = {**below, "predicted": ("0.525",)}
    assert judged([claim(**above)]).outcome == Outcome.INSUFFICIENT
    assert judged([claim(**{**above, "epsilon": ("0.004",)})]).outcome == Outcome.RETRAIN


@pytest.mark.parametrize("share", ["content", "confidence"])
def test_an_audited_claim_says_as_much_as_the_policy_asks_for(share):
    asked = replace(POLICY_READ.audit, content=Decimal("0.89"), confidence=Decimal("0.94"))
    assert judged([claim()], audit=asked).outcome == Outcome.KEEP
    less = judged([claim(**{share: "0.8"})], audit=asked)
    assert (less.outcome, less.rule) == (Outcome.INSUFFICIENT, "audit.content")
    assert judged([claim()], audit=AuditRules()).outcome == Outcome.INSUFFICIENT


@pytest.mark.parametrize("claims", [[], [claim(kind=Kind.CERTIFIED, covers=("sampling",))]])
def test_for_people_whom_no_stratum_holds_the_reason_is_that(claims):
    within, beyond = judged(claims, people=9), judged(claims, people=10)
    assert within.rule in ("certificate.probes", "certificate.must_cover")
    assert (beyond.outcome, beyond.rule) == (Outcome.INSUFFICIENT, "audit.strata")
    assert beyond.reasons[0].endswith("; 10 people are left out together, and sets of 1, 2 to 9 are audited")


def test_of_own_losses_each_person_has_a_reason_and_one_who_is_remembered_decides():
    people = ("1" * 64, "2" * 64, "3" * 64)
    losses = {"shape": (3,), "people": people, "base": ("0.1",) * 3, "epsilon": ("0.003",) * 3}
    decision = judged([claim(**losses, predicted=("0.101", "0.3", "0.115"))])
    assert (decision.outcome, decision.rule) == (Outcome.RETRAIN, "certificate.tolerances.loss")
    assert decision.reasons == (
        "loss of 11111111: it changes by 0.004 at most, and the tolerance is 0.02",
        "loss of 22222222: it changes by 0.197 at least, and the tolerance is 0.02",
        "loss of 33333333: it changes by 0.018 at most, and the tolerance is 0.02",
    )


def test_one_probe_that_moved_decides_over_another_that_is_not_known():
    rules = policy(POLICY.replace('["loss"]', '["loss", "other"]').replace("loss = 0.02", "loss = 0.02\nother = 1"))
    decision = judged([claim(predicted=("0.6",))], rules.certificate)
    assert decision.outcome == Outcome.RETRAIN
    assert decision.reasons[1] == "other: nothing is claimed about it"


numbers = st.decimals("-1", "1", places=4)


@given(numbers, numbers, st.decimals("0", "0.01", places=5))
def test_negligible_means_that_the_whole_interval_is_within_tolerance(base, predicted, epsilon):
    outcome = judged([claim(base=(str(base),), predicted=(str(predicted),), epsilon=(str(epsilon),))]).outcome
    ends = [abs(predicted + sign * epsilon - base) for sign in (-1, 1)]
    tolerance = Decimal("0.02")
    assert (outcome == Outcome.KEEP) == (max(ends) <= tolerance)
    crosses = abs(predicted - base) <= epsilon
    assert (outcome == Outcome.RETRAIN) == (min(ends) > tolerance and not crosses)
