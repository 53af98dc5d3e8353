"""What an average of the weights is made of, and what cannot be one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import get_ema_avg_fn, get_ema_multi_avg_fn, get_swa_avg_fn, get_swa_multi_avg_fn

import unlearnkit as uk
from tests.training.small import recipe
from unlearnkit.errors import RecipeError
from unlearnkit.training.beside import train_beside_plain
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer


@pytest.mark.parametrize("average", [uk.Average(start=1, every=2), uk.Average(avg_fn=get_ema_avg_fn(0.6), start=2)])
def test_shares_make_the_average_step_by_step(average):
    values, expected, found, number = torch.randn(7, generator=torch.Generator().manual_seed(0)).tolist(), 9.0, 9.0, 0
    for step, (kept, new) in enumerate(average.shares(7)):
        found = kept * found + new * values[step]
        if average.falls_on(step):
            expected = (average.avg_fn or get_swa_avg_fn())(expected, values[step], number) if number else values[step]
            number += 1
        assert found == pytest.approx(expected)
    assert number == {2: 3, 1: 5}[average.every]


@pytest.mark.parametrize(
    ("lists", "single"),
    [
        (uk.Average(multi_avg_fn=get_ema_multi_avg_fn(0.6)), uk.Average(avg_fn=get_ema_avg_fn(0.6))),
        (uk.Average(multi_avg_fn=get_swa_multi_avg_fn()), uk.Average()),
    ],
)
def test_functions_of_lists_make_the_same_averages(lists, single):
    assert np.allclose(lists.shares(5), single.shares(5), rtol=0, atol=1e-7)
    made = [uk.retrain(recipe("sgd", average=average), dtype="float64", device="cpu") for average in (lists, single)]
    weights = zip(*(model.parameters() for model in made), strict=True)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-7) for one, other in weights)
    sketched = train_beside_plain(Trainer(make_run(recipe("sgd", average=lists), "float64", "cpu"), 1), None)
    parameters = dict(made[0].named_parameters())
    assert all(torch.allclose(leaf, parameters[name], rtol=0, atol=1e-12) for name, leaf in sketched.items())


def test_what_is_no_average_is_refused():
    with pytest.raises(RecipeError, match="multi_avg_fn is not linear"):
        uk.Average(multi_avg_fn=lambda average, weights, _: average[0].mul_(weights[0]))
    with pytest.raises(RecipeError, match="avg_fn and multi_avg_fn are given"):
        uk.Average(avg_fn=get_ema_avg_fn(0.6), multi_avg_fn=get_ema_multi_avg_fn(0.6))
    with pytest.raises(RecipeError, match="start=-1, every=1"):
        uk.Average(start=-1)
    with pytest.raises(RecipeError, match="avg_fn is not linear"):
        uk.Average(avg_fn=lambda average, weights, _: (average * weights) ** 2)
    with pytest.raises(RecipeError, match="the run has 6 steps, so that nothing is averaged"):
        recipe(average=uk.Average(start=6))


def test_another_average_is_another_recipe_and_another_model():
    runs = [recipe("adamw", average=average) for average in (None, uk.Average(), uk.Average(start=3))]
    assert len({run.digest for run in runs}) == 3
    assert max(uk.compare(runs[1], uk.retrain(runs[0])).values()) > 1e-3
