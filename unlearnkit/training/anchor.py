"""The plain run beside one over jets whose constant term it is, number by number.

A model that lowers its precision (autocast, weights in bfloat16) rounds at every operation, and its optimizer at every
update. A graph of other operations rounds otherwise, and training amplifies that. There the constant term is what torch
itself computes, step by step, and the series that goes with it is that of the same run without the rounding
(`unlearnkit.taylor.raised`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.run import Batch, Run
from unlearnkit.training.state import GroupState, constant_of


class Anchor:
    """Plain steps whose numbers become constant terms. loop: the plain run, which is at the step that is asked for."""

    def __init__(self, loop: PlainLoop) -> None:
        self.loop = loop

    @classmethod
    def of(cls, run: Run) -> Anchor:
        """At the start of a run."""
        return cls(PlainLoop(run, np.zeros(len(run.recipe.unit_names))))

    def gradient(self, step: int, states: Sequence[GroupState], batches: Iterable[Batch] | None = None) -> None:
        """Compute the step's gradient in plain torch, and take it."""
        self.loop.backward(step, batches)
        self.take_gradient(states)

    def update(self, step: int, states: Sequence[GroupState]) -> None:
        """Let the plain optimizer do its step, and take what it made."""
        self.loop.update(step)
        self.take_update(states)

    @torch.no_grad()
    def take_gradient(self, states: Sequence[GroupState]) -> None:
        """The plain gradient, as the loop has it."""
        gradients = self.loop.gradients()
        for state in states:
            for name, leaf in state.views(state.gradient).items():
                constant_of(leaf).copy_(gradients[name])

    @torch.no_grad()
    def take_update(self, states: Sequence[GroupState]) -> None:
        """The plain weights and what is kept beside them, as the loop has them."""
        for state in states:
            moments = [state.views(moment) for moment in state.moments]
            for name, leaf in state.views(state.weights).items():
                constant_of(leaf).copy_(self.loop.weights[name])
                for number, tensor in self._kept(state, name).items():
                    constant_of(moments[number][name]).copy_(tensor)

    def _kept(self, state: GroupState, name: str) -> dict[int, Tensor]:
        """By their number among the moments; without those of an optimizer that has not moved the parameter."""
        rule, own = state.group.rule, self.loop.state_of(name)
        found = dict(enumerate(rule.kept(own, self.loop.weights[name]))) if own and rule.keys else {}
        return found | ({len(state.moments) - 1: self.loop.averages()[name]} if state.group.averaged else {})
