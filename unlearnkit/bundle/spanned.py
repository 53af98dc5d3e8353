"""What degrees above one on the span of informed directions add to a correction (docs/theory.md sections 9 and 14).

With x for everybody who leaves and P the projection on the span, that is ``f_r(P x)``; of a unit that has a series of
its own, which says more, without ``f_r(P e_u)``: for such units the span tells what they do to one another. Everything
is added in a fixed order, so that every machine finds the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.bundle.informed import InformedSlopes
from unlearnkit.estimation.correction import Taken, take
from unlearnkit.estimation.lattice import lattice_shares

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Added:
    """A change of each weight; none where it grows from degree to degree."""

    change: Mapping[str, Array]
    grows: bool = False


@dataclass(frozen=True)
class Spanned:
    """The degrees 2 to ``degree`` on the span, for units at some positions.

    alone: those with series of their own to ``alone_degree``. others: those without.
    """

    informed: InformedSlopes
    alone: Sequence[int]
    others: Sequence[int]
    alone_degree: int
    degree: int

    def added(self, first: Mapping[str, Array]) -> Added | None:
        """What it adds to the first order of all units, ``first``; None where there is nothing.

        Nothing is added where it grows from degree to degree, or would for units without series at their length.
        """
        shares = [self._shares(degree) for degree in range(2, self.degree + 1)]
        if not any(share.any() for share in shares):
            return None
        higher = [self._combined(share, degree) for degree, share in enumerate(shares, start=2)]
        inside = self._inside
        if take(_series([first, *higher]), self.degree).by_coordinate or (inside is not None and inside.by_coordinate):
            return Added({}, grows=True)
        return Added({name: sum((term[name] for term in higher), np.zeros_like(first[name])) for name in first})

    @property
    def ratio(self) -> float:
        """From degree to degree, of units without series: as measured in the span, for the length that they have."""
        return math.nan if self._inside is None else math.sqrt(len(self.others)) * self._inside.ratio

    @cached_property
    def _inside(self) -> Taken | None:
        """The series in the span for a deletion of length one like that of units without series of their own."""
        inside = self._coordinates(self.others)
        length = math.sqrt(math.fsum(value * value for value in inside.tolist()))
        if not length:
            return None
        unit = inside / length
        terms = [_weighted(unit, {n: slopes[: self.informed.leading] for n, slopes in self.informed.weights.items()})]
        terms += [self._combined(lattice_shares(unit[None], r)[0], r) for r in range(2, self.degree + 1)]
        return take(_series(terms), self.degree)

    def _shares(self, degree: int) -> Array:
        """How much the form of a degree at each point counts."""
        shares: Array = lattice_shares(self._coordinates([*self.alone, *self.others])[None], degree)[0]
        if degree <= self.alone_degree:
            for position in self.alone:
                shares = shares - lattice_shares(self._coordinates([position])[None], degree)[0]
        return shares

    def _coordinates(self, positions: Sequence[int]) -> Array:
        """Of some units together, along the leading directions."""
        inside = self.informed.directions[: self.informed.leading]
        along: Array = np.zeros(len(inside))
        for position in sorted(positions):
            along += inside[:, position]
        return along

    def _combined(self, shares: Array, degree: int) -> dict[str, Array]:
        return _weighted(shares, self.informed.weight_forms[degree - 2])


def _series(terms: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([term[name] for term in terms]) for name in terms[0]}


def _weighted(shares: Array, moved: Mapping[str, Array]) -> dict[str, Array]:
    """Sums of each weight's rows, one after another."""
    found = {}
    for name, rows in moved.items():
        found[name] = np.zeros(rows.shape[1:])
        for share, row in zip(shares.tolist(), rows, strict=True):
            if share:
                found[name] = found[name] + share * row.astype(np.float64)
    return found
