"""Series along each unit alone: exact for single units, exact diagonals for sets (THEORY.md sections 10 and 11).

Real jets along the unit vector ``e_u`` give ``c_{u,r} = f_r(e_u)`` with no sampling at all. A set x of several units
has these beside what its units do to one another: ``f_r(x) = sum_u x_u^r c_{u,r}`` plus cross terms. So a low rank,
which is worst at its diagonal, keeps its cross terms and gets this diagonal. Pure functions over arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Estimate(NamedTuple):
    """One degree's part of the change, its standard error (0: exact; NaN: not known), and where it is used."""

    value: Array  # [sets, elements], and so are the others
    error: Array
    used: Array


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

    @property
    def degree(self) -> int:
        """Highest degree of the series."""
        return int(self.coefficients.shape[1])

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
        weights, values = sets[:, self.units] ** degree, self.coefficients[:, degree - 1]
        if self.elements is None:
            return np.asarray(weights @ values)
        total = np.zeros((len(sets), elements))
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

    def methods(self, sets: Array, others: Sequence[str], *, exact: int) -> list[str]:
        """How the degrees of some sets were found, in words.

        others: what else each was found by, "" for nothing. exact: how many of the lowest that found exactly.
        """
        listed = self.listed(sets)
        if not listed.any():
            return list(others)
        alone = bool((listed & (np.count_nonzero(sets, axis=1) <= 1)).all())
        found = list(others)
        for r in range(exact, min(self.degree, len(found))):
            if alone:
                found[r] = "exact, by the unit's own series"
            elif r == 0 and self.elements is None and listed.all():
                found[r] = "exact, by the units' own series"
            elif found[r]:
                found[r] += ", and the units' own series"
            else:
                found[r] = "the units' own series, nothing between units"
        return found


def sharpened(
    solo: SoloSeries,
    sets: Array,
    estimates: Sequence[Estimate],
    *,
    elements: int,
    done: int,
    gradient: Callable[[], Array] | None,
    unbiased: bool,
) -> list[Estimate]:
    """Estimates of the degrees 1, 2, ... with what the series tell of them.

    estimates: of each degree that something else is known of. done: how many of the lowest have the series in them.
    gradient: what else is known of the first order, ``[units, elements]``; None: nothing, and it is in no estimate.
    unbiased: use diagonals without cross terms only where nothing else is known.
    """
    found = list(estimates[:done])
    for r in range(done + 1, max(solo.degree, len(estimates)) + 1):
        other = estimates[r - 1] if r <= len(estimates) else None
        if r > solo.degree and other is not None:
            found.append(other)
        elif r == 1 and other is not None and gradient is not None:
            found.append(_first_order(solo, sets, other, gradient()))
        else:
            found.append(_alone(solo, sets, r, other, elements, unbiased=unbiased))
    return found


def _first_order(solo: SoloSeries, sets: Array, other: Estimate, gradient: Array) -> Estimate:
    """Another first order whose gradient is replaced where the series know it."""
    elements = other.value.shape[1]
    error = np.where(solo.complete(sets, elements), 0.0, other.error)
    return Estimate(other.value + sets @ solo.beside(gradient, 1), error, other.used)


def _alone(
    solo: SoloSeries, sets: Array, degree: int, other: Estimate | None, elements: int, *, unbiased: bool
) -> Estimate:
    """The series alone, where they are exact, and where nothing else is used; then their error is not known."""
    nothing = np.zeros((len(sets), elements))
    value, error, used = other or Estimate(nothing, np.full_like(nothing, np.nan), nothing.astype(bool))
    exact = solo.complete(sets, elements) if degree == 1 else solo.alone(sets, elements)
    mine = exact | (solo.touched(sets, elements) & ~used & (other is None or not unbiased))
    return Estimate(
        np.where(mine, solo.diagonal(sets, degree, elements), value),
        np.where(mine, np.where(exact, 0.0, np.nan), error),
        used | mine,
    )
