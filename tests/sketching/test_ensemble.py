"""Averages over runs that differ in their seed, against the average of real retrainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import recipe
from unlearnkit.errors import RefusedError

SEEDS = (0, 1, 2)
GONE = ["c"]


def made(seed: int) -> uk.Recipe:
    return recipe(seed=seed, probes={**recipe().probes, "own_loss": uk.OwnLoss()})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> list[uk.Bundle]:
    folder = tmp_path_factory.mktemp("seeds")
    settings = {"directions": 0, "solo": uk.Solo(3), "seed": 0, "dtype": "float64", "device": "cpu"}
    return [sketched(made(seed), folder / f"bundle-{seed}", **settings) for seed in SEEDS]


def test_it_predicts_the_mean_of_the_retrained_models(bundles):
    """To third order: what is left is a hundredth of the change."""
    average = uk.Ensemble(bundles).predict("scalar", GONE)
    with torch.no_grad():
        real = [float(made(seed).probes["scalar"](uk.retrain(made(seed), GONE, device="cpu"))) for seed in SEEDS]
    assert abs(average.value - np.mean(real)) < 0.01 * abs(average.change)
    assert average.spread == pytest.approx(np.std(real, ddof=1), rel=0.01)


def test_mean_spread_and_standard_error_are_those_of_the_members(bundles):
    for probe in ("scalar", "probe", "own_loss"):
        average = uk.Ensemble(bundles).predict(probe, GONE)
        values = np.stack([member.value for member in average.members])
        np.testing.assert_allclose(average.value, values.mean(0))
        np.testing.assert_allclose(average.value, average.base + average.change)
        np.testing.assert_allclose(average.spread, np.sqrt(((values - values.mean(0)) ** 2).sum(0) / 2))
        np.testing.assert_allclose(average.standard_error, average.spread / np.sqrt(3))
    assert average.value.shape == (1,)  # own losses: of who leaves


def test_one_run_twice_or_other_people_tell_no_spread(bundles, tmp_path):
    with pytest.raises(ValueError, match="an ensemble of 1"):
        uk.Ensemble(bundles[:1])
    with pytest.raises(RefusedError, match="two bundles are of one run"):
        uk.Ensemble([bundles[0], bundles[0]])
    stranger = sketched(made(3), tmp_path / "bundle", directions=1, seed=0, device="cpu")  # with another key
    with pytest.raises(RefusedError, match="other people, or name them with other keys"):
        uk.Ensemble([bundles[0], stranger])
