"""The plain run step by step: torch's own gradient, the rule of the optimizer, and every state flat.

A reverse sweep without directions needs no more than this of the way forward. That it is the run which is traced shows
on the way back, where each step computes the gradient again (`unlearnkit.sketching.reverse`); that the rule is the
optimizer's is seen here, step by step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unlearnkit.taylor.function import JetFunction
from unlearnkit.training.anchor import Anchor
from unlearnkit.training.beside import LEAST, PLAIN, other_run
from unlearnkit.training.kept import changes, kept
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.retrain import Mark
from unlearnkit.training.rows import Rows
from unlearnkit.training.run import Batch
from unlearnkit.training.state import GroupState, Leaf, constant_of, merged
from unlearnkit.training.trainer import ACTIVE, Trainer, apply_update, diverged, other_involved


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
        self.loop.backward_seeded(step, batches)
        gradients = self.loop.gradients(rows)
        if is_new:
            self._verify_involved(step)
            self._measure(step, gradients)
        for state in states:
            state.gradient = _flat(gradients, state)
        clipped = self.trainer.clipping.clipped(step, [state.gradient for state in states])
        updates = zip(self.trainer.updates, states, clipped, strict=True)
        after = [_updated(update, state, gradient, step) for update, state, gradient in updates]
        if is_new or is_lowered(self.trainer.run):
            self.loop.update(step)
        if is_new:
            self._verify_update(step, states, after, rows)
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
            leaves, spec = pytree.tree_flatten((batch.examples, batch.units))
            form = spec, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
            if form in self._known:
                continue
            self._known.add(form)
            arguments = self.trainer.arguments(weights, batch, None)  # type: ignore[arg-type]
            trace = self.trainer.gradient.prepare(*arguments, active=ACTIVE).trace
            if trace.guards or trace.outside:
                self.settled = False

    def _verify_involved(self, step: int) -> None:
        """Where there is no gradient torch leaves a parameter and its moments as they are."""
        for group in self.trainer.run.recipe.groups:
            if group.rule.states or group.rule.weight_decay:
                for name in group.parameters:
                    if (self.loop.weights[name].grad is None) is not (name in self.trainer.idle):
                        raise other_involved(step, name)

    def _measure(self, step: int, gradients: Mapping[str, Tensor]) -> None:
        sizes = _sizes([gradients[name] for name in self.names])
        for name, size in zip(self.names, sizes, strict=True):
            if not math.isfinite(size):
                raise diverged(step, "gradient", name, PLAIN)
        self.scales.append(tuple(map(max, sizes, self.scales[-1])) if self.scales else tuple(sizes))

    def _verify_update(self, step: int, states: list[GroupState], after: list[GroupState], rows: Rows) -> None:
        before, new = merged(states), merged(after)
        told = [rows.picked(name, self.loop.weights[name].detach()) for name in self.names]
        olds, news = ([constant_of(leaves[name]) for name in self.names] for leaves in (before, new))
        sizes, moved, apart = _sizes(olds), _sizes(_differences(told, olds)), _sizes(_differences(news, told))
        eps = {name: torch.finfo(weight.dtype).eps for name, weight in self.loop.weights.items()}
        pairs = zip(states, self.trainer.updates, strict=True)
        coarsest = {n: max(eps[n], update.resolution) for state, update in pairs for n in state.group.parameters}
        for name, size, move, off in zip(self.names, sizes, moved, apart, strict=True):
            if not math.isfinite(move):
                raise diverged(step, "update", name, PLAIN)
            if not off <= math.sqrt(coarsest[name]) * move + 4 * eps[name] * size:
                share = off / move if move else math.inf
                changed, dtype = changes(self._kept, self.loop.run), self.loop.weights[name].dtype
                raise other_run(step, "update", name, share, changed, dtype)

    def is_gradient(self, step: int, states: list[GroupState], traced: Mapping[str, Tensor], resolution: float) -> bool:
        """Whether a traced gradient of a step is the plain one, to half the digits of the coarsest numbers."""
        plain = {name: leaf for state in states for name, leaf in state.views(state.gradient).items()}
        found, expected = [traced[n] for n in self.names], [constant_of(plain[n]) for n in self.names]
        apart = _sizes(_differences(found, expected))
        scales, allowed = self.scales[step], math.sqrt(resolution)
        least = LEAST * max(scales)
        return all(off <= allowed * max(scale, least) for off, scale in zip(apart, scales, strict=True))


def _flat(gradients: Mapping[str, Tensor], state: GroupState) -> Tensor:
    weights = constant_of(state.weights)
    parts = [gradients[name].reshape(-1) for name in state.group.parameters]
    return torch.cat(parts).to(weights) if parts else weights.new_zeros(0)


def _updated(update: JetFunction, state: GroupState, gradient: Leaf, step: int) -> GroupState:
    """The group after its update, in tensors of its own."""
    after = state.copy()
    apply_update(update, after, gradient, step)
    return after


def _differences(a: list[Tensor], b: list[Tensor]) -> Sequence[Tensor]:
    return torch._foreach_sub(a, b)  # noqa: SLF001


def _sizes(tensors: Sequence[Tensor]) -> list[float]:
    """The largest absolute value of each tensor, waiting for the device once."""
    full = [tensor.detach() if tensor.numel() else tensor.new_zeros(1) for tensor in tensors]
    extremes = torch.stack([x for tensor in full for x in torch.aminmax(tensor)]).double().tolist()
    return [max(-low, high) for low, high in zip(extremes[::2], extremes[1::2], strict=True)]
