"""The states of a training run in reverse order: checkpoints on the way forward, recomputed stretches back."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.spilled import SpilledStates
from unlearnkit.sketching.stretches import Stretches
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.models import plain_torch
from unlearnkit.training.randomness import restored
from unlearnkit.training.retrain import Mark
from unlearnkit.training.rows import WHOLE, Rows, tables_of
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
    """A step, with the states before it, the gradient that it used, and its batches; in the rows that it touches."""

    step: int
    states: list[GroupState]
    batches: Sequence[Batch]
    rows: Rows


class Trajectory:
    """One run, forward once and back as often as asked.

    memory: for it and for the sweeps that go back through it. progress: called after each step forward; not where one
    is computed again. span: which steps of the run; None: all.
    """

    def __init__(
        self,
        run: Run,
        steps: Steps,
        memory: Memory,
        progress: Callable[[], None] = lambda: None,
        span: range | None = None,
    ) -> None:
        self.run = run
        self.steps = steps
        self._progress = progress
        self._start = steps.start()
        self._span = range(run.recipe.steps) if span is None else span
        self._memory = memory
        self.tables = tables_of(run)
        self._size, self._grows = state_bytes(run, self._start), rows_bytes(run, self._start)
        self._tabled = sum(map(_bytes, self._start)) if self.tables else 0  # once more, to go back in
        self.stretches = self._fitting(memory.bytes // 2)  # until a sweep says what it holds
        self._checkpoints = self._empty()
        self._marks: list[Mark | None] = []
        self._mark = steps.mark()
        self._last: list[Moment] = []

    def _fitting(self, held: int) -> Stretches:
        room, may_spill = self._memory.bytes - held, self._memory.folder is not None
        if len(self._span) * self._size > room:
            room -= self._tabled
        return Stretches.fitting(len(self._span), self._size, room, may_spill=may_spill, grows=self._grows)

    def _empty(self) -> list[list[GroupState]] | SpilledStates:
        folder = self._memory.folder
        return SpilledStates(folder, self._start) if folder is not None and self.stretches.on_disk else []

    def make_room(self, held: Callable[[], int]) -> None:
        """Keep no more in memory than fits beside a sweep, which holds so many bytes; found only where it matters."""
        if len(self._span) == 1:
            return
        if self._memory.exact:
            gc.collect()  # models of rehearsals refer to themselves, and would stay in memory
        most = held() - 2 * self._size if self._memory.exact else self._memory.bytes // 2  # two states were in it
        fitting = self._fitting(most)
        trained = "final" in self.__dict__
        if not trained or fitting.memory < self.stretches.memory:
            if trained:
                self.release()
            self.stretches = fitting
            self._checkpoints = self._empty()

    @cached_property
    def final(self) -> list[GroupState]:
        """The states after the last step, for which training is done when this is first asked for."""
        states = self._own(self._start)
        self.steps.back_to(self._mark)
        with restored(self.run.device):
            for stretch in self.stretches.ranges:
                self._checkpoints.append(self._rows_of(stretch).narrow(states))
                self._marks.append(self.steps.mark())
                self._last = []  # not in memory beside the next ones
                self._last, states = self._stretched(stretch, states, self._progress)
        return states

    def release(self) -> None:
        """Let go of everything but the start: what is asked for later is computed again, and no progress."""
        self._checkpoints.clear()
        self._marks.clear()
        self._last = []
        self.__dict__.pop("final", None)
        self._progress = lambda: None

    def _stretched(
        self, stretch: range, states: list[GroupState], progress: Callable[[], None] = lambda: None
    ) -> tuple[list[Moment], list[GroupState]]:
        """The moments of a stretch of the span, from the states before it, and those after it."""
        recorded = []
        with plain_torch():
            for step in self._span[stretch.start : stretch.stop]:
                batches = list(self.run.batches(step))
                rows = self.tables.at(step, batches)
                narrow, batches = rows.narrow(states), rows.given(batches)
                after = self.steps.advance(step, narrow, batches)
                recorded.append(Moment(step, [*narrow], batches, rows))
                states = rows.widen(states, after)
                progress()
        return recorded, states

    def backwards(self) -> Iterator[Moment]:
        """Each step from the last to the first. The random states are anything within."""
        _ = self.final
        if len(self._checkpoints) == 1:
            yield from reversed(self._last)
            return
        states = self._own(self.final) if self.tables else []
        for number, stretch in reversed([*enumerate(self.stretches.ranges)]):
            moments, self._last = self._last, []
            if not moments:
                self.steps.back_to(self._marks[number])
                moments = self._again(number, stretch, states)
            while moments:
                moment = moments.pop()
                yield moment
                moment.states.clear()  # who asked has it still while the stretch before is computed again
            if self.tables:
                self._undo(number, stretch, states)

    def _again(self, number: int, stretch: range, states: list[GroupState]) -> list[Moment]:
        """The moments of a stretch. states: after it; without tables none are needed."""
        if not self.tables:
            return self._stretched(stretch, self._checkpoints[number])[0]
        self._undo(number, stretch, states)
        moments, states[:] = self._stretched(stretch, states)
        return moments

    def _undo(self, number: int, stretch: range, states: list[GroupState]) -> None:
        """From the states after a stretch to those before it."""
        states[:] = self._rows_of(stretch).widen(states, self._checkpoints[number])

    def _rows_of(self, stretch: range) -> Rows:
        """The rows that a stretch touches; none where it is the only one, which nothing undoes."""
        if not self.tables or self.stretches.checkpoints == 1:
            return WHOLE
        return self.tables.over(self._span[stretch.start : stretch.stop])

    def _own(self, states: list[GroupState]) -> list[GroupState]:
        """States whose tables are written into, row by row."""
        return [state.copy() for state in states] if self.tables else states


def state_bytes(run: Run, states: list[GroupState]) -> int:
    """Of a moment: weights, gradient and optimizer's state, and the batches."""
    batches = list(run.batches(0))
    return sum(map(_bytes, tables_of(run).at(0, batches).narrow(states))) + _bytes_of_batches(batches)


def rows_bytes(run: Run, states: list[GroupState]) -> int:
    """How much of a moment is rows of tables."""
    if not (tables := tables_of(run)):
        return 0
    rows = tables.at(0)
    none = Rows({name: numbers[:0] for name, numbers in rows.of.items()})
    return sum(map(_bytes, rows.narrow(states))) - sum(map(_bytes, none.narrow(states)))


def _bytes(state: GroupState) -> int:
    leaves = [state.weights, state.gradient, *state.moments]
    tensors = [t for leaf in leaves for t in ((leaf.constant, leaf.tail) if isinstance(leaf, Jet) else (leaf,))]
    return _bytes_of(tensors)


def _bytes_of_batches(batches: Sequence[Batch]) -> int:
    leaves = [leaf for batch in batches for leaf in pytree.tree_leaves((batch.examples, batch.units))]
    return _bytes_of([leaf for leaf in leaves if isinstance(leaf, Tensor)])


def _bytes_of(tensors: Sequence[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
