"""Series along each unit alone: exact for single units, exact diagonals for sets (docs/theory.md sections 10 and 11).

Real jets along the unit vector ``e_u`` give ``c_{u,r} = f_r(e_u)`` with no sampling at all. A set x of several units
has these beside what its units do to one another: ``f_r(x) = sum_u x_u^r c_{u,r}`` plus cross terms. So a low rank,
which is worst at its diagonal, keeps its cross terms and gets this diagonal. Pure functions over arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class SoloSeries:
    """What series along some units alone tell of a probe with ``E`` elements.

    units: positions ``[count]``, increasing. coefficients: ``c_{u,r}``, ``[count, degree, E]``.
    elements: for a probe with one element a unit, of which only each unit's own is known: which one that is,
    ``[count]``; coefficients are ``[count, degree]`` then.
    """

    units: Array
    coefficients: Array
    elements: Array | None = None

    @classmethod
    def none(cls, elements: int) -> SoloSeries:
        """Those of nobody."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, 0, elements)))

    @property
    def degree(self) -> int:
        """Highest degree of the series."""
        return int(self.coefficients.shape[1])

    def among(self, sets: Array) -> SoloSeries:
        """Those of the units that are in any of some sets."""
        rows = sets[:, self.units].any(axis=0)
        elements = None if self.elements is None else self.elements[rows]
        return SoloSeries(self.units[rows], self.coefficients[rows], elements)

    def of(self, elements: Array) -> SoloSeries:
        """The same for some elements of the probe, in this order."""
        if self.elements is None:
            return SoloSeries(self.units, self.coefficients[:, :, elements])
        place = {int(element): i for i, element in enumerate(elements)}
        rows = [row for row, element in enumerate(self.elements) if int(element) in place]
        places = np.array([place[int(self.elements[row])] for row in rows], dtype=np.int64)
        return SoloSeries(self.units[rows], self.coefficients[rows], places)

    def diagonal(self, sets: Array, degree: int, elements: int) -> Array:
        """``sum_u x_u^r c_{u,r}`` for sets ``[sets, units]``, as far as it is known: ``[sets, elements]``."""
        return self._spread(sets[:, self.units] ** degree, self.coefficients[:, degree - 1], elements)

    def instead(self, form: Array, sets: Array, degree: int) -> Array:
        """What a degree's diagonal changes for sets, where another estimate has ``form`` ``[count, E]`` on it."""
        there = form if self.elements is None else form[np.arange(len(form)), self.elements]
        left = self.coefficients[:, degree - 1] - there
        return self._spread(sets[:, self.units] ** degree, left, form.shape[1])

    def _spread(self, weights: Array, values: Array, elements: int) -> Array:
        """Weighted sums ``[sets, elements]`` of one value for each unit, or of one in each unit's own element."""
        if self.elements is None:
            return np.asarray(weights @ values)
        total = np.zeros((len(weights), elements))
        total[:, self.elements] = weights * values
        return total

    def beside(self, form: Array, degree: int) -> Array:
        """What another estimate of a degree, with values ``form`` at the unit vectors, leaves out there.

        Both are ``[units, elements]``; zero where it is not known.
        """
        left, values = np.zeros_like(form), self.coefficients[:, degree - 1]
        places = (self.units,) if self.elements is None else (self.units, self.elements)
        left[places] = values - form[places]
        return left

    def listed(self, sets: Array) -> Array:
        """Whether all units of a set have a series, ``[sets]``."""
        return np.asarray(np.count_nonzero(sets[:, self.units], axis=1) == np.count_nonzero(sets, axis=1))

    def complete(self, sets: Array, elements: int) -> Array:
        """Where the first order is exact, ``[sets, elements]``."""
        return self.touched(sets, elements) if self.elements is None else self.alone(sets, elements)

    def alone(self, sets: Array, elements: int) -> Array:
        """Where every degree is exact, for there are no cross terms: ``[sets, elements]``."""
        single = np.count_nonzero(sets, axis=1) <= 1
        return np.asarray(self.touched(sets, elements) & single[:, None])

    def touched(self, sets: Array, elements: int) -> Array:
        """Where the series say something: ``[sets, elements]``."""
        if self.elements is None:
            return np.repeat(self.listed(sets)[:, None], elements, axis=1)
        found = np.zeros((len(sets), elements), dtype=bool)
        found[:, self.elements] = sets[:, self.units] != 0
        return found
