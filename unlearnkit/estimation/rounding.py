"""How far a certified claim is off by the rounding of the numbers it is made from (docs/theory.md section 4.3).

A replay in float64 tells how far a bundle's stored numbers are from what the recipe gives. Estimates are linear in
them, so each enters with the weight that it has in the claim, and the half-width of Student's law moves by no more than
what ``|g_P|`` does. Eigenpairs need no term: a low-rank form is whatever is stored, and what it leaves out is measured
against it. Where nobody knows, as for averages, whose robust means are not linear, the answer is NaN, not zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation import student
from unlearnkit.estimation.estimate import Chance
from unlearnkit.estimation.forward import Forward
from unlearnkit.estimation.prediction import Sketch
from unlearnkit.estimation.projection import Projection
from unlearnkit.estimation.swept import Swept

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Differences:
    """The sizes of what a float64 replay finds different, of a probe with E elements; None: not replayed.

    base: ``[E]``. gradient: of reverse sweeps, ``[E, units]``. residual: the largest of any unit along any direction
    replayed, ``[E]``. coefficients: the largest along any direction replayed, by degree, ``[degree, E]``; those
    replayed, drawn at random, stand for all.
    """

    base: Array
    gradient: Array | None = None
    residual: Array | None = None
    coefficients: Array | None = None


def numeric_epsilon(sketch: Sketch, sets: Array, found: Differences, *, degree: int, chance: Chance) -> Array:
    """No less than rounding moves the ends of a certified interval of this degree: ``[sets, *P]``; NaN: not known.

    chance: of each element, which sets the interval's width; see `bound.certified_bound`.
    """
    total = np.broadcast_to(found.base, (len(sets), sketch.base.size)).copy()
    for r in range(1, degree + 1):
        source = sketch.source(r)
        if isinstance(source, Swept):
            total += _swept(source, sets, r, found, chance)
        elif isinstance(source, Forward) and r == 1 and source.slopes is None and found.coefficients is not None:
            error = np.broadcast_to(found.coefficients[0], total.shape)
            total += _projected(source.projection, sets, error, chance)
        else:
            total += np.nan
    return total.reshape(len(sets), *sketch.base.shape)


def _swept(source: Swept, sets: Array, degree: int, found: Differences, chance: Chance) -> Array:
    if degree == 1:
        return np.asarray(np.nan if found.gradient is None else np.abs(sets) @ found.gradient.T)
    if found.residual is None:
        return np.asarray(np.nan)
    measured = np.outer(np.abs(sets).sum(1), found.residual)  # of <x, M psi_j>
    return _projected(source.left_out, sets, measured, chance) / 2


def _projected(projection: Projection, sets: Array, error: Array, chance: Chance) -> Array:
    """For measurements that are off by ``error`` ``[sets, E]`` at most: of the estimate, and of the half-width."""
    coordinates, length = projection.coordinates(sets), (sets**2).sum(1)
    weights, most = projection.weights(coordinates)
    if projection.is_exact:
        return np.asarray(np.abs(weights).sum(1)[:, None] * error)
    seen, rank = (coordinates**2).sum(1), projection.rank
    estimate = student.centre(np.abs(weights).sum(1), seen, length)
    one = np.ones_like(length)
    unit = student.spread(np.zeros_like(length), seen, one, length, rank)  # of a gradient of length one across P x
    width = unit * student.quantile(chance.delta, rank, sides=chance.sides)
    return np.asarray((estimate + width * most * math.sqrt(weights.shape[1]))[:, None] * error)
