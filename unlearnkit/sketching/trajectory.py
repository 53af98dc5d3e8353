"""The states of a training run in reverse order: checkpoints on the way forward, recomputed stretches back.

With ``T`` steps and a stretch of ``L``, memory holds ``T / L`` checkpoints and ``L`` states. ``L = T`` where that fits
the budget, so that nothing is computed twice; else about ``sqrt(T)``, which is the least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unlearnkit.taylor.jet import Jet
from unlearnkit.training.randomness import restored
from unlearnkit.training.retrain import Mark
from unlearnkit.training.run import Batch, Run
from unlearnkit.training.state import GroupState
from unlearnkit.training.trainer import Trainer


class Steps(Protocol):
    """A way to train."""

    def start(self) -> list[GroupState]:
        """The state before the first step."""

    def advance(self, step: int, states: list[GroupState], batches: Sequence[Batch]) -> list[GroupState]:
        """The states after a step; those before it stay, and get the gradient that the step used."""

    def mark(self) -> Mark | None:
        """What beside the states tells where a step is to begin again."""

    def back_to(self, mark: Mark | None) -> None:
        """Begin again there."""


class StepsAlong:
    """Training over jets, along directions."""

    def __init__(self, trainer: Trainer, directions: Tensor) -> None:
        self.trainer = trainer
        self.directions = directions
        self.anchor = trainer.anchor()

    def start(self) -> list[GroupState]:
        """As `Steps.start`."""
        return self.trainer.start(self.directions)

    def advance(self, step: int, states: list[GroupState], batches: Sequence[Batch]) -> list[GroupState]:
        """As `Steps.advance`."""
        after = [state.copy() for state in states]
        self.trainer.advance(step, after, self.directions, batches, self.anchor)
        for before, state in zip(states, after, strict=True):
            before.gradient = state.gradient
        return after

    def mark(self) -> Mark | None:
        """As `Steps.mark`."""
        return None if self.anchor is None else self.anchor.loop.mark()

    def back_to(self, mark: Mark | None) -> None:
        """As `Steps.back_to`."""
        if self.anchor is not None and mark is not None:
            self.anchor.loop.back_to(mark)


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A step, with the states before it, the gradient that it used, and its batches."""

    step: int
    states: list[GroupState]
    batches: Sequence[Batch]


class Trajectory:
    """One run, forward once and back as often as asked.

    memory_budget: bytes. progress: called after each step forward; not where one is computed again.
    """

    def __init__(self, run: Run, steps: Steps, memory_budget: int, progress: Callable[[], None] = lambda: None) -> None:
        self.run = run
        self.steps = steps
        self._progress = progress
        self._start = steps.start()
        count = run.recipe.steps
        whole = count * (sum(map(_bytes, self._start)) + _bytes_of_batches(list(run.batches(0)))) <= memory_budget
        self._stretch = count if whole else math.isqrt(count - 1) + 1
        self._checkpoints: list[tuple[list[GroupState], Mark | None]] = []
        self._last: list[Moment] = []

    @cached_property
    def final(self) -> list[GroupState]:
        """The states after the last step, for which training is done when this is first asked for."""
        count, states = self.run.recipe.steps, self._start
        with restored(self.run.device):
            for first in range(0, count, self._stretch):
                self._checkpoints.append((states, self.steps.mark()))
                self._last = []  # not in memory beside the next ones
                self._last, states = self._stretched(first, states, self._progress)
        return states

    def _stretched(
        self, first: int, states: list[GroupState], progress: Callable[[], None] = lambda: None
    ) -> tuple[list[Moment], list[GroupState]]:
        """The moments of the stretch that begins with a step, and the states after it."""
        recorded, count = [], self.run.recipe.steps
        for step in range(first, min(first + self._stretch, count)):
            batches = list(self.run.batches(step))
            after = self.steps.advance(step, states, batches)
            recorded.append(Moment(step, states, batches))
            states = after
            progress()
        return recorded, states

    def backwards(self) -> Iterator[Moment]:
        """Each step from the last to the first. The random states are anything within."""
        _ = self.final
        if len(self._checkpoints) == 1:
            yield from reversed(self._last)
            return
        for number in reversed(range(len(self._checkpoints))):
            moments, self._last = self._last, []
            if not moments:
                states, mark = self._checkpoints[number]
                self.steps.back_to(mark)
                moments, _ = self._stretched(number * self._stretch, states)
            while moments:
                yield moments.pop()


def _bytes(state: GroupState) -> int:
    leaves = [state.weights, state.gradient, *state.moments]
    tensors = [t for leaf in leaves for t in ((leaf.constant, leaf.tail) if isinstance(leaf, Jet) else (leaf,))]
    return _bytes_of(tensors)


def _bytes_of_batches(batches: Sequence[Batch]) -> int:
    leaves = [leaf for batch in batches for leaf in pytree.tree_leaves((batch.examples, batch.units))]
    return _bytes_of([leaf for leaf in leaves if isinstance(leaf, Tensor)])


def _bytes_of(tensors: Sequence[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
