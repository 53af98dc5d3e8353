"""How far a certified claim is off by the rounding of the numbers it is made from (docs/theory.md section 4.3).

A replay in float64 tells how far a bundle's stored numbers are from what the recipe gives. Estimates are linear in
them, so each enters with the weight that it has in the claim, and the half-width of Student's law moves by no more than
what ``|g_P|`` does. Eigenpairs need no term: a low-rank form is whatever is stored, and what it leaves out is measured
against it. Where nobody knows, as for averages, whose robust means are not linear, the answer is NaN, not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation import student
from unlearnkit.estimation.alone import Alone
from unlearnkit.estimation.estimate import Chance, Source
from unlearnkit.estimation.forward import Forward
from unlearnkit.estimation.projection import Projection
from unlearnkit.estimation.swept import Swept

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Differences:
    """The sizes of what a float64 replay finds different, of a probe with E elements; None: not replayed.

    Each is the largest of its kind for each element. Of some kinds only a few members are replayed; these, drawn at
    random, stand for all.

    Attributes:
        base: ``[E]``.
        gradient: of reverse sweeps, of any unit, ``[E]``.
        residual: of any unit along any direction replayed, ``[E]``.
        coefficients: along any direction replayed, by degree, ``[degree, E]``.
        slopes: along any informed direction replayed, ``[E]``.
        solo: of the series along any unit replayed, by degree, ``[degree, E]``.
    """

    base: Array
    gradient: Array | None = None
    residual: Array | None = None
    coefficients: Array | None = None
    slopes: Array | None = None
    solo: Array | None = None

    def of(self, elements: Array) -> Differences:
        """The same for some elements of the probe, in this order."""
        names = ("gradient", "residual", "coefficients", "slopes", "solo")
        found = {name: None if (part := getattr(self, name)) is None else part[..., elements] for name in names}
        return Differences(base=self.base[elements], **found)


def numeric_epsilon(
    source: Callable[[int], Source], sets: Array, found: Differences, *, degrees: Sequence[int], chance: Chance
) -> Array:
    """No less than rounding moves the ends of a certified interval of these degrees: ``[sets, E]``; NaN: not known.

    source: what answers for a degree. chance: of each element, which sets the interval's width; see
    `bound.certified_bound`.
    """
    total = np.broadcast_to(found.base, (len(sets), len(found.base))).copy()
    for degree in degrees:
        total += _part(source(degree), sets, degree, found, chance)
    return total


def _part(source: Source, sets: Array, degree: int, found: Differences, chance: Chance) -> Array:
    """Of one degree's part; NaN where it is not known."""
    if isinstance(source, Alone):
        return _alone(source, sets, degree, found, chance)
    if isinstance(source, Swept):
        return _swept(source, sets, degree, found, chance)
    if isinstance(source, Forward) and degree == 1:
        return _first_order(source, sets, found, chance)
    return np.asarray(np.nan)


def _alone(source: Alone, sets: Array, degree: int, found: Differences, chance: Chance) -> Array:
    """Where the series are all there is, theirs; elsewhere that of what else answers."""
    other = source.other(degree)
    rest = np.asarray(np.nan) if other is None else _part(other, sets, degree, found, chance)
    if degree > source.series.degree:
        return rest
    own = np.nan if (series := _of_degree(found.solo, degree)) is None else np.outer((sets**degree).sum(1), series)
    return np.where(source.exact(sets, degree), own, rest)


def _swept(source: Swept, sets: Array, degree: int, found: Differences, chance: Chance) -> Array:
    total = np.abs(sets).sum(1)
    if degree == 1:
        return np.asarray(np.nan if found.gradient is None else np.outer(total, found.gradient))
    if degree > 2 or found.residual is None:
        return np.asarray(np.nan)
    measured = np.outer(total, found.residual)  # of <x, M psi_j>
    diagonal: Array | float = 0.0
    if source.reverse.has_diagonal:
        if (series := _of_degree(found.solo, 2)) is None:
            return np.asarray(np.nan)
        # The diagonal's other half, 2 c_{u,2}, is in what is measured too; no entry of psi is above one.
        diagonal = np.outer((sets**2).sum(1), series)
        measured = measured + 2 * np.outer(np.sqrt((sets**2).sum(1)), series)
    return np.asarray(diagonal + _projected(source.left_out, sets, measured, chance) / 2)


def _first_order(source: Forward, sets: Array, found: Differences, chance: Chance) -> Array:
    """Degree one by projection, and along informed directions where there are some."""
    projection, known = source.projection, np.zeros((len(sets), len(found.base)))
    measured: Array = np.zeros(len(found.base))
    if source.slopes is not None and projection.informed is not None:
        if found.slopes is None:
            return np.asarray(np.nan)
        known = np.outer(np.abs(sets @ projection.informed).sum(1), found.slopes)
        measured = math.sqrt(projection.informed.shape[1]) * found.slopes  # |Q'psi| is at most one
    if not projection.rank:
        return known if projection.is_exact else np.full_like(known, np.nan)
    if (coefficients := _of_degree(found.coefficients, 1)) is None:
        return np.asarray(np.nan)
    error = np.broadcast_to(coefficients + measured, known.shape)
    return known + _projected(projection, sets, error, chance)


def _of_degree(errors: Array | None, degree: int) -> Array | None:
    return None if errors is None or len(errors) < degree else errors[degree - 1]


def _projected(projection: Projection, sets: Array, error: Array, chance: Chance) -> Array:
    """For measurements that are off by ``error`` ``[sets, E]`` at most: of the estimate, and of the half-width."""
    coordinates, length = projection.coordinates(sets), (sets**2).sum(1)
    weights, most = projection.weights(coordinates)
    if projection.is_exact:
        return np.asarray(np.abs(weights).sum(1)[:, None] * error)
    if projection.informed is not None:
        length = np.maximum(length - ((sets @ projection.informed) ** 2).sum(1), 0)
    seen, rank = (coordinates**2).sum(1), projection.rank
    estimate = student.centre(np.abs(weights).sum(1), seen, length)
    one = np.ones_like(length)
    unit = student.spread(np.zeros_like(length), seen, one, length, rank)  # of a gradient of length one across P x
    width = unit * student.quantile(chance.delta, rank, sides=chance.sides)
    return np.asarray((estimate + width * most * math.sqrt(weights.shape[1]))[:, None] * error)
