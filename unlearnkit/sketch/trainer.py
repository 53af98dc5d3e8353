"""Training over jets: one run of the recipe for a block of directions, with the real run as the constant term."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad

from unlearnkit.errors import NonFiniteError
from unlearnkit.sketch.optimizers import Group
from unlearnkit.sketch.run import Run
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.interpreter import Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.trace import trace

# Elements of a tail that one piece of the update works on, so that its intermediate results stay in the cache.
UPDATE_ELEMENTS = 1 << 17


@dataclass(eq=False)
class GroupState:
    """Weights and optimizer state of one parameter group, flat: constants ``[P]``, tails ``[degree, directions, P]``."""

    group: Group
    shapes: tuple[torch.Size, ...]
    weights: Jet
    moments: list[Jet]
    gradient: Jet

    def views(self, flat: Jet) -> dict[str, Jet]:
        """Each parameter's part of a flat jet, in its own shape, without copying."""
        views, offset = {}, 0
        for name, shape in zip(self.group.parameters, self.shapes, strict=True):
            end = offset + shape.numel()
            tail = flat.tail[:, :, offset:end].view(*flat.tail.shape[:2], *shape)
            views[name] = Jet(flat.constant[offset:end].view(shape), tail)
            offset = end
        return views

    def name_at(self, position: int) -> str:
        """The parameter that a flat position belongs to."""
        for name, shape in zip(self.group.parameters, self.shapes, strict=True):
            if position < shape.numel():
                return name
            position -= shape.numel()
        raise IndexError(position)


def _zeros(constant: Tensor, degree: int, directions: int, dtype: torch.dtype) -> Jet:
    return Jet(constant, constant.new_zeros(degree, directions, constant.numel(), dtype=dtype))


class Trainer:
    """Trains a run over jets. Traces are made once and shared by all blocks of directions."""

    def __init__(self, run: Run, degree: int) -> None:
        self.run = run
        self.degree = degree
        recipe = run.recipe
        self.gradient = JetFunction(
            grad(run.loss), [True, False, False, True], model=run.model, allow_piecewise=recipe.allow_piecewise
        )
        self.updates = [_update_interpreter(group, run) for group in recipe.groups]

    def train(self, directions: Tensor, progress: Callable[[int], None] = lambda _: None) -> dict[str, Jet]:
        """The trained weights along ``directions`` ``[directions, units]``, complex or real.

        progress: called with each finished step. Raises NonFiniteError when a coefficient overflows.
        """
        states = self._initial(directions)
        with torch.no_grad():
            for step in range(self.run.recipe.steps):
                self._step(step, states, directions)
                progress(step)
        return {name: jet for state in states for name, jet in state.views(state.weights).items()}

    def _initial(self, directions: Tensor) -> list[GroupState]:
        weights = self.run.initial_weights()
        states = []
        for group in self.run.recipe.groups:
            flat = torch.cat([weights[name].reshape(-1) for name in group.parameters])
            jets = [
                _zeros(constant, self.degree, len(directions), directions.dtype)
                for constant in (flat, *(torch.zeros_like(flat) for _ in range(group.rule.states + 1)))
            ]
            shapes = tuple(weights[name].shape for name in group.parameters)
            states.append(GroupState(group, shapes, jets[0], jets[2:], jets[1]))
        return states

    def downweights(self, step: int, directions: Tensor) -> Jet:
        """``w = z * psi`` at the examples of a step: constant 0, degree one the direction of each example's unit."""
        units = self.run.units(step)
        tail = directions.new_zeros(self.degree, len(directions), len(units))
        tail[0] = torch.where(units < 0, 0, directions[:, units.clamp_min(0)])
        return Jet(torch.zeros(len(units), dtype=self.run.dtype, device=self.run.device), tail)

    def _step(self, step: int, states: list[GroupState], directions: Tensor) -> None:
        weights = {name: jet for state in states for name, jet in state.views(state.weights).items()}
        arguments = (weights, self.run.fixed, self.run.batch(step), self.downweights(step, directions))
        with self.run.random_numbers(step):
            gradients = self.gradient(*arguments)
            for state in states:
                _store(gradients, state)
            if not all(_is_finite(state.gradient) for state in states):
                self._explain(step, arguments)
        for state, update in zip(states, self.updates, strict=True):
            _apply(update, state, step)
            if not _is_finite(state.weights):
                raise _broken_update(state, step)

    def _explain(self, step: int, arguments: tuple[object, ...]) -> None:
        try:
            self.gradient.diagnose(*arguments)
        except NonFiniteError as error:
            message = f"training step {step}: {error}"
            raise NonFiniteError(message, step=step, node=error.node, where=error.where, hint=error.hint) from None
        message = f"training step {step}: a Taylor coefficient of the gradient is not finite"
        raise NonFiniteError(message, step=step, node="gradient", where="loss", hint=_HINT)


_HINT = "lower the learning rate or the degree, or use float64"


def _broken_update(state: GroupState, step: int) -> NonFiniteError:
    finite = state.weights.tail.isfinite().all(0).all(0) & state.weights.constant.isfinite()
    name = state.name_at(int(finite.logical_not().nonzero()[0]))
    message = f"training step {step}: a Taylor coefficient is not finite after the optimizer's update of {name!r}"
    rule = state.group.rule
    hint = _HINT
    if rule.kind == "adam" and not rule.eps_inside_sqrt:
        hint = "sqrt has no Taylor series at 0: use unlearnkit.Adam(..., eps_inside_sqrt=True)"
    return NonFiniteError(message, step=step, node="update", where=f"parameter {name!r}", hint=hint)


def _is_finite(jet: Jet) -> bool:
    """Whether all coefficients are finite. A sum is cheap and carries any NaN or infinity; only then look closely."""
    total = jet.tail.sum() + jet.constant.sum()
    return bool(total.isfinite()) or bool(jet.tail.isfinite().all() and jet.constant.isfinite().all())


def _store(gradients: Mapping[str, Jet | Tensor], state: GroupState) -> None:
    """Write the gradients of a group into its flat jet."""
    for name, place in state.views(state.gradient).items():
        gradient = gradients[name]
        if isinstance(gradient, Jet):
            place.constant.copy_(gradient.constant)
            place.tail.copy_(gradient.tail)
        else:
            place.constant.copy_(gradient)
            place.tail.zero_()


def _update_interpreter(group: Group, run: Run) -> Interpreter:
    """The group's update over jets. It is elementwise, so one trace serves pieces of any size."""

    def update(p: Tensor, g: Tensor, moments: list[Tensor], scalars: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        new, states = group.rule.update(p, g, moments, scalars)
        return new, list(states)

    sample = torch.ones(2, dtype=run.dtype, device=run.device)
    scalars = _scalars(group, 0, sample)
    states = [sample.clone() for _ in range(group.rule.states)]
    traced = trace(update, sample, sample.clone(), states, scalars)
    return Interpreter(traced, [True] * (2 + len(states)) + [False] * len(scalars))


def _scalars(group: Group, step: int, like: Tensor) -> list[Tensor]:
    return [like.new_tensor(value) for value in group.schedule[step]]


def _pieces(state: GroupState) -> Iterator[slice]:
    degree, directions, size = state.weights.tail.shape
    piece = max(1, UPDATE_ELEMENTS // (degree * directions))
    return (slice(start, min(start + piece, size)) for start in range(0, size, piece))


def _apply(update: Interpreter, state: GroupState, step: int) -> None:
    """Update weights and moments in place, piece by piece."""
    scalars = _scalars(state.group, step, state.weights.constant)
    for piece in _pieces(state):
        new, moments = update(
            _part(state.weights, piece), _part(state.gradient, piece), [_part(m, piece) for m in state.moments], scalars
        )
        for target, source in zip([state.weights, *state.moments], [new, *moments], strict=True):
            target.constant[piece] = source.constant
            target.tail[:, :, piece] = source.tail


def _part(jet: Jet, piece: slice) -> Jet:
    return Jet(jet.constant[piece], jet.tail[:, :, piece])
