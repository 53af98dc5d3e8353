"""How large the numbers of a run are by nature: the scale that those have which are zero but for rounding.

A number may be zero by accident, or always, such as the bias of an attention layer's keys; rounding does not know, and
is as large there as elsewhere. So the scale of a weight is at least a 16th of the largest weight's of the same degree.
An element of a probe has its own size: its base, or how far it moves when the weights move, for their size, whatever is
larger; and its numbers of a degree are measured by at least a quarter of that, times how far the weights move in this
degree for their size. (Measured: honest numbers of float32 runs reach a tenth of what is then allowed.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from unlearnkit.audit.comparison import largest, wide
from unlearnkit.sketching.forward import Outcome
from unlearnkit.training.recipe import Array
from unlearnkit.training.state import constant_of

SHARE = 16
"""The scale of weights that may be zero but for rounding is at least that part of the largest."""

PROBE_SHARE = 4
"""That of probes, of their natural size."""


@dataclass(frozen=True, slots=True, eq=False)
class Natural:
    """Natural sizes, from training along a few directions.

    reach: the largest trained weight, and the largest coefficient of each degree, over weights and directions.
    moves: how far each element of a probe moves when the weights do, for their size; sizes: that, or its base if that
    is larger; by probe, ``[*P]``.
    """

    reach: tuple[float, ...]
    moves: Mapping[str, Array]
    sizes: Mapping[str, Array]

    @classmethod
    def of(cls, outcome: Outcome) -> Natural:
        """From training along random directions."""
        reach = _reach(outcome)
        per_move = reach[0] / reach[1] if reach[1] else 0.0
        moves = {n: np.abs(wide(tail[:, 0])).max(axis=0) * per_move for n, (_, tail) in outcome.probes.items()}
        sizes = {name: np.maximum(np.abs(wide(base)), moves[name]) for name, (base, _) in outcome.probes.items()}
        return cls(reach, moves, sizes)

    def along(self, outcome: Outcome) -> Natural:
        """The same sizes of probes, where training went along other directions."""
        return replace(self, reach=_reach(outcome))

    def weights(self, degree: int) -> float:
        """The least scale of weights."""
        return self._reach_of(degree) / SHARE

    def probe(self, name: str, degree: int) -> Array:
        """The least scale of a probe's numbers above degree zero, ``[*P]``."""
        return self.sizes[name] * (self._reach_of(degree) / self.reach[0] / PROBE_SHARE if self.reach[0] else 0.0)

    def _reach_of(self, degree: int) -> float:
        """As trained, or beyond that what the first degree's power says."""
        if degree < len(self.reach):
            return self.reach[degree]
        return float(self.reach[1] * (self.reach[1] / self.reach[0]) ** (degree - 1)) if self.reach[0] else 0.0


def _reach(outcome: Outcome) -> tuple[float, ...]:
    constants = [largest(constant_of(leaf).detach().cpu().numpy()) for leaf in outcome.weights.values()]
    tails = [outcome.tail(name) for name in outcome.weights]
    return (max(constants), *(max(largest(tail[:, r]) for tail in tails) for r in range(outcome.degree)))
