"""Is it the same run? A run over jets beside plain torch.

Rounding is amplified by training, so two honest runs drift apart without end. Beside a run over jets a plain loop
therefore does every step from that run's weights, and the two are compared step by step: first the gradient, then,
given the same gradient, what the optimizer makes of it. They are *the same* when they agree to half the digits of the
coarsest numbers involved, relative to the largest gradient of the parameter so far (at least a 64th of that of all of
them together, since some gradients are zero but for rounding). Where they do not, float64 decides whether that is
rounding, which a kink or a cancellation can blow up without bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unlearnkit.errors import RecipeError
from unlearnkit.taylor.raised import COARSE
from unlearnkit.training.anchor import Anchor
from unlearnkit.training.kept import changes, kept
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.probes import probe_function
from unlearnkit.training.recipe import Array
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.rows import WHOLE, Rows
from unlearnkit.training.run import Run
from unlearnkit.training.state import GroupState, Leaf, constant_of, merged, trained
from unlearnkit.training.trainer import Trainer, diverged

LEAST = 1 / 64
"""The least scale of a parameter's gradient, as a share of the scale of all gradients."""

PLAIN = "the plain run itself"
_HINT = "find what differs from step to step besides weights, batch and torch's random numbers, and take it out"


def train_beside_plain(
    trainer: Trainer,
    directions: Tensor | None,
    progress: Callable[[int], None] = lambda _: None,
    steps: int | None = None,
) -> dict[str, Leaf]:
    """``trainer.train``, and see at every step that the plain run does the same. steps: how many; None: all.

    Raises NonFiniteError, with the step, when the plain run itself is not finite; RecipeError, with the first step and
    parameter, when the two differ by more than rounding.
    """
    states = trainer.start(directions)
    beside = _Beside(trainer)
    for step in range(trainer.run.recipe.steps if steps is None else steps):
        rows, batches = trainer.tables.step(step)
        narrow = rows.narrow(states)
        beside.before(step, merged(narrow), rows)
        trainer.advance(step, narrow, directions, batches, beside)
        states = rows.widen(states, narrow)
        progress(step)
    return trained(states)


class _Beside:
    """The plain loop beside a run over jets."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.anchor = Anchor.of(trainer.run)
        self.loop = self.anchor.loop
        self._rows = WHOLE
        self._scales: dict[str, float] = {}
        self._kept = kept(self.loop.run)

    @torch.no_grad()
    def before(self, step: int, weights: Mapping[str, Leaf], rows: Rows) -> None:
        """The plain gradient at the weights before a step, of tables in these rows."""
        self._rows = rows
        rows.write(self.loop.weights, {name: constant_of(leaf) for name, leaf in weights.items()})
        self.loop.backward(step)
        for name, size in _sizes(self.loop.gradients(rows)).items():
            if not math.isfinite(size):
                raise diverged(step, "gradient", name, PLAIN)
            self._scales[name] = max(size, self._scales.get(name, 0.0))

    @torch.no_grad()
    def gradient(self, step: int, states: list[GroupState], _: object) -> None:
        """Compare the step's gradient, and go on from the same one."""
        traced = self._verify_gradient(step, states)
        if is_lowered(self.trainer.run):
            self.anchor.take_gradient(states)
            return
        for name, parameter in self.loop.weights.items():
            if parameter.grad is not None:
                parameter.grad = self._rows.spread(name, traced[name], parameter.grad)

    @torch.no_grad()
    def update(self, step: int, states: list[GroupState]) -> None:
        """Compare the step's update, and go on from the same weights."""
        self._verify_update(step, states)
        if is_lowered(self.trainer.run):
            self.anchor.take_update(states)

    def _verify_gradient(self, step: int, states: list[GroupState]) -> dict[str, Tensor]:
        traced = {n: constant_of(leaf) for state in states for n, leaf in state.views(state.gradient).items()}
        plain = self.loop.gradients(self._rows)
        differences = _sizes({name: traced[name] - gradient for name, gradient in plain.items()})
        name = self._unlike(differences, self.trainer.gradient.resolution)
        if name and self.trainer.run.dtype is not torch.float64:
            name = self._unlike(self._exact_differences(step), self._exact.gradient.resolution)
        if name:
            raise self._other_run(step, "gradient", name, differences[name] / self._scale(name))
        return traced

    def _unlike(self, differences: Mapping[str, float], resolution: float) -> str:
        """The first parameter whose gradients differ by more than half the digits; empty when there is none."""
        allowed = math.sqrt(resolution)
        return next((n for n, difference in differences.items() if not difference <= allowed * self._scale(n)), "")

    def _scale(self, name: str) -> float:
        return max(self._scales[name], LEAST * max(self._scales.values()))

    @cached_property
    def _exact(self) -> Trainer:
        """The run in float64, with a model that has been called by nobody."""
        return Trainer(replace(self.trainer.run, dtype=torch.float64), 1)

    def _exact_differences(self, step: int) -> dict[str, float]:
        """How far the gradients at the same weights differ in float64."""
        run = self._exact.run
        loop = PlainLoop(run, np.zeros(len(run.recipe.unit_names)), source=self.loop.model)
        loop.backward(step)
        weights = {name: parameter.detach() for name, parameter in loop.weights.items()}
        traced = {name: constant_of(leaf) for name, leaf in self._exact.gradients(step, weights, None).items()}
        return _sizes({name: traced[name] - plain for name, plain in loop.gradients().items()})

    def _verify_update(self, step: int, states: list[GroupState]) -> None:
        before = {name: weight.clone() for name, weight in self._weights().items()}
        self.loop.update(step)
        traced, after = merged(states), self._weights()
        sizes = _sizes(before)
        moved = _sizes({name: weight - before[name] for name, weight in after.items()})
        differences = _sizes({name: constant_of(traced[name]) - weight for name, weight in after.items()})
        eps = {name: torch.finfo(parameter.dtype).eps for name, parameter in self.loop.weights.items()}
        pairs = zip(states, self.trainer.updates, strict=True)
        coarsest = {n: max(eps[n], update.resolution) for state, update in pairs for n in state.group.parameters}
        for name, difference in differences.items():
            if not math.isfinite(moved[name]):
                raise diverged(step, "update", name, PLAIN)
            if not difference <= math.sqrt(coarsest[name]) * moved[name] + 4 * eps[name] * sizes[name]:
                share = difference / moved[name] if moved[name] else math.inf
                raise self._other_run(step, "update", name, share, self.loop.weights[name].dtype)

    def _weights(self) -> dict[str, Tensor]:
        """Those of the plain run, of tables in the rows of the step."""
        return {name: self._rows.picked(name, parameter.detach()) for name, parameter in self.loop.weights.items()}

    def _other_run(self, step: int, what: str, name: str, off: float, dtype: torch.dtype | None = None) -> RecipeError:
        return other_run(step, what, name, off, changes(self._kept, self.loop.run), dtype)


def other_run(
    step: int, what: str, name: str, off: float, changed: Sequence[str], dtype: torch.dtype | None = None
) -> RecipeError:
    """The error for a run that is not the plain one.

    off: by how much of its size. changed: what the model keeps. dtype: of the parameter, whose update it is.
    """
    message = (
        f"training step {step}: the {what} of {name!r} is off by {off:.1e} of its size from that of plain torch: "
        "what is sketched would be another run"
    )
    if changed:
        message += f"; the model changes {', '.join(changed)} while it trains"
    if dtype in COARSE:
        message += f"; the optimizer keeps its state in {dtype}, in which it is lost"
        return RecipeError(
            message, hint="use bfloat16, or keep weights in float32 and lower the loss by torch.autocast"
        )
    return RecipeError(message, hint=_HINT)


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest absolute value of each tensor, waiting for the device once."""
    flat = [torch.cat([tensor.detach().reshape(-1), tensor.new_zeros(1)]) for tensor in tensors.values()]
    return dict(zip(tensors, torch.stack([x.abs().max() for x in flat]).double().tolist(), strict=True))


def verify_probe(run: Run, name: str, weights: Mapping[str, Leaf], base: Array) -> None:
    """RecipeError when plain torch gives another value of a pinned probe at trained weights than ``base``."""
    constants = {n: constant_of(leaf) for n, leaf in weights.items()}
    plain = plain_probe(run, name, weights)
    if agree(base, plain, probe_function(run, name, run.recipe.probes[name]).resolution):
        return
    if run.dtype is not torch.float64:
        exact = replace(run, dtype=torch.float64)
        function = probe_function(exact, name, run.recipe.probes[name])
        constants = {n: t.to(exact.dtype) for n, t in constants.items()}
        plain = plain_probe(exact, name, constants)
        with torch.no_grad(), exact.random_numbers(run.recipe.steps):
            base = constant_of(function(constants, exact.fixed)).cpu().numpy()
        if agree(base, plain, function.resolution):
            return
    message = f"probe {name!r}: plain torch gives another value than what is sketched: {plain} and {base}"
    raise RecipeError(message, hint="let it depend on nothing but the model's state and torch's random numbers")


def plain_probe(run: Run, name: str, weights: Mapping[str, Leaf]) -> Array:
    """A pinned probe at trained weights, in plain torch."""
    constants = {n: constant_of(leaf) for n, leaf in weights.items()}
    with run.random_numbers(run.recipe.steps):
        found = run.plain_probe(run.recipe.probes[name], constants, run.fixed)
    value: Array = found.detach().to(run.dtype).cpu().numpy()
    return value


def agree(found: Array, expected: Array, resolution: float) -> bool:
    """Whether values agree to half the digits of the largest; what is that small may be zero but for rounding.

    resolution: the machine epsilon that says how many digits there are.
    """
    allowed = math.sqrt(resolution)
    scale = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max(initial=allowed)
    return bool(np.isclose(found, expected, rtol=0, atol=allowed * scale, equal_nan=True).all())
