"""Training over jets: one run of the recipe for a block of directions, with the real run as the constant term."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import grad

from unlearnkit.errors import NonFiniteError, RecipeError
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import Jet, add
from unlearnkit.taylor.products import LEAD
from unlearnkit.training.anchor import Anchor
from unlearnkit.training.clipping import clipping_of
from unlearnkit.training.joint import joint_downweights
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.optimizers import Group
from unlearnkit.training.rehearsal import idle_parameters
from unlearnkit.training.rounding import Held, held_fixed
from unlearnkit.training.rows import Tables, tables_of
from unlearnkit.training.run import Batch, Run, with_rows
from unlearnkit.training.state import GroupState, Leaf, assign, constant_of, is_finite, merged, total, trained

# Elements of a tail that one piece of the update works on, so that its intermediate results stay in the cache.
UPDATE_ELEMENTS = 1 << 18

# Which arguments of the gradient are jets: weights, everything else in the model, batch, downweights, denominator.
ACTIVE = (True, False, False, True, False)

_ROOTLESS = (
    "at 0 the optimizer's square root has a first order and no second: sketch the first order, which reverse sweeps "
    "give; in float64 where the gradient has only underflowed; or train by unlearnkit.Adam(..., eps_inside_sqrt=True)"
)
_HINT = "lower the learning rate or the degree, or use float64"


class Beside(Protocol):
    """What goes along with a run over jets, and may give it other constant terms."""

    def gradient(self, step: int, states: list[GroupState], batches: Sequence[Batch] | None) -> None:
        """After the gradient of a step, before it is clipped."""

    def update(self, step: int, states: list[GroupState]) -> None:
        """After the update."""


class Trainer:
    """Trains a run over jets."""

    def __init__(self, run: Run, degree: int) -> None:
        self.run = run
        self.degree = degree
        self.gradient = run.over_jets("gradient", grad(run.loss), run.plain_loss)
        self.clipping = clipping_of(run)
        groups = run.recipe.groups
        self.updates = [run.over_jets(("update", group.key), group.update, rounded=True) for group in groups]

    def train(self, directions: Tensor, progress: Callable[[int], None] = lambda _: None) -> dict[str, Leaf]:
        """The trained weights along ``directions`` ``[directions, units]``, complex or real.

        progress: called with each finished step. Raises NonFiniteError when a coefficient overflows.
        """
        states, anchor = self.start(directions), self.anchor()
        for step in range(self.run.recipe.steps):
            rows, batches = self.tables.step(step)
            narrow = rows.narrow(states)
            self.advance(step, narrow, directions, batches, anchor)
            states = rows.widen(states, narrow)
            progress(step)
        return trained(states)

    def anchor(self) -> Anchor | None:
        """The plain run that a new run over jets is to follow where it is lowered."""
        return Anchor.of(self.run) if is_lowered(self.run) else None

    @cached_property
    def idle(self) -> frozenset[str]:
        """Parameters that no step moves. Raises RecipeError when the run cannot be the one that is traced."""
        return idle_parameters(self.run)

    @property
    def tables(self) -> Tables:
        """The tables of which each step touches some rows alone."""
        return tables_of(self.run)

    @cached_property
    def held(self) -> Held:
        """What has no series, because its gradient is rounding alone."""
        return held_fixed(self.run)

    def held_at(self, step: int, state: GroupState) -> Tensor | None:
        """Which coordinates of the state of a step, flat, are held fixed there; None when none is."""
        return self.held.at(step, state.group.parameters, self.tables.at(step))

    def start(self, directions: Tensor | None) -> list[GroupState]:
        """The state before the first step; without directions, of plain tensors."""
        _ = self.idle  # before any work is done
        weights = self.run.initial_weights()
        states = []
        for group in self.run.recipe.groups:
            no_parameters = torch.zeros(0, dtype=self.run.dtype, device=self.run.device)
            flat = torch.cat([no_parameters, *(weights[name].reshape(-1) for name in group.parameters)])
            moments = [tensor.to(flat, copy=True) for tensor in group.start]
            moments = moments or [torch.full_like(flat, value) for value in group.rule.initial]
            zeros = [torch.zeros_like(flat), *moments, *[flat.clone()] * group.averaged]
            if not self.tables.names.isdisjoint(group.parameters):
                zeros[0] = no_parameters  # a step has a gradient of its rows
            leaves = [self._leaf(constant, directions) for constant in (flat, *zeros)]
            shapes = tuple(weights[name].shape for name in group.parameters)
            states.append(GroupState(group, shapes, leaves[0], leaves[2:], leaves[1]))
        return states

    def _leaf(self, constant: Tensor, directions: Tensor | None) -> Leaf:
        if directions is None:
            return constant
        planes = 2 if directions.is_complex() else 1
        return Jet(constant, constant.new_zeros(self.degree, planes, len(directions), constant.numel()))

    def downweights(self, units: Tensor, directions: Tensor | None) -> Leaf:
        """``w = z * psi`` at the examples of a batch: constant 0, degree one the direction of each example's unit.

        Of several owners' examples ``1 - prod_k (1 - z psi_k)``.
        """
        constant = torch.zeros(len(units), dtype=self.run.dtype, device=self.run.device)
        if directions is None:
            return constant
        tail = directions.new_zeros(self.degree, len(directions), len(units))
        ownership, last = self.run.recipe.ownership, directions.shape[1] - 1
        tail[0] = torch.where(units < 0, 0, directions[:, units.clamp(0, last)])
        if ownership.joint and len(places := (units > last).nonzero()[:, 0]):
            tail[..., places] = joint_downweights(ownership, units[places] - last - 1, directions, self.degree)
        return Jet.of(constant, tail)

    def arguments(self, weights: Mapping[str, Leaf], batch: Batch, directions: Tensor | None) -> tuple[Any, ...]:
        """What the gradient of a batch is a function of."""
        fixed, w = with_rows(self.run.fixed, batch.rows), self.downweights(batch.units, directions)
        return weights, fixed, batch.examples, w, batch.denominator

    def first(self, weights: Mapping[str, Tensor]) -> tuple[Batch, dict[str, Tensor]]:
        """The batch that traces start with, and these weights, of tables in its rows."""
        rows, batches = self.tables.step(0)
        batch = self.run.first_batch() if batches is None else batches[0]
        return batch, {name: rows.picked(name, weight) for name, weight in weights.items()}

    def gradients(
        self,
        step: int,
        weights: Mapping[str, Leaf],
        directions: Tensor | None,
        batches: Iterable[Batch] | None = None,
        room: Mapping[str, Leaf] | None = None,
    ) -> dict[str, Leaf]:
        """The gradient of a step, the sum over its batches, which may be at hand already.

        room: memory that it may be in.
        """
        total: dict[str, Leaf] = {}
        for batch in self.run.batches(step) if batches is None else batches:
            with self.run.random_numbers(step, batch.number):
                found = self.gradient(*self.arguments(weights, batch, directions), room=None if total else room)
            if directions is not None:
                self._verify_involved(step, found)
            total = {name: add(total[name], leaf) for name, leaf in found.items()} if total else found  # type: ignore[misc]
        return total

    def advance(
        self,
        step: int,
        states: list[GroupState],
        directions: Tensor | None,
        batches: Sequence[Batch] | None = None,
        anchor: Beside | None = None,
    ) -> None:
        """Do one training step, in place; afterwards ``gradient`` of each state is the step's, before clipping.

        With batches of some rows alone, the states are narrow ones (`unlearnkit.training.rows`).
        """
        with torch.no_grad():
            room = {name: leaf for state in states for name, leaf in state.views(state.gradient).items()}
            gradients = self.gradients(step, merged(states), directions, batches, room)
            for state in states:
                state.store(gradients)
                _hold(state.gradient, self.held_at(step, state))
            if not all(is_finite(state.gradient) for state in states):
                self._explain(step, states, directions, batches)
            if anchor is not None:
                anchor.gradient(step, states, batches)
            clipped = self.clipping.clipped(step, [state.gradient for state in states])
        for state, update, gradient in zip(states, self.updates, clipped, strict=True):
            if not (apply_update(update, state, gradient, step) and _rootless(state) is None):
                raise _broken_update(state, step)
        if anchor is not None:
            anchor.update(step, states)

    def _verify_involved(self, step: int, gradients: Mapping[str, Leaf]) -> None:
        """Where there is no gradient, which is then no jet, torch leaves a parameter and its moments as they are."""
        for group in self.run.recipe.groups:
            if not group.rule.states and not group.rule.weight_decay:
                continue
            for name in group.parameters:
                if isinstance(gradients[name], Jet) is (name in self.idle):
                    raise other_involved(step, name)

    def _explain(
        self, step: int, states: list[GroupState], directions: Tensor | None, batches: Sequence[Batch] | None
    ) -> None:
        for state in states:
            if (place := _first_not_finite(constant_of(state.gradient))) is not None:
                raise diverged(step, "gradient", state.name_at(place))
        try:
            for batch in self.run.batches(step) if batches is None else batches:
                with self.run.random_numbers(step, batch.number):
                    self.gradient.diagnose(*self.arguments(merged(states), batch, directions))
        except NonFiniteError as error:
            message = f"training step {step}: {error}"
            raise NonFiniteError(message, step=step, node=error.node, where=error.where, hint=error.hint) from None
        message = f"training step {step}: a Taylor coefficient of the gradient is not finite"
        raise NonFiniteError(message, step=step, node="gradient", where="loss", hint=_HINT)


def other_involved(step: int, name: str) -> RecipeError:
    """The error for a parameter that the loss involves at some steps, and not at others."""
    message = f"the loss involves parameter {name!r} at some steps only: step {step} is unlike step 0"
    return RecipeError(message, hint="let every step involve it, or use SGD without momentum and weight decay")


def _hold(gradient: Leaf, held: Tensor | None) -> None:
    """Take the series of a gradient away where it is held fixed."""
    if held is not None and isinstance(gradient, Jet):
        gradient.tail.masked_fill_(held, 0)


def _rootless(state: GroupState) -> int | None:
    """The first position at which a second moment has no root to the degree.

    At 0 the root of ``g^2`` has a first order alone, and that is 0 (`unlearnkit.training.optimizers`). What has
    underflowed with its whole series is nothing beside epsilon.
    """
    size = state.group.rule.size
    if size is None or not isinstance(second := state.moments[size], Jet):
        return None
    tiny = torch.finfo(second.constant.dtype).tiny
    places = ((second.constant < tiny) & (second.tail[1:].abs() >= tiny).flatten(0, LEAD - 1).any(0)).nonzero()
    return int(places[0]) if len(places) else None


def diverged(step: int, what: str, name: str, run: str = "the constant term, the plain run,") -> NonFiniteError:
    """The error for a plain run whose own numbers are not finite: ``what`` of the parameter ``name``."""
    message = f"training step {step}: {run} is not finite in the {what} of {name!r}"
    hint = "no sketch is at fault: lower the learning rate, and look for NaN or infinite numbers in this step's batch"
    return NonFiniteError(message, step=step, node=f"plain {what}", where=f"parameter {name!r}", hint=hint)


def _first_not_finite(x: Tensor) -> int | None:
    """The first position of ``[*S, P]`` at which something is not finite."""
    places = x.isfinite().logical_not().reshape(-1, x.shape[-1]).any(0).nonzero()
    return int(places[0]) if len(places) else None


def _broken_update(state: GroupState, step: int) -> NonFiniteError:
    weights = state.weights
    if (place := _first_not_finite(constant_of(weights))) is not None:
        return diverged(step, "update", state.name_at(place))
    if (place := _rootless(state)) is not None:
        what, hint = "is not there", _ROOTLESS
    else:
        what, hint = "is not finite", _HINT
        place = _first_not_finite(weights.tail if isinstance(weights, Jet) else weights) or 0
    name = state.name_at(place)
    message = f"training step {step}: a Taylor coefficient {what} after the optimizer's update of {name!r}"
    return NonFiniteError(message, step=step, node="update", where=f"parameter {name!r}", hint=hint)


def scalars(group: Group, step: int, like: Leaf) -> list[Tensor]:
    """The numbers of a step as 0-dimensional tensors."""
    return list(constant_of(like).new_tensor(group.schedule[step]).unbind())


def apply_update(
    update: JetFunction, state: GroupState, gradient: Leaf, step: int, into: GroupState | None = None
) -> bool:
    """Update weights and moments, piece by piece. into: where to; None: in place.

    Returns whether the new weights are finite.
    """
    numbers, after = scalars(state.group, step, state.weights), state if into is None else into
    sums = []
    with torch.no_grad():
        for piece in state.pieces(UPDATE_ELEMENTS):
            moments = [piece.of(moment) for moment in state.moments]
            new, changed = update(piece.of(state.weights), piece.of(gradient), moments, numbers)
            assign(piece.of(after.weights), new)
            for target, source in zip(after.moments, changed, strict=True):
                assign(piece.of(target), source)
            sums.append(total(new))  # while it is in the cache
        return not sums or bool(torch.stack(sums).sum().isfinite()) or is_finite(after.weights)
