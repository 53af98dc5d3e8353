"""Is it the same run? A trained model, and what was recorded on the way, beside the plain run of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError
from unlearnkit.training.models import uncompiled
from unlearnkit.training.recipe import Array, Recipe
from unlearnkit.training.recording import checksums
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.rounding import Held, held_fixed
from unlearnkit.training.run import make_run, own_precision

# Of the size of a step: one example that is another changes it by more, in batches of up to some thousands.
_STEP = 1e-2
# Of the size of a parameter, in units of the machine epsilon: what rounding does in one step.
_ROUNDING = 64


@dataclass(frozen=True, slots=True)
class Step:
    """The first recorded step that is another one than the recipe's, and the parameter in which it differs most."""

    number: int
    parameter: str

    def __str__(self) -> str:
        return f"step {self.number} is another one, most in {self.parameter!r}"


@dataclass(frozen=True, slots=True)
class Differences(Mapping[str, float]):
    """How far a trained model is from the plain run of a recipe.

    by_parameter: the norm of the difference relative to that of the plain run's parameter. Coordinates whose gradient
    is rounding alone during the whole run are left out. first_step: with recorded sums, the first step that differs
    (or that was looked at after it); None when none does.
    """

    by_parameter: Mapping[str, float]
    first_step: Step | None = None

    def __getitem__(self, name: str) -> float:
        return self.by_parameter[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_parameter)

    def __len__(self) -> int:
        return len(self.by_parameter)


def compare(
    recipe: Recipe, model: nn.Module, *, dtype: str | None = None, device: str | torch.device | None = None
) -> Differences:
    """Whether a trained model is what the recipe's plain run gives.

    Args:
        recipe: the training run.
        model: trained, with the parameters of the recipe's model.
        dtype: precision of the plain run, "float32" or "float64"; None: the recipe's own.
        device: None takes a GPU when there is one.

    Returns:
        For each trained parameter the norm of its difference from the plain run's, relative to that one's norm. By
        rounding alone it is about the resolution of the precision, and more the longer training is. ``first_step`` of
        a recorded run says where it parts from the recipe.

    Raises:
        RecipeError: the model has other parameters.

    Example:
        >>> max(uk.compare(recipe, uk.retrain(recipe)).values())
        0.0

    """
    run = make_run(recipe, dtype or own_precision(recipe), device)
    loop = PlainLoop(run, np.zeros(len(recipe.unit_names)))
    expected, found = ({n: p.detach() for n, p in m.named_parameters()} for m in (loop.model, uncompiled(model)))
    if [(n, p.shape) for n, p in sorted(expected.items())] != [(n, p.shape) for n, p in sorted(found.items())]:
        raise RecipeError("compare: the model's parameters are not those of the recipe's model, by name and shape")
    held = held_fixed(run)
    first = _train(loop, held)
    loop.finished()
    seen = {name: _seen(held, name, expected[name], recipe.steps) for name in run.trained_names}
    relative = {n: _relative(found[n].to(expected[n])[mask], expected[n][mask]) for n, mask in seen.items()}
    return Differences(relative, first)


def _seen(held: Held, name: str, parameter: Tensor, steps: int) -> Tensor:
    """The coordinates that some step moved by more than rounding."""
    return held.until[name] < steps if name in held.until else torch.ones_like(parameter, dtype=torch.bool)


def _relative(found: Tensor, expected: Tensor) -> float:
    difference, size = float((found - expected).norm()), float(expected.norm())
    return difference / size if size else math.inf if difference else 0.0


def _train(loop: PlainLoop, held: Held) -> Step | None:
    """Do the plain run; the first recorded step that does not do the same."""
    recording = loop.run.recipe.recording
    names = [name for name in loop.run.trained_names if name not in held.until or not bool(held.until[name].any())]
    before, recorded_before = checksums(loop.model), checksums(loop.model)
    first: Step | None = None
    for step in range(loop.run.recipe.steps):
        loop.backward(step)
        loop.update(step)
        recorded = None if recording is None else recording.steps[step].checksums
        if recorded is None or first is not None:
            continue
        after = checksums(loop.model)
        moved = {n: (after[n] - before[n], recorded[n] - recorded_before[n]) for n in names if n in recorded}
        first = _other_step(step, moved, loop.weights)
        before, recorded_before = after, dict(recorded)
    return first


def _other_step(number: int, moved: Mapping[str, tuple[Array, Array]], weights: Mapping[str, Tensor]) -> Step | None:
    """The step, if the sums of its weights moved otherwise than they should."""
    excess = {}
    for name, (own, recorded) in moved.items():
        eps = torch.finfo(weights[name].dtype).eps
        allowed = _STEP * np.linalg.norm(own) + _ROUNDING * eps * float(weights[name].detach().norm())
        excess[name] = float(np.linalg.norm(own - recorded)) / allowed if allowed else 0.0
    worst = max(excess, key=excess.__getitem__, default="")
    return Step(number, worst) if worst and excess[worst] > 1 else None
