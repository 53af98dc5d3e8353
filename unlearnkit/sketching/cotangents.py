"""Cotangents of weights and moments on their way back through the steps of a run, in the rows that a step touches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from unlearnkit.sketching.trajectory import Moment
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.products import LEAD
from unlearnkit.training.state import GroupState, Leaf, constant_of, empty_like


@dataclass(eq=False)
class Cotangents:
    """Cotangents of one parameter group, flat: ``[elements, P]``, with tails ``[*lead, elements, P]``.

    state: whose parameters they are of.
    """

    state: GroupState
    weights: Leaf
    moments: list[Leaf]
    gradient: Leaf

    @cached_property
    def places(self) -> dict[str, Leaf]:
        """Those of the weights by parameter, as views; of one element alone without its dimension."""
        return self.state.views(alone(self.weights))

    @cached_property
    def gradients(self) -> dict[str, Leaf]:
        """Those of the gradient, likewise."""
        return self.state.views(alone(self.gradient))


def alone(leaf: Leaf) -> Leaf:
    """What is of ``[elements, P]``, or of ``[P]`` where it is of one element, without copying."""
    if constant_of(leaf).shape[0] > 1:
        return leaf
    return Jet(leaf.constant[0], leaf.tail.select(LEAD, 0)) if isinstance(leaf, Jet) else leaf[0]


def narrowed(moment: Moment, states: list[GroupState], cotangents: list[Cotangents]) -> list[Cotangents]:
    """The cotangents in the rows that a step touches; where it has no tables, themselves. states: whole ones."""
    if not moment.rows.of:
        return cotangents
    narrow = []
    for state, own, cotangent in zip(states, moment.states, cotangents, strict=True):
        weights, *moments = (moment.rows.take(state, leaf) for leaf in (cotangent.weights, *cotangent.moments))
        narrow.append(Cotangents(own, weights, moments, empty_like(weights)))
    return narrow


def widen(moment: Moment, states: list[GroupState], cotangents: list[Cotangents], narrow: list[Cotangents]) -> None:
    """Write narrow cotangents back."""
    if not moment.rows.of:
        return
    for state, whole, found in zip(states, cotangents, narrow, strict=True):
        for target, source in zip([whole.weights, *whole.moments], [found.weights, *found.moments], strict=True):
            moment.rows.put(state, target, source)


def hold(cotangent: Cotangents, held: Tensor) -> None:
    """Nothing goes back through gradients that are held fixed, nor through the moments that they made."""
    for leaf in (cotangent.gradient, *cotangent.moments):
        for tensor in (leaf.constant, leaf.tail) if isinstance(leaf, Jet) else (leaf,):
            tensor.masked_fill_(held, 0)
