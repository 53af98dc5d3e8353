"""The certified bound of one degree's part, each kind with its own law (docs/theory.md section 4).

A projection on random directions, and what a low rank leaves out, follow Student's law
(`unlearnkit.estimation.student`); averages of higher degrees are bounded by robust means. Deletions come first,
``[sets, E]``; a probe's elements are flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from unlearnkit.estimation import student
from unlearnkit.estimation.averaging import AveragingConstants, averaging_constants, pilot_variance, settled_radius
from unlearnkit.estimation.constants import moment_ratio, variance_bound
from unlearnkit.estimation.estimate import Chance, Method, Part
from unlearnkit.estimation.estimators import squared_norm, symmetric_dimension
from unlearnkit.estimation.first_order import FirstOrder
from unlearnkit.estimation.projection import Projection
from unlearnkit.estimation.reverse import ReverseSketch
from unlearnkit.estimation.robust_mean import catoni_mean, median_of_means
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]


def exact(estimate: Array, method: str) -> Part:
    """A part about which nothing is random."""
    return Part(estimate=estimate, epsilon=np.zeros_like(estimate), method=method)


def projected(first: FirstOrder, sets: Array, chance: Chance) -> Part:
    """Degree one by projection."""
    projection = first.projection
    known, _ = first.informed_part(sets)
    overlap, seen, length = first.overlap(sets)
    law = overlap, seen[:, None], (first.gradient**2).sum(0), length[:, None], projection.rank
    width = student.quantile(chance.delta, projection.rank, sides=chance.sides)
    return Part(
        estimate=known + student.centre(overlap, seen[:, None], length[:, None]),
        epsilon=width * student.spread(*law),
        method=f"projection on {projection.rank} of {projection.dimension} dimensions",
    )


def left_out(reverse: ReverseSketch, projection: Projection, sets: Array, chance: Chance) -> Part:
    """Degree two after reverse sweeps: the low-rank part exact, the rest M by Student's law.

    projection: on the directions of the residual. ``x'Mx = <v, x>`` with ``v = M x``, and ``<v, psi_j> = <x, M psi_j>``
    is what those directions measured: degree one again, with a gradient of its own for each set.
    """
    estimate, _ = reverse.second_order(sets)
    epsilon = np.zeros_like(estimate)
    coordinates, length, rank = projection.coordinates(sets), (sets**2).sum(1), projection.rank
    seen = (coordinates**2).sum(1)
    width = 0.0 if projection.is_exact else student.quantile(chance.delta, rank, sides=chance.sides)
    for element, residual in enumerate(reverse.residual_products()):
        image = projection.gradient_coordinates(residual @ sets.T)  # of v, [rank, sets]
        overlap = np.einsum("sr,rs->s", coordinates, image)
        if projection.is_exact:
            estimate[:, element] += overlap / 2
        else:
            estimate[:, element] += student.centre(overlap, seen, length) / 2
            epsilon[:, element] = width * student.spread(overlap, seen, (image**2).sum(0), length, rank) / 2
    rest = (
        "the rest exact" if projection.is_exact else f"the rest by projection on {rank} of {sets.shape[1]} dimensions"
    )
    return Part(estimate=estimate, epsilon=epsilon, method=f"{reverse.rank} eigenpairs, {rest}")


def averaged(products: Array, coefficients: Array, sets: Array, degree: int, delta: float, method: Method) -> Part:
    """A degree above one from forward directions. products: ``h``, ``[sets, m]``. coefficients: ``c_r``, ``[m, E]``."""
    units, count = sets.shape[1], len(coefficients)
    constants = averaging_constants(moment_ratio(units, degree), count, delta, method)
    lengths = (sets**2).sum(1)
    found = [
        averaged_bound(h[:, None], coefficients, float(squared), units, degree, constants)
        for h, squared in zip(products, lengths, strict=True)
    ]
    both: Array = np.array(found).reshape(len(sets), 2, -1)
    return Part(estimate=both[:, 0], epsilon=both[:, 1], method=f"{_name(method)} of {counted(count, 'direction')}")


def averaged_bound(
    h: Array, coefficients: Array, squared_length: float, units: int, degree: int, constants: AveragingConstants
) -> tuple[Array, Array]:
    """Robust mean of ``Re(N_r h^r c_r)`` and a bound on its error, each ``[*S]``.

    h, coefficients: ``[m, *S]``, or shapes that broadcast.
    """
    length = np.asarray(squared_length)
    upper = squared_norm(coefficients, units, degree) / constants.retained
    first = coefficients[: constants.pilot] if constants.pilot else coefficients
    pilot = squared_norm(first, units, degree) / constants.retained
    return robust_mean(
        float(symmetric_dimension(units, degree)) * (h**degree * coefficients).real,
        constants,
        pilot=pilot_variance(pilot, length, units, degree),
        reach=np.sqrt(upper * squared_length**degree),
        variance=lambda square: variance_bound(upper, length, square, units, degree),
    )


def robust_mean(
    samples: Array, constants: AveragingConstants, *, pilot: Array, reach: Array, variance: Callable[[Array], Array]
) -> tuple[Array, Array]:
    """A mean over the first axis and a bound on its error, each ``[*S]``.

    pilot: the variance that sets Catoni's alpha; may use the first ``constants.pilot`` samples: these are left out.
    reach: no less than the true mean's size. variance: bounds the samples' variance, from a bound on the squared mean.
    """
    alpha = constants.scale(pilot)
    if constants.method == "catoni":
        mean = catoni_mean(samples[constants.pilot :], alpha)
    else:
        mean = median_of_means(samples, constants.blocks)
    return mean, settled_radius(mean, reach, lambda square: constants.radius(variance(square), alpha))


def truncation(norm: Array, degree: int, squared_length: Array, decay: float) -> Array:
    """``sum_{r>k} ||f_r|| |x|^r`` when ``||f_r|| <= norm decay^(r-k)`` is declared: ``[sets, E]``
    (docs/theory.md section 4.4a).

    By Cauchy-Schwarz no ``|f_r(x)|`` is larger than ``||f_r|| |x|^r``. Infinite where the series does not converge.
    """
    length = np.sqrt(squared_length)
    ratio = decay * length
    with np.errstate(divide="ignore"):
        tail = np.where(ratio < 1, ratio / np.maximum(1 - ratio, 0), math.inf)
    return np.outer(length**degree * tail, norm)


def _name(method: Method) -> str:
    return {"catoni": "Catoni's mean", "median-of-means": "median of means"}[method]
