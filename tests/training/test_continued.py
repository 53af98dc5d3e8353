"""Optimizers that have stepped before: a run in two halves is the whole run."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.small import OPTIMIZERS, OTHER_OPTIMIZERS, OWNERS, X, Y, loss, model, scalar_probe
from unlearnkit.errors import RecipeError
from unlearnkit.training.beside import train_beside_plain
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer

BATCHES = [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10, 11], [2, 5, 7], [1, 3, 9, 11], [0, 4, 6]]
HALF = 3


def steps(m: nn.Module, made: list[torch.optim.Optimizer], batches: list[list[int]]) -> None:
    for rows in batches:
        m.zero_grad()
        loss(m, (X[rows], Y[rows])).mean().backward()
        for optimizer in made:
            optimizer.step()


def halves(name: str) -> tuple[nn.Module, uk.Recipe]:
    """A model that did all steps, and the recipe of the second half of them."""
    m = model()
    made = (OPTIMIZERS | OTHER_OPTIMIZERS)[name](m)
    several = made if isinstance(made, list) else [made]
    steps(m, several, BATCHES[:HALF])
    settings = {"loss": loss, "data": (X, Y), "units": OWNERS, "start_from": "optimizer"}
    probes = {"probe": scalar_probe}
    r = uk.Recipe(name="half", model=m, optimizer=made, batches=BATCHES[HALF:], probes=probes, **settings)
    steps(m, several, BATCHES[HALF:])
    return m, r


@pytest.mark.parametrize("name", OPTIMIZERS | OTHER_OPTIMIZERS)
def test_a_run_in_two_halves_is_the_whole_run(name):
    whole, second = halves(name)
    assert max(uk.compare(second, whole, device="cpu").values()) < 1e-12
    direction = torch.ones(1, len(second.unit_names), dtype=torch.complex128)
    traced = train_beside_plain(Trainer(make_run(second, "float64", "cpu"), 1), direction)
    expected = dict(whole.named_parameters())
    assert max(float((jet.constant - expected[n]).detach().abs().max()) for n, jet in traced.items()) < 1e-10


def test_first_orders_of_the_second_half_are_those_of_retrainings(tmp_path):
    second = halves("adamw")[1]
    swept = uk.sketch(second, tmp_path / "bundle", dtype="float64", device="cpu").probe("probe")
    models = (uk.retrain(second, ["c"], weight=weight, device="cpu") for weight in (0, 1e-4, 2e-4))
    base, once, twice = (scalar_probe(model).item() for model in models)
    assert np.isclose(float(swept.predict(["c"]).change), (4 * once - twice - 3 * base) / 2e-4, rtol=1e-5)


def test_the_state_at_the_start_is_part_of_the_recipe():
    second = halves("adamw")[1]
    m, optimizer = copy.deepcopy((second.model, second.optimizer))
    assert second.replace(model=m, optimizer=optimizer).digest == second.digest
    next(iter(optimizer.state.values()))["exp_avg"].mul_(1.5)
    assert second.replace(model=m, optimizer=optimizer).digest != second.digest


def test_what_cannot_be_continued_is_refused():
    second = halves("adamw")[1]
    with pytest.raises(RecipeError, match="stepped already") as caught:
        second.replace(start_from="beginning")
    assert 'start_from="optimizer"' in caught.value.hint
    m, optimizer = copy.deepcopy((second.model, second.optimizer))
    next(iter(optimizer.state.values()))["step"] += 1
    with pytest.raises(RecipeError, match="parameters of one group have done 3 to 4 steps"):
        second.replace(model=m, optimizer=optimizer)
