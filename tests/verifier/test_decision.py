"""Decisions: every rule, alone, keeps a deletion from being called negligible."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.claims import POLICY, claim, policy
from unlearnkit.compliance.policy.policy import CertificateRules
from unlearnkit.verifier.certificate import Outcome
from unlearnkit.verifier.decision import decide

RULES = policy().certificate


def test_a_claim_that_meets_every_rule_is_negligible():
    decision = decide([claim()], RULES, 16)
    assert (decision.outcome, decision.rule) == (Outcome.NEGLIGIBLE, "certificate.tolerances")
    assert decision.reasons == ("loss: it changes by 0.008 at most, and the tolerance is 0.02",)


@pytest.mark.parametrize(
    ("changed", "rules", "outcome", "rule"),
    [
        ({"predicted": ("0.53",)}, {}, Outcome.RETRAIN, "tolerances.loss"),
        ({"predicted": ("0.47",)}, {}, Outcome.RETRAIN, "tolerances.loss"),
        ({"predicted": ("0.519",)}, {}, Outcome.INSUFFICIENT, "tolerances.loss"),
        ({"epsilon": ("0.011",)}, {}, Outcome.INSUFFICIENT, "largest_epsilon"),
        ({}, {"largest_epsilon": None}, Outcome.INSUFFICIENT, "largest_epsilon"),
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
    assert (outcome == Outcome.NEGLIGIBLE) == (max(ends) <= tolerance)
    crosses = abs(predicted - base) <= epsilon
    assert (outcome == Outcome.RETRAIN) == (min(ends) > tolerance and not crosses)
