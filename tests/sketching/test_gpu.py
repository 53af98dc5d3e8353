"""On a GPU everything is what it is on the processor, but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.sketching.test_device import Model, run

pytestmark = pytest.mark.gpu

SETTINGS = {
    "first order": {},
    "second order": {"reverse": {"logits": uk.Reverse(rank=2, residual=2)}},
    "forward": {"forward": uk.Forward(directions=3, degree=2, keep_weights=True)},
    "alone": {"solo": uk.Solo(degree=2)},
    "informed": {"informed": uk.Informed(2)},
}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_a_sketch_on_a_gpu_predicts_as_one_on_the_processor(settings, optimizer, tmp_path):
    recipe = run(optimizer, dropout=0.0).recipe
    changes = [
        uk.sketch(recipe, tmp_path / device, device=device, seed=0, progress=False, **SETTINGS[settings])
        .probe("logits")
        .predict(["unit-1"])
        .change
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(*changes, rtol=1e-2, atol=1e-5)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_a_budget_is_kept_on_a_gpu_and_states_go_to_disk(tmp_path):
    recipe, sizes = run("sgd", dropout=0.0).recipe, []
    for budget in (None, 2**20):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        uk.sketch(recipe, tmp_path / str(budget), device="cuda", seed=0, progress=False, memory_budget=budget)
        sizes.append(torch.cuda.max_memory_allocated() - before)
    assert sizes[1] <= 1.2 * 2**20


def test_retraining_on_a_gpu_is_retraining():
    recipe = run("sgd", dropout=0.0).recipe
    here, there = (uk.retrain(recipe, ["unit-1"], device=device) for device in ("cpu", "cuda"))
    assert isinstance(there, Model)
    for own, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(own, other.cpu(), rtol=1e-3, atol=1e-6)
