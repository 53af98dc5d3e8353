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
from unlearnkit.training.rows import Rows, tables_of
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

    def at(self, step: int, names: Sequence[str], rows: Rows) -> Tensor | None:
        """Which coordinates of these parameters, flat, are held at a step; None when none is. rows: of tables."""
        held = [rows.picked(name, self.until[name]).reshape(-1) > step for name in names if name in self.until]
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
    loop, other, steps, tables = PlainLoop(run, _nobody(run)), _OtherPrecision(run), run.recipe.steps, tables_of(run)
    until = {name: torch.full(loop.weights[name].shape, steps, device=run.device) for name in names}
    noisy = {name: torch.zeros_like(u, dtype=torch.bool) for name, u in until.items()}
    for step in range(steps):
        # Of a table some rows may always be left.
        if not any(name in tables.names or bool((until[name] == steps).any()) for name in names):
            break
        rows, batches = tables.step(step)
        loop.backward(step, batches)
        gradients, at_first = loop.gradients(rows), {name: rows.picked(name, u) for name, u in until.items()}
        rounding = _rounding(gradients, at_first, step, rows, loop, other)
        for name in names:
            noise, before = rounding[name], at_first[name]
            real = (before == steps) & ~noise & (gradients[name] != 0)
            rows.put_back(name, noisy[name], rows.picked(name, noisy[name]) | noise)
            rows.put_back(name, until[name], torch.where(real, step, before))
        loop.update(step)
    return Held({name: _where(noisy[name], until[name]) for name in names})


def _where(noisy: Tensor, until: Tensor) -> Tensor:
    """``until`` where something is noise; without memory where nothing is."""
    return torch.where(noisy, until, 0) if bool(noisy.any()) else until.new_zeros(()).expand(until.shape)


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
    def gradients(self, step: int, weights: Mapping[str, Tensor], rows: Rows) -> dict[str, Tensor]:
        """The gradient of a step at these weights, of tables in these rows."""
        rows.write(self.loop.weights, {name: rows.picked(name, weight) for name, weight in weights.items()})
        self.loop.backward(step)
        return self.loop.gradients(rows)


def _rounding(
    gradients: Mapping[str, Tensor],
    until: Mapping[str, Tensor],
    step: int,
    rows: Rows,
    loop: PlainLoop,
    other: _OtherPrecision,
) -> dict[str, Tensor]:
    """Where a gradient is nothing but rounding errors."""
    dtype, steps = loop.run.dtype, loop.run.recipe.steps
    largest = max(float(g.abs().max()) for g in gradients.values() if g.numel())
    small = {n: (gradients[n].abs() <= torch.finfo(dtype).eps ** 0.5 * largest) & (until[n] == steps) for n in until}
    nowhere = {name: torch.zeros_like(mask) for name, mask in small.items()}
    if not any(bool((small[name] & (gradients[name] != 0)).any()) for name in small):
        return nowhere
    others = other.gradients(step, loop.weights, rows)
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
