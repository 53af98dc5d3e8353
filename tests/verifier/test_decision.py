"""Decisions: every rule, alone, keeps a deletion from being called negligible."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.claims import POLICY, claim, policy
from unlearnkit.compliance.policy.policy import CertificateRules
from unlearnkit.verifier.certificate import Outcome, Series
from unlearnkit.verifier.decision import decide

RULES = policy().certificate


def series(verdict: str = "converging", terms: str = "0.4", norms: str = "0.5") -> Series:
    return Series(verdict=verdict, terms=terms, norms=norms)


UNKNOWN_SERIES = series("unknown", "unknown", "unknown")


def test_a_claim_that_meets_every_rule_is_negligible():
    decision = decide([claim()], RULES, 16)
    assert (decision.outcome, decision.rule) == (Outcome.KEEP, "certificate.tolerances")
    assert decision.reasons == ("loss: it changes by 0.008 at most, and the tolerance is 0.02",)


@pytest.mark.parametrize(
    ("changed", "rules", "outcome", "rule"),
    [
        ({"predicted": ("0.53",)}, {}, Outcome.RETRAIN, "tolerances.loss"),
        ({"predicted": ("0.47",)}, {}, Outcome.RETRAIN, "tolerances.loss"),
        ({"predicted": ("0.519",)}, {}, Outcome.INSUFFICIENT, "tolerances.loss"),
        ({"convergence": series("doubtful", "0.4", "2")}, {}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({"convergence": series("doubtful", "0.4", "2")}, {"largest_ratio": Decimal(2)}, Outcome.KEEP, "tolerances"),
        (
            {"convergence": series("doubtful", "0.4", "2"), "kind": "certified"},
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
        ({"convergence": UNKNOWN_SERIES, "kind": "certified"}, {}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({}, {"largest_ratio": Decimal("0.49")}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({}, {"largest_ratio": Decimal("0.5")}, Outcome.KEEP, "tolerances"),
        ({"convergence": series(norms="unknown")}, {"largest_ratio": Decimal("0.4")}, Outcome.KEEP, "tolerances"),
        ({}, {"largest_ratio": None}, Outcome.INSUFFICIENT, "largest_ratio"),
        ({"delta": "0.06"}, {}, Outcome.INSUFFICIENT, "largest_delta"),
        ({}, {"largest_delta": None}, Outcome.INSUFFICIENT, "largest_delta"),
        ({"covers": ("sampling", "rounding")}, {}, Outcome.INSUFFICIENT, "must_cover"),
        ({}, {"bound_methods": ("certified",)}, Outcome.INSUFFICIENT, "bound_methods"),
        ({}, {"bound_methods": ()}, Outcome.INSUFFICIENT, "bound_methods"),
        ({"kind": "certified"}, {"minimum_directions": 17}, Outcome.INSUFFICIENT, "minimum_directions"),
        ({"kind": "certified"}, {"minimum_directions": None}, Outcome.INSUFFICIENT, "minimum_directions"),
        ({"probe": "margins"}, {}, Outcome.INSUFFICIENT, "probes"),
        ({}, {"probes": ()}, Outcome.INSUFFICIENT, "probes"),
    ],
)
def test_each_rule_decides(changed, rules, outcome, rule):
    decision = decide([claim(**changed)], replace(RULES, **rules), 16)
    assert (decision.outcome, decision.rule) == (outcome, f"certificate.{rule}")


def test_a_policy_that_states_nothing_finds_nothing_negligible():
    assert decide([claim()], CertificateRules(), 16).outcome == Outcome.INSUFFICIENT


def test_the_element_that_moves_most_decides():
    several = claim(shape=(2,), base=("0.5", "0"), predicted=("0.505", "-0.1"), epsilon=("0.003", "0.003"))
    assert decide([several], RULES, 16).outcome == Outcome.RETRAIN


def test_to_keep_takes_the_error_of_each_element_and_to_retrain_that_of_all():
    """Near the tolerance from below and above: the narrower of the two errors decides to keep, never to retrain."""
    below = {"predicted": ("0.515",), "epsilon": ("0.006",), "epsilon_each": ("0.004",)}
    assert decide([claim(**below)], RULES, 16).outcome == Outcome.KEEP
    above = {**below, "predicted": ("0.525",)}
    assert decide([claim(**above)], RULES, 16).outcome == Outcome.INSUFFICIENT
    assert decide([claim(**{**above, "epsilon": ("0.004",)})], RULES, 16).outcome == Outcome.RETRAIN


def test_one_probe_that_moved_decides_over_another_that_is_not_known():
    rules = policy(POLICY.replace('["loss"]', '["loss", "other"]').replace("loss = 0.02", "loss = 0.02\nother = 1"))
    decision = decide([claim(predicted=("0.6",))], rules.certificate, 16)
    assert decision.outcome == Outcome.RETRAIN
    assert decision.reasons[1] == "other: nothing is claimed about it"


numbers = st.decimals("-1", "1", places=4)


@given(numbers, numbers, st.decimals("0", "0.01", places=5))
def test_negligible_means_that_the_whole_interval_is_within_tolerance(base, predicted, epsilon):
    outcome = decide(
        [claim(base=(str(base),), predicted=(str(predicted),), epsilon=(str(epsilon),))], RULES, 16
    ).outcome
    ends = [abs(predicted + sign * epsilon - base) for sign in (-1, 1)]
    tolerance = Decimal("0.02")
    assert (outcome == Outcome.KEEP) == (max(ends) <= tolerance)
    crosses = abs(predicted - base) <= epsilon
    assert (outcome == Outcome.RETRAIN) == (min(ends) > tolerance and not crosses)
