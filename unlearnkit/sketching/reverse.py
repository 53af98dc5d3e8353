"""The reverse sweep: gradients of a probe over all downweights, and their Taylor coefficients
(docs/theory.md section 8).

Training is a chain of steps ``(weights, moments) -> (weights', moments')``. A sweep carries, for each element of a
probe, the cotangent of weights and moments back through the chain; on the way, every step yields the derivative with
respect to the downweights of its examples. The reverse step is traced like the forward one and runs over the same
jets: along a direction psi it gives ``grad f(z psi) = sum_r z^(r-1) grad f_r(psi)``, whose degree-one coefficient is
the Hessian of f (over units) times psi.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from unlearnkit.errors import NonFiniteError
from unlearnkit.sketching.cotangents import Cotangents, alone, hold, narrowed, widen
from unlearnkit.sketching.memory import Memory, peak_of
from unlearnkit.sketching.trajectory import Moment, Steps, StepsAlong, Trajectory
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.products import LEAD
from unlearnkit.training.beside import train_beside_plain
from unlearnkit.training.joint import to_units
from unlearnkit.training.optimizers import Group
from unlearnkit.training.plain import PlainSteps
from unlearnkit.training.randomness import restored
from unlearnkit.training.run import Run
from unlearnkit.training.state import (
    GroupState,
    Leaf,
    accumulate_all,
    assign,
    constant_of,
    is_finite,
    merged,
    part,
    trained,
)
from unlearnkit.training.trainer import UPDATE_ELEMENTS, Trainer, scalars

Weights = Mapping[str, Tensor]


# Forms of steps that are tried before a sweep; batches of any more sizes are much like one of them.
_FORMS = 3


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of all tensors that a sweep holds at once. first: where it is traced too. again: later."""

    first: int
    again: int


class ReverseSweeps:
    """Sweeps back through the training of a run."""

    def __init__(self, run: Run, degree: int) -> None:
        self.run = run
        self.trainer = Trainer(run, degree)
        self._pull_gradient = run.over_jets("pull gradient", _pull, run.plain_loss, _gradient(run), spare=2)
        self._pull_updates = [
            run.over_jets(("pull update", group.key), _update_pullback(group), rounded=True)
            for group in run.recipe.groups
        ]

    def to_degree(self, degree: int) -> ReverseSweeps:
        """The same sweeps to another degree, with the same traces."""
        if degree == self.trainer.degree:
            return self
        other, trainer = copy.copy(self), copy.copy(self.trainer)
        trainer.degree = degree
        other.trainer = trainer
        return other

    def sweep(
        self,
        pull_probe: Callable[..., Mapping[str, Leaf]],
        basis: Tensor,
        trajectory: Trajectory,
        progress: Callable[[], None] = lambda: None,
    ) -> Leaf:
        """Gradient over downweights of the probe elements that ``basis`` picks.

        pull_probe: from `unlearnkit.sketching.pullback`. basis: cotangents of the probe, ``[elements, *P]``.
        trajectory: the training to go back through, from `forward`.
        Returns ``[elements, units]``; along directions a jet, whose coefficients, ``[degree, directions, elements,
        units]``, are ``grad f_2(psi), grad f_3(psi), ...``.
        progress: called after each step backward.
        """
        steps = trajectory.steps
        directions = steps.directions if isinstance(steps, StepsAlong) else None
        trajectory.make_room(lambda: self.held(pull_probe, basis, directions).again)
        total, cotangents = self._back(pull_probe, basis, trajectory, progress)
        if not _are_finite(cotangents):  # which lasts, so that a look at the end is enough; where it began is told now
            self._back(pull_probe, basis, trajectory, verify_finite=True)
        return to_units(self.run.recipe.ownership, part(total, slice(0, -1)), directions)

    def _back(
        self,
        pull_probe: Callable[..., Mapping[str, Leaf]],
        basis: Tensor,
        trajectory: Trajectory,
        progress: Callable[[], None] = lambda: None,
        *,
        verify_finite: bool = False,
    ) -> tuple[Leaf, list[Cotangents]]:
        """The gradient, with a column more for nobody's examples, and the cotangents at the start of training.

        verify_finite: raise NonFiniteError at the first step that makes any that is not.
        """
        final, ownership = trajectory.final, self.run.recipe.ownership
        with torch.no_grad(), restored(self.run.device):
            self.run.seed(self.run.recipe.steps)
            pulled = pull_probe(trained(final), self.run.fixed, basis)
            cotangents = self._start(final, pulled, len(basis))
            total = self._zeros((len(basis), len(ownership.names) + len(ownership.joint) + 1), final)
            for moment in trajectory.backwards():
                narrow = narrowed(moment, final, cotangents)
                self._step(moment, trajectory.steps, narrow, alone(total), verify_finite=verify_finite)
                widen(moment, final, cotangents, narrow)
                progress()
        return total, cotangents

    def forward(
        self, directions: Tensor | None, memory: Memory, progress: Callable[[], None] = lambda: None
    ) -> Trajectory:
        """The training along directions ``[directions, units]``, real or complex, or the plain one for None.

        progress: called after each step forward.
        """
        return Trajectory(self.run, self._steps(directions), memory, progress)

    def _steps(self, directions: Tensor | None) -> Steps:
        return PlainSteps(self.trainer) if directions is None else StepsAlong(self.trainer, directions)

    def held(self, pull_probe: Callable[..., Mapping[str, Leaf]], basis: Tensor, directions: Tensor | None) -> Held:
        """What a sweep holds at once beside all states of the run but two, found by sweeps over single steps."""
        along = () if directions is None else (directions.dtype, len(directions), self.trainer.degree)

        def over(step: int) -> int:
            return peak_of(lambda: self._over(step, pull_probe, basis, directions))

        def find() -> Held:
            return Held(max(map(over, self._unlike())), max(map(over, self._unlike())))

        return self.run.remembered(f"held by a sweep: {id(pull_probe)}, {tuple(basis.shape)}, {along}", find)

    def _unlike(self) -> list[int]:
        """A step of each form: sizes of batches, as far as there are few."""
        forms: dict[tuple[int, ...], int] = {}
        for step, batches in enumerate(self.run.recipe.parts):
            forms.setdefault(tuple(len(batch) for batch in batches), step)
        return list(forms.values())[:_FORMS]

    def _over(
        self, step: int, pull_probe: Callable[..., Mapping[str, Leaf]], basis: Tensor, directions: Tensor | None
    ) -> None:
        steps = self._steps(directions)
        if isinstance(steps, PlainSteps):
            steps.acquitted = True  # it is not the run itself
        self.sweep(pull_probe, basis, Trajectory(self.run, steps, Memory(0), span=range(step, step + 1)))

    def _zeros(self, shape: tuple[int, ...], states: list[GroupState]) -> Leaf:
        """Zeros of this shape, with a tail where training had one."""
        like = states[0].weights
        constant = torch.zeros(shape, dtype=self.run.dtype, device=self.run.device)
        return (
            Jet(constant, like.tail.new_zeros(*like.tail.shape[:LEAD], *shape)) if isinstance(like, Jet) else constant
        )

    def _start(self, final: list[GroupState], pulled: Mapping[str, Leaf], elements: int) -> list[Cotangents]:
        cotangents = []
        for state in final:
            shape = (elements, sum(s.numel() for s in state.shapes))
            zeros = [self._zeros(shape, final) for _ in range(1 + len(state.moments))]
            gradient = self._zeros((elements, constant_of(state.gradient).numel()), final)
            for name, place in state.views(zeros[-1 if state.group.averaged else 0]).items():
                assign(place, pulled[name])
            cotangents.append(Cotangents(state, zeros[0], zeros[1:], gradient))
        return cotangents

    def _step(
        self, moment: Moment, steps: Steps, cotangents: list[Cotangents], total: Leaf, *, verify_finite: bool
    ) -> None:
        """Carry the cotangents back over one step, and add what its examples contribute."""
        step, states = moment.step, moment.states
        directions = steps.directions if isinstance(steps, StepsAlong) else None
        self._pull_to_gradient(step, states, cotangents)
        weights = merged(states)
        incoming = {name: leaf for cotangent in cotangents for name, leaf in cotangent.gradients.items()}
        gradient: dict[str, Tensor] = {}
        for batch in moment.batches:
            arguments = (*self.trainer.arguments(weights, batch, directions), incoming)
            if self.trainer.gradient.draws:  # which has traced every step on the way forward
                self.run.seed(step, batch.number)
            to_weights, to_downweights, found = self._pull_gradient(*arguments)
            for cotangent in cotangents:
                accumulate_all(list(cotangent.places.values()), [to_weights[name] for name in cotangent.places])
            if verify_finite and not _are_finite(cotangents):
                self._pull_gradient.diagnose(*arguments)
                message = f"training step {step}, in reverse: a Taylor coefficient of the gradient is not finite"
                raise NonFiniteError(message, step=step, node="reverse step", where="loss", hint="use float64")
            _scatter(total, to_downweights, batch.units)
            if directions is None:
                gradient = {n: gradient[n] + g for n, g in found.items()} if gradient else found
        if isinstance(steps, PlainSteps):
            self._verify(steps, moment, gradient)

    def _verify(self, steps: PlainSteps, moment: Moment, gradient: Mapping[str, Tensor]) -> None:
        """See that the traced gradient is the plain one; where they part, find out at which step they did first."""
        if steps.acquitted or steps.is_gradient(moment.step, moment.states, gradient, self._pull_gradient.resolution):
            return
        train_beside_plain(self.trainer, None)
        steps.acquitted = True  # in float64 they do not part

    def _pull_to_gradient(self, step: int, states: list[GroupState], cotangents: list[Cotangents]) -> None:
        """Carry the cotangents back over the update and the clipping of a step."""
        clipping, gradients = self.trainer.clipping, [state.gradient for state in states]
        clipped = clipping.clipped(step, gradients)
        for number, (state, cotangent) in enumerate(zip(states, cotangents, strict=True)):
            self._pull_update(step, state, clipped[number], cotangent, self._pull_updates[number])
        pulled = clipping.pull(step, gradients, [cotangent.gradient for cotangent in cotangents])
        for state, cotangent, leaf in zip(states, cotangents, pulled, strict=True):
            if leaf is not cotangent.gradient:
                assign(cotangent.gradient, leaf)
            if (held := self.trainer.held_at(step, state)) is not None:
                hold(cotangent, held)

    @staticmethod
    def _pull_update(step: int, state: GroupState, clipped: Leaf, cotangent: Cotangents, pull: JetFunction) -> None:
        numbers = scalars(state.group, step, state.weights)
        elements = constant_of(cotangent.weights).shape[0]
        for piece in state.pieces(max(1, UPDATE_ELEMENTS // elements)):
            moments = [piece.of(m) for m in cotangent.moments]
            weights, gradient = piece.of(cotangent.weights), piece.of(cotangent.gradient)
            primal = (piece.of(state.weights), piece.of(clipped), [piece.of(m) for m in state.moments])
            to_weights, to_gradient, to_moments = pull(*primal, numbers, weights, moments)
            for target, source in zip(
                [weights, gradient, *moments], [to_weights, to_gradient, *to_moments], strict=True
            ):
                assign(target, source)


def _are_finite(cotangents: list[Cotangents]) -> bool:
    return all(is_finite(cotangent.weights) for cotangent in cotangents)


def _gradient(run: Run) -> Callable[..., dict[str, Tensor]]:
    """A step's gradient, as a function of what `_pull` takes."""

    def gradient(
        weights: Weights, fixed: Weights, batch: object, w: Tensor, denominator: Tensor, _: Weights
    ) -> dict[str, Tensor]:
        return grad(run.loss)(weights, fixed, batch, w, denominator)  # type: ignore[no-any-return]

    return gradient


def _pull(
    gradient: Callable[..., dict[str, Tensor]],
    weights: Weights,
    fixed: Weights,
    batch: object,
    w: Tensor,
    denominator: Tensor,
    cotangents: Weights,
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """The reverse of a step's gradient, from cotangents ``{name: [elements, *S]}`` to weights and downweights.

    Of one element ``{name: [*S]}``, which needs no operations on batches. The gradient itself comes last.
    """
    pulled = vjp(lambda weights, w: gradient(weights, fixed, batch, w, denominator, cotangents), weights, w)
    found, back = pulled[0], pulled[1]
    is_one = all(cotangents[name].dim() == weight.dim() for name, weight in weights.items())
    return *(back if is_one else vmap(back))(cotangents), found


def _update_pullback(group: Group) -> Callable[..., tuple[Tensor, Tensor, list[Tensor]]]:
    """The reverse of a group's update, from cotangents ``[elements, P]`` of weights and moments to those before it."""

    def pull(
        p: Tensor, g: Tensor, moments: list[Tensor], numbers: list[Tensor], to_p: Tensor, to_moments: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        def update(p: Tensor, g: Tensor, moments: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            return group.update(p, g, moments, numbers)

        back = vjp(update, p, g, moments)[1]
        return vmap(lambda a, b: back((a, b)))(to_p, to_moments)  # type: ignore[no-any-return]

    return pull


def _scatter(total: Leaf, contribution: Leaf, units: Tensor) -> None:
    """Add ``[*elements, batch]`` to the columns of the examples' owners; nobody's go to the extra last column."""
    columns = torch.where(units < 0, constant_of(total).shape[-1] - 1, units)
    if not isinstance(total, Jet):
        total.index_add_(-1, columns, constant_of(contribution))
        return
    total.constant.index_add_(-1, columns, constant_of(contribution))
    if isinstance(contribution, Jet):
        total.tail.index_add_(-1, columns, contribution.tail)
