"""The plain run step by step: torch's own gradient, the rule of the optimizer, and every state flat.

A reverse sweep without directions needs no more than this of the way forward. That it is the run which is traced shows
on the way back, where each step computes the gradient again (`unlearnkit.sketching.reverse`); that the rule is the
optimizer's is seen here, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.layout import flattened
from unlearnkit.training.anchor import Anchor
from unlearnkit.training.beside import LEAST, PLAIN, other_run
from unlearnkit.training.kept import changes, kept
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.retrain import Mark
from unlearnkit.training.rows import Rows
from unlearnkit.training.run import Batch
from unlearnkit.training.state import GroupState, Leaf, clone, constant_of, merged
from unlearnkit.training.trainer import (
    ACTIVE,
    UPDATE_ELEMENTS,
    Trainer,
    apply_update,
    diverged,
    other_involved,
    scalars,
)


class PlainSteps:
    """Steps forward. scales: of each parameter's gradient up to a step, by step, in the order of ``names``.

    settled: whether every step takes the branches that the first one's trace took, as far as a trace can tell.
    acquitted: whether what looks like another run was found to be this one.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.anchor = Anchor.of(trainer.run)
        self.loop = self.anchor.loop
        self.names = tuple(name for group in trainer.run.recipe.groups for name in group.parameters)
        self.scales: list[tuple[float, ...]] = []
        self.settled = True
        self.acquitted = False
        self._kept = kept(self.loop.run)
        self._known: set[object] = set()

    def start(self) -> list[GroupState]:
        """The state before the first step."""
        return self.trainer.start(None)

    @torch.no_grad()
    def advance(self, step: int, states: list[GroupState], batches: Sequence[Batch]) -> list[GroupState]:
        """The states after a step. ``states`` stay as they are, but for the gradient, which is the step's.

        The random states are left as the step leaves them. A step that was done before is not looked at again.
        """
        is_new = step == len(self.scales)
        weights, rows = merged(states), Rows(batches[0].rows)
        rows.write(self.loop.weights, {name: constant_of(leaf) for name, leaf in weights.items()})
        if is_new:
            self._prepare(weights, batches)
        self.loop.backward_seeded(step, batches, draws=self.trainer.gradient.draws)
        gradients = self.loop.gradients(rows)
        if is_new:
            self._verify_involved(step)
        for state in states:
            state.gradient = _flat(gradients, state)
        clipped = self.trainer.clipping.clipped(step, [state.gradient for state in states])
        updates = zip(self.trainer.updates, states, clipped, strict=True)
        after = [_updated(update, state, gradient, step) for update, state, gradient in updates]
        if is_new or is_lowered(self.trainer.run):
            self.loop.update(step)
        if is_new:
            self._verify(step, states, after, rows)
        if is_lowered(self.trainer.run):
            self.anchor.take_update(after)
        return after

    def mark(self) -> Mark | None:
        """Where plain torch is, if steps that are done again need it."""
        return self.loop.mark() if is_lowered(self.trainer.run) else None

    def back_to(self, mark: Mark | None) -> None:
        """Go on from a mark."""
        if mark is not None:
            self.loop.back_to(mark)

    def _prepare(self, weights: Mapping[str, object], batches: Iterable[Batch]) -> None:
        """Trace a batch of another form as it is traced over jets, for what the manifest must list."""
        for batch in batches:
            if (form := flattened((batch.examples, batch.units))[1]) in self._known:
                continue
            self._known.add(form)
            arguments = self.trainer.arguments(weights, batch, None)  # type: ignore[arg-type]
            trace = self.trainer.gradient.prepare(*arguments, active=ACTIVE).trace
            if trace.guards or trace.outside:
                self.settled = False

    def _verify_involved(self, step: int) -> None:
        """Where there is no gradient torch leaves a parameter and its moments as they are."""
        for name, is_idle in self._involved:
            if (self.loop.weights[name].grad is None) is not is_idle:
                raise other_involved(step, name)

    @cached_property
    def _involved(self) -> list[tuple[str, bool]]:
        """Parameters that an update moves without a gradient, and whether they have none."""
        groups = (g for g in self.trainer.run.recipe.groups if g.rule.states or g.rule.weight_decay)
        return [(name, name in self.trainer.idle) for group in groups for name in group.parameters]

    def _verify(self, step: int, states: list[GroupState], after: list[GroupState], rows: Rows) -> None:
        """See that a step is finite, and that the rule made of its gradient what the optimizer did."""
        gradients: list[Tensor] = []
        moves: list[Tensor] = []
        rests: list[Tensor] = []
        for state, new in zip(states, after, strict=True):
            told = _flat({n: rows.picked(n, self.loop.weights[n]) for n in state.group.parameters}, state)
            gradients += state.parts(constant_of(state.gradient))
            moves += state.parts(told - constant_of(state.weights))
            rests += state.parts(constant_of(new.weights) - told)
        sizes, count = _sizes([*gradients, *moves, *rests]), len(self.names)
        self._measure(step, sizes[:count])
        self._verify_update(step, states, sizes[count : 2 * count], sizes[2 * count :])

    def _verify_update(self, step: int, states: list[GroupState], moved: list[float], apart: list[float]) -> None:
        """moved: how far the optimizer moved each parameter. apart: how far the rule is from that."""
        resolutions = (u.resolution for s, u in zip(states, self.trainer.updates, strict=True) for _ in s.shapes)
        weights = (part for state in states for part in state.parts(constant_of(state.weights)))
        for name, move, off, resolution, weight in zip(self.names, moved, apart, resolutions, weights, strict=True):
            if not math.isfinite(move):
                raise diverged(step, "update", name, PLAIN)
            dtype = self.loop.weights[name].dtype
            eps = torch.finfo(dtype).eps
            allowed = math.sqrt(max(eps, resolution)) * move
            if not off <= allowed and not off <= allowed + 4 * eps * _sizes([weight])[0]:
                share = off / move if move else math.inf
                raise other_run(step, "update", name, share, changes(self._kept, self.loop.run), dtype)

    def _measure(self, step: int, sizes: list[float]) -> None:
        """Keep the sizes of a step's gradients."""
        for name, size in zip(self.names, sizes, strict=True):
            if not math.isfinite(size):
                raise diverged(step, "gradient", name, PLAIN)
        self.scales.append(tuple(map(max, sizes, self.scales[-1])) if self.scales else tuple(sizes))

    def is_gradient(self, step: int, states: list[GroupState], traced: Mapping[str, Tensor], resolution: float) -> bool:
        """Whether a traced gradient of a step is the plain one, to half the digits of the coarsest numbers."""
        pairs = ((state, _flat(traced, state) - constant_of(state.gradient)) for state in states)
        apart = _sizes([part for state, difference in pairs for part in state.parts(difference)])
        scales, allowed = self.scales[step], math.sqrt(resolution)
        least = LEAST * max(scales)
        return all(off <= allowed * max(scale, least) for off, scale in zip(apart, scales, strict=True))


def _flat(gradients: Mapping[str, Tensor], state: GroupState) -> Tensor:
    weights = constant_of(state.weights)
    parts = [gradients[name].reshape(-1) for name in state.group.parameters]
    return torch.cat(parts).to(weights) if parts else weights.new_zeros(0)


def _updated(update: JetFunction, state: GroupState, gradient: Leaf, step: int) -> GroupState:
    """The group after its update, in tensors of its own."""
    pieces = list(state.pieces(UPDATE_ELEMENTS))
    if len(pieces) == 1 and not state.group.rule.whole:
        return _updated_whole(update, state, gradient, step)
    after = state.room()
    apply_update(update, state, gradient, step, after)
    return after


def _updated_whole(update: JetFunction, state: GroupState, gradient: Leaf, step: int) -> GroupState:
    """What the update of all at once gives, without copying it."""
    weights, moments = update(state.weights, gradient, state.moments, scalars(state.group, step, state.weights))
    taken: set[int] = {id(leaf) for leaf in (state.weights, gradient, *state.moments)}
    own = []
    for leaf in (weights, *moments):
        own.append(clone(leaf) if id(leaf) in taken else leaf)
        taken.add(id(leaf))
    return GroupState(state.group, state.shapes, own[0], own[1:], state.gradient)


def _sizes(tensors: Sequence[Tensor]) -> list[float]:
    """The largest absolute value of each tensor, waiting for the device once."""
    full = [tensor.detach() if tensor.numel() else tensor.new_zeros(1) for tensor in tensors]
    extremes = torch.stack([x for tensor in full for x in torch.aminmax(tensor)]).double().tolist()
    return [max(-low, high) for low, high in zip(extremes[::2], extremes[1::2], strict=True)]
