"""Spot checks: honest evidence is found to hold, and a value that was made up is found out where it is looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from unlearnkit.audit.spot_check import chosen_draws, spot_check, verify_spot_check
from unlearnkit.errors import VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.evidence import sign_evidence, verify_evidence


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe, its bundle, an auditor's key, and evidence of 12 retrainings."""
    folder, recipe, key = tmp_path_factory.mktemp("spot"), small_recipe(), PrivateKey.generate(Algorithm.P256)
    bundle = uk.sketch(recipe, folder / "bundle", signer=key, seed=0, dtype="float64", progress=False)
    bundle = uk.Bundle.open(folder / "bundle", trust=[key.public])
    settings = {"signer": key, "out": folder / "e.json", "count": 12, "delta": 0.2, "progress": False}
    raw = uk.audit_retraining(recipe, bundle, deletions=uk.UnitDeletions(least=1, most=2), **settings)
    return recipe, bundle, key, verify_evidence(raw, where="e", keys=[key.public], bundle=bundle)


def test_honest_evidence_holds_what_retraining_gives(made):
    recipe, bundle, _, evidence = made
    found = verify_spot_check(spot_check(recipe, bundle, evidence, seed="heads", count=2))
    assert [check.probe for check in found] == ["logits", "test_loss", "own_loss"] * 2
    assert {check.draw for check in found} == set(chosen_draws(evidence, "heads", 2))


@pytest.mark.parametrize("kind", ["test_loss", "own_loss"])
def test_a_value_that_was_made_up_is_found_where_it_is_looked_at(made, kind):
    recipe, bundle, key, evidence = made
    audit = evidence.audit
    if kind == "own_loss":
        losses = list(audit.own_losses)
        losses[5] = (losses[5][0] + 1e-5, *losses[5][1:])
        audit = replace(audit, own_losses=tuple(losses))
    else:
        values = np.array(audit.probes[kind])
        values[5] += 1e-5
        audit = replace(audit, probes={**audit.probes, kind: values})
    forged = verify_evidence(sign_evidence(audit, [key]), where="e", keys=[key.public], bundle=bundle)
    seeds = [str(number) for number in range(40)]
    looked = next(seed for seed in seeds if 5 in chosen_draws(forged, seed, 2))
    found = spot_check(recipe, bundle, forged, seed=looked, count=2)
    assert [(check.draw, check.probe) for check in found if not check.agrees] == [(5, kind)]
    with pytest.raises(VerificationError, match=f"does not hold what retraining gives: DIFFERENT  draw 5, .*{kind}"):
        verify_spot_check(found)
    elsewhere = next(seed for seed in seeds if 5 not in chosen_draws(forged, seed, 1))
    verify_spot_check(spot_check(recipe, bundle, forged, seed=elsewhere, count=1))


def test_which_draws_follows_from_the_evidence_and_the_seed(made):
    evidence = made[3]
    several = {chosen_draws(evidence, str(seed), 3) for seed in range(30)}
    assert len(several) > 20
    assert chosen_draws(evidence, "x", 99) == tuple(range(12))
    with pytest.raises(ValueError, match="count=0: expected at least 1"):
        spot_check(*made[:2], evidence, seed="x", count=0)
