"""Random numbers are those of plain torch, whatever the layout of the tensors that they are drawn for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.training.noisy import MODELS, recipe


@pytest.mark.parametrize("name", MODELS)
def test_the_base_of_a_bundle_is_the_plain_run_forward_and_in_reverse(name, tmp_path):
    r = recipe(MODELS[name])
    axes = uk.Forward(directions=np.eye(4) + 0j, degree=1)
    bundle = uk.sketch(r, tmp_path / "bundle", forward=axes, dtype="float64", device="cpu")
    swept = uk.sketch(r, tmp_path / "swept", dtype="float64", device="cpu")
    plain = uk.retrain(r, device="cpu").state_dict()
    for made in (bundle, swept):
        for weight, array in made.model_state().items():
            assert np.abs(array - plain[weight].numpy()).max() < 1e-12, weight
    gradient = swept.probe("loss").reverse.gradient
    assert np.abs(gradient - bundle.probe("loss").coefficients[:, 0].real).max() < 1e-10
    assert gradient[0, 1] == pytest.approx(plain_slope(r, "u1"), rel=1e-5, abs=1e-8)


def plain_slope(r: uk.Recipe, unit: str) -> float:
    """How the loss moves with a unit's weight, by plain retraining alone; exact to second order."""
    h, probe = 1e-4, r.probes["loss"]
    with torch.no_grad():
        base, one, two = (float(probe(uk.retrain(r, [unit], weight=w, device="cpu").eval())) for w in (0, h, 2 * h))
    return (4 * one - two - 3 * base) / (2 * h)
