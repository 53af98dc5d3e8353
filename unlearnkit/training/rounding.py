"""Coordinates whose gradient is rounding alone: key biases, and whatever else the loss does not see.

Adam divides a gradient by its own size, so that such a coordinate moves as far as any other, and its series would be
that of rounding errors. What is rounding shows in another precision: the number that comes out there has nothing in
common with it. Until a coordinate gets its first real gradient it is *held fixed*: it moves as torch moves it, and has
no series (docs/theory.md section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unlearnkit.taylor.check import Kind, Problem
from unlearnkit.training.recipe import Array
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.run import Run

# How far above its typical size the rounding of a gradient may be.
_MARGIN = 64
# Of the largest gradient: precisions that agree worse compute different things, such as other random numbers.
_COMPARABLE = 1e-3
_HINT = "nothing to do: the loss does not see them. Freeze them, and the run does without their noise"


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """For each parameter that an optimizer divides by its own size, the step of the first real gradient.

    until: ``{name: [*S]}`` whole numbers; 0 where nothing is held.
    """

    until: Mapping[str, Tensor]

    def at(self, step: int, names: Sequence[str]) -> Tensor | None:
        """Which coordinates of these parameters, flat, are held at a step; None when none is."""
        held = [self.until[name].reshape(-1) > step for name in names if name in self.until]
        if not any(bool(mask.any()) for mask in held):
            return None
        return torch.cat(held)

    def problems(self) -> tuple[Problem, ...]:
        """What the manifest lists: how many coordinates of which parameters."""
        return tuple(_problem(name, steps) for name, steps in self.until.items() if bool(steps.any()))


def _problem(name: str, steps: Tensor) -> Problem:
    held = steps[steps > 0]
    where = f"the gradient of {name!r} is rounding alone there, for {int(held.min())} to {int(held.max())} steps"
    return Problem(f"{held.numel()} of {steps.numel()} coordinates held fixed", name, where, Kind.ROUNDING, _HINT)


def held_fixed(run: Run) -> Held:
    """What is held fixed in a run, found once by a plain run beside its gradients in the other precision."""
    return run.remembered("held fixed", lambda: _search(run))


def _search(run: Run) -> Held:
    names = [n for group in run.recipe.groups if group.rule.size is not None for n in group.parameters]
    loop, other, steps = PlainLoop(run, _nobody(run)), _OtherPrecision(run), run.recipe.steps
    until = {name: torch.full(loop.weights[name].shape, steps, device=run.device) for name in names}
    noisy = {name: torch.zeros_like(u, dtype=torch.bool) for name, u in until.items()}
    for step in range(steps):
        if not any(bool((u == steps).any()) for u in until.values()):
            break
        loop.backward(step)
        gradients = loop.gradients()
        rounding = _rounding(gradients, until, step, loop, other)
        for name in names:
            noisy[name] |= rounding[name]
            until[name][(until[name] == steps) & ~rounding[name] & (gradients[name] != 0)] = step
        loop.update(step)
    return Held({name: torch.where(noisy[name], until[name], 0) for name in names})


def _nobody(run: Run) -> Array:
    return np.zeros(len(run.recipe.unit_names))


class _OtherPrecision:
    """Gradients of a run in the precision that it does not have."""

    def __init__(self, run: Run) -> None:
        self.loop = PlainLoop(
            replace(run, dtype=torch.float32 if run.dtype is torch.float64 else torch.float64),
            _nobody(run),
        )

    @torch.no_grad()
    def gradients(self, step: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradient of a step at these weights."""
        for name, parameter in self.loop.weights.items():
            parameter.copy_(weights[name])
        self.loop.backward(step)
        return self.loop.gradients()


def _rounding(
    gradients: Mapping[str, Tensor], until: Mapping[str, Tensor], step: int, loop: PlainLoop, other: _OtherPrecision
) -> dict[str, Tensor]:
    """Where a gradient is nothing but rounding errors."""
    dtype, steps = loop.run.dtype, loop.run.recipe.steps
    largest = max(float(g.abs().max()) for g in gradients.values() if g.numel())
    small = {n: (gradients[n].abs() <= torch.finfo(dtype).eps ** 0.5 * largest) & (until[n] == steps) for n in until}
    nowhere = {name: torch.zeros_like(mask) for name, mask in small.items()}
    if not any(bool((small[name] & (gradients[name] != 0)).any()) for name in small):
        return nowhere
    others = other.gradients(step, loop.weights)
    apart = {name: (gradients[name].double() - others[name].double()).abs() for name in gradients}
    if not max(float(a.max()) for a in apart.values() if a.numel()) <= _COMPARABLE * largest:
        return nowhere
    return {name: small[name] & _is_noise(gradients[name], others[name], apart[name]) for name in small}


def _is_noise(own: Tensor, other: Tensor, apart: Tensor) -> Tensor:
    """Whether the fine gradient is lost in the rounding of the coarse one, as far as the own precision goes."""
    fine = own if own.dtype is torch.float64 else other
    coarse_eps, fine_eps = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps
    noise = (fine.abs() <= _MARGIN * fine_eps / coarse_eps * apart.max()) & ((own != 0) | (other != 0))
    return noise if own.dtype is torch.float64 else noise | ((own != 0) & (apart >= fine.abs()))
