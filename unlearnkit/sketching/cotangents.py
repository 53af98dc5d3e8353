"""Cotangents of weights and moments on their way back through the steps of a run, in the rows that a step touches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unlearnkit.sketching.trajectory import Moment
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.state import GroupState, Leaf, empty_like


@dataclass(eq=False)
class Cotangents:
    """Cotangents of one parameter group, flat: ``[elements, P]``, with tails ``[*lead, elements, P]``."""

    weights: Leaf
    moments: list[Leaf]
    gradient: Leaf


def narrowed(moment: Moment, states: list[GroupState], cotangents: list[Cotangents]) -> list[Cotangents]:
    """The cotangents in the rows that a step touches; where it has no tables, themselves. states: whole ones."""
    if not moment.rows.of:
        return cotangents
    narrow = []
    for state, cotangent in zip(states, cotangents, strict=True):
        weights, *moments = (moment.rows.take(state, leaf) for leaf in (cotangent.weights, *cotangent.moments))
        narrow.append(Cotangents(weights, moments, empty_like(weights)))
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
