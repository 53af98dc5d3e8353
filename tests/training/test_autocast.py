"""Losses under autocast: the plain run is the lowered one, and its series are those of float32 but for the rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.errors import RecipeError

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(12, 4, generator=GENERATOR), torch.arange(12) % 3
DELETED = np.isin(np.arange(12), [1, 5]).astype(float)


def losses(model: nn.Module, batch, *, lowered: bool) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lowered):
        return cross_entropy(model(batch[0]), batch[1], reduction="none").float()


def recipe(*, lowered: bool) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 3))
    return uk.Recipe(
        name="autocast",
        model=model,
        loss=lambda m, batch: losses(m, batch, lowered=lowered),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5),
        data=(X, Y),
        units=list(range(12)),
        epochs=1,
        batch_size=4,
        clip_grad_norm=1.0,
        probes={"loss": lambda m: losses(m, (X, Y), lowered=False).mean()},
    )


@pytest.mark.parametrize(("way", "rounding"), [("forward", 1e-3), ("reverse", 1e-6)])
def test_the_base_is_the_lowered_run_and_the_first_order_that_of_float32(way, rounding, tmp_path):
    found = {}
    for lowered in (True, False):
        made = recipe(lowered=lowered)
        forward = uk.Forward(directions=DELETED[None] + 0j, degree=1) if way == "forward" else None
        probe = uk.sketch(made, tmp_path / str(lowered), forward=forward, device="cpu").probe("loss")
        with torch.no_grad():
            plain = made.probes["loss"](uk.retrain(made, device="cpu").eval())
        assert float(probe.base) == pytest.approx(float(plain), rel=rounding)
        found[lowered] = (
            probe.coefficients[0].real.item() if forward else float(probe.reverse.gradient[0] @ DELETED),
            float(plain),
        )
    assert found[True][1] != found[False][1]
    assert found[True][0] == pytest.approx(found[False][0], rel=0.05)


def test_weights_in_low_precision_are_refused_by_name():
    model = nn.Sequential(nn.Linear(4, 3)).bfloat16()
    with pytest.raises(RecipeError, match=r"'0\.weight' is torch\.bfloat16, expected float32 or float64"):
        recipe(lowered=False).replace(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
