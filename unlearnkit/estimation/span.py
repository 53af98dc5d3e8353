"""What is known of the degrees above one on the span of leading informed directions (docs/theory.md section 9).

Exact for what lies in the span. Of a deletion that reaches out of it the rest is left out, and so is what the two do to
one another: nothing tells how much that is. Pure functions over arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation.estimate import Estimate
from unlearnkit.estimation.lattice import lattice_shares
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Span:
    """A probe's forms on the span of some directions.

    directions: ``[p, units]``, orthonormal. values: of the degrees 2, 3, ... at the points of
    `unlearnkit.estimation.lattice`, ``[points, E]`` each.
    """

    directions: Array
    values: tuple[Array, ...]

    @property
    def degree(self) -> int:
        """It answers for the degrees 2 to this."""
        return 1 + len(self.values)

    def of(self, elements: Array) -> Span:
        """The same for some elements of the probe, in this order."""
        return Span(self.directions, tuple(values[:, elements] for values in self.values))

    def at(self, sets: Array, degree: int) -> Array:
        """The part of a degree that lies in the span, for sets ``[sets, units]``: ``[sets, E]``."""
        shares = lattice_shares(sets @ self.directions.T, degree)
        return np.asarray(shares @ self.values[degree - 2])

    def estimate(self, value: Array) -> Estimate:
        """A degree's part, whatever was added to it. Its error is not known, unless the span is everything."""
        dimensions, units = self.directions.shape
        error = np.full(value.shape, 0.0 if dimensions == units else np.nan)
        return Estimate.certain(value, f"exact on the span of {counted(dimensions, 'informed direction')}", error)
