"""What an average of the weights is made of, and what cannot be one."""

from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import get_ema_avg_fn

import unlearnkit as uk
from tests.training.small import recipe
from unlearnkit.errors import RecipeError


@pytest.mark.parametrize("average", [uk.Average(start=1, every=2), uk.Average(avg_fn=get_ema_avg_fn(0.6), start=2)])
def test_shares_make_the_average_step_by_step(average):
    values, expected, found, number = torch.randn(7, generator=torch.Generator().manual_seed(0)).tolist(), 9.0, 9.0, 0
    for step, (kept, new) in enumerate(average.shares(7)):
        found = kept * found + new * values[step]
        if average.falls_on(step):
            expected = average.function(expected, values[step], number) if number else values[step]
            number += 1
        assert found == pytest.approx(expected)
    assert number == {2: 3, 1: 5}[average.every]


def test_what_is_no_average_is_refused():
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
