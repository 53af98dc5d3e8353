"""Series of real trainings that do not converge: where too much is deleted, and where training is unstable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from unlearnkit.examples import digits

import unlearnkit as uk
from unlearnkit.errors import EstimationError

PEOPLE = 61


def retrained(recipe: uk.Recipe, probe: str, masks: np.ndarray) -> np.ndarray:
    """The probe's change in real retrainings, ``[sets]``."""

    def value(mask) -> float:
        names = [recipe.unit_names[i] for i in np.flatnonzero(mask)]
        with torch.no_grad():
            return float(recipe.probes[probe](uk.retrain(recipe, delete=names).eval()))

    base = value(np.zeros(len(recipe.unit_names)))
    return np.array([value(mask) - base for mask in masks])


def unstable() -> uk.Recipe:
    """Full batches and a learning rate at the edge: what is left of 120 steps oscillates."""
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(4 * PEOPLE, 6, generator=generator), torch.randn(6, generator=generator)
    y = torch.tanh(x @ w) + 0.3 * torch.randn(4 * PEOPLE, generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
    tested = torch.randn(100, 6, generator=generator)
    wanted = torch.tanh(tested @ w)
    return uk.Recipe(
        name="unstable",
        model=model,
        loss=lambda model, batch: (model(batch[0]).squeeze(1) - batch[1]) ** 2,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.6),
        data=(x, y),
        units=[f"person-{i // 4:02d}" for i in range(4 * PEOPLE)],
        epochs=30,
        batch_size=61,
        probes={"test_loss": lambda model: ((model(tested).squeeze(1) - wanted) ** 2).mean()},
    )


def test_over_the_people_of_an_unstable_run_the_default_is_no_worse_than_degree_one(tmp_path):
    """Degree two is, for a third of them; the default falls back where both ratios of the series exceed one."""
    recipe = unstable()
    settings = {"test_loss": uk.Reverse(rank=6, residual=8)}
    sketch = uk.sketch(recipe, tmp_path / "bundle", reverse=settings, seed=0, progress=False).probe("test_loss")
    alone = np.eye(PEOPLE)
    truth, prediction = retrained(recipe, "test_loss", alone), sketch.predict(alone)

    def rms(changes, where=...) -> float:
        return float(np.sqrt(np.mean((changes - truth)[where] ** 2)))

    first, second = (sketch.predict(alone, degree=degree).change for degree in (1, 2))
    assert (np.abs(second - truth) > np.abs(first - truth)).sum() > 10
    assert rms(prediction.change) <= rms(first)
    assert rms(prediction.change) < rms(second)
    assert set(np.unique(prediction.convergence.verdict)) <= {"doubtful", "diverging"}
    diverging = prediction.convergence.verdict == "diverging"
    assert rms(prediction.change, diverging) > rms(prediction.change, ~diverging)
    np.testing.assert_array_equal(prediction.terms[1].used, ~diverging)


def test_deleting_most_of_the_people_is_not_said_to_converge(tmp_path):
    """10 to 90 % of the digits example; the more, the larger both ratios and the error, whatever the standard error."""
    recipe = digits.recipe()
    settings = {"test_loss": uk.Reverse(rank=4, residual=8)}
    sketch = uk.sketch(recipe, tmp_path / "bundle", reverse=settings, seed=0, progress=False).probe("test_loss")
    masks = np.zeros((5, 200))
    masks[0, 0] = 1
    for row, share in zip(masks[1:], (0.1, 0.3, 0.6, 0.9), strict=True):
        row[np.random.default_rng(0).choice(200, int(200 * share), replace=False)] = 1
    truth, prediction = retrained(recipe, "test_loss", masks), sketch.predict(masks)
    verdicts = prediction.convergence.verdict.tolist()
    assert verdicts[0] == "converging"
    assert set(verdicts[2:]) <= {"doubtful", "diverging"}
    assert (np.diff(prediction.convergence.norms) > 0).all()
    errors = np.abs(prediction.change - truth)
    assert errors[-1] > 0.5
    assert errors[-1] > 10 * prediction.standard_error[-1]
    assert "doubtful or diverging the change may be far" in prediction.explanation
    with pytest.raises(EstimationError, match=r"need not converge|no bound covers the truncation"):
        sketch.bound(masks[-1:], 0.05, degree=1, decay=0.9)
