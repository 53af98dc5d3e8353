"""The certified bound of one prediction: each degree's part with its own law, all of them together by a union bound.

Sources: docs/theory.md section 4 (the projection law; Catoni's mean and the median of means), section 8 (reverse
sweeps: the first degree exact, the second exact but for what the low rank leaves out) and section 9 (deflated
projection). Deletions come first, ``[sets, E]``; a probe's elements are flat. Delta is split evenly over everything
that is random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation.averaging import (
    AveragingConstants,
    Method,
    averaging_constants,
    pilot_variance,
    settled_radius,
)
from unlearnkit.estimation.constants import moment_ratio, projection_constants, retained_share, variance_bound
from unlearnkit.estimation.estimators import squared_norm, symmetric_dimension
from unlearnkit.estimation.first_order import FirstOrder
from unlearnkit.estimation.projection import inner_products
from unlearnkit.estimation.reverse import ReverseSketch
from unlearnkit.estimation.robust_mean import catoni_mean, median_of_means

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One degree: ``|f_r(x) - estimate| <= epsilon`` ``[sets, E]``, and ``||f_r|| <= norm`` ``[E]``; how, in words."""

    estimate: Array
    epsilon: Array
    norm: Array
    method: str


def swept_first(reverse: ReverseSketch, sets: Array) -> Part:
    """Degree one after reverse sweeps: nothing is random."""
    estimate = reverse.first_order(sets)
    return Part(estimate, np.zeros_like(estimate), np.linalg.norm(reverse.gradient, axis=1), "exact by reverse sweeps")


def projected_first(first: FirstOrder, sets: Array, delta: float) -> Part:
    """Degree one by projection, of the unbiased estimate: an exact law. delta: of each element."""
    projection, shape = first.projection, (len(sets), -1)
    known, squared_length = first.informed_part(sets)
    known = known.reshape(shape)
    slopes = 0.0 if first.slopes is None else (first.slopes.reshape(len(first.slopes), -1) ** 2).sum(0)
    if projection.is_exact:
        value, _ = first.term(sets, None, unbiased=True)
        norm = np.sqrt(slopes + (first.gradient.reshape(projection.rank, -1) ** 2).sum(0))
        return Part(value.reshape(shape), np.zeros_like(known), norm, "exact by projection")
    kappa = projection.dimension / projection.rank
    gradient = first.gradient.reshape(projection.rank, -1)
    length = np.linalg.norm(gradient, axis=0)
    estimate = kappa * (projection.coordinates(sets) @ gradient)
    constants = projection_constants(projection.rank, projection.dimension, delta)
    epsilon = constants.shrink * np.abs(estimate) + constants.spread * np.outer(np.sqrt(squared_length), length)
    norm = np.sqrt(slopes + length**2 * kappa * (1 + constants.shrink))
    method = f"projection on {projection.rank} of {projection.dimension} dimensions"
    return Part(known + estimate, epsilon, norm, method)


def averaged(products: Array, coefficients: Array, sets: Array, degree: int, delta: float, method: Method) -> Part:
    """A degree above one from forward directions. products: ``h``, ``[sets, m]``. coefficients: ``c_r``, ``[m, E]``."""
    units, count = sets.shape[1], len(coefficients)
    constants = averaging_constants(moment_ratio(units, degree), count, delta, method)
    lengths = (sets**2).sum(1)
    found = [
        averaged_bound(h[:, None], coefficients, float(squared), units, degree, constants)
        for h, squared in zip(products, lengths, strict=True)
    ]
    estimate, epsilon = (np.stack(arrays) for arrays in zip(*found, strict=True))
    norm = np.sqrt(squared_norm(coefficients, units, degree) / constants.retained)
    return Part(estimate, epsilon, norm, f"{_name(method)} of {count} directions")


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


def swept_second(reverse: ReverseSketch, sets: Array, delta: float, method: Method) -> Part:
    """Degree two after reverse sweeps: the low-rank part exact, the rest by a robust mean (`residual_variance`).

    delta: of each element; a tenth of it for the norm.
    """
    count, units = len(reverse.residual), sets.shape[1]
    kurtosis = moment_ratio(units, 1)
    constants = averaging_constants(kurtosis, count, 0.9 * delta, method)
    estimate, _ = reverse.second_order(sets)
    epsilon = np.empty_like(estimate)
    conjugate, squared = inner_products(reverse.directions, sets).conj(), (sets**2).sum(1)
    for element, residual in enumerate(reverse.residual_products()):
        along = sets @ residual.T  # <x, M psi_j>, [sets, m]
        for i, h in enumerate(conjugate):
            mean, radius = residual_bound(h, along[i], float(squared[i]), units, constants)
            estimate[i, element] += mean / 2
            epsilon[i, element] = radius / 2
    norm = np.sqrt(_squared_frobenius(reverse, delta / 10)) / 2
    return Part(
        estimate, epsilon, norm, f"{reverse.rank} eigenpairs, {_name(method)} of {count} directions for the rest"
    )


def residual_bound(
    h: Array, along: Array, squared_length: float, units: int, constants: AveragingConstants
) -> tuple[Array, Array]:
    """Robust mean of ``n Re(conj(h) <x, M psi>)``, ``x'Mx`` on average, and a bound on its error, each ``[*S]``.

    h: ``conj(<psi_j, x>)``, along: ``<x, M psi_j>``, each ``[m, *S]``. ``n |along|^2`` is ``|Mx|^2`` on average.
    """
    length, images = np.asarray(squared_length), units * np.abs(along) ** 2
    upper = images.mean(axis=0) / constants.retained
    pilot = (images[: constants.pilot] if constants.pilot else images).mean(axis=0) / constants.retained
    general = residual_variance(pilot, length, np.zeros(()), units)
    aligned = residual_variance(pilot, length, length * pilot, units)
    return robust_mean(
        units * (h * along).real,
        constants,
        pilot=np.sqrt(general * aligned),
        reach=np.sqrt(upper * length),
        variance=lambda square: residual_variance(upper, length, square, units),
    )


def residual_variance(squared_image: Array, squared_length: Array, squared_value: Array, units: int) -> Array:
    """The variance of ``Y = n Re(conj(h) <x, M psi>)``, ``h = <psi, x>``, whose mean is ``x'Mx``, for real symmetric M.

        Var Y = (n / (2 (n+1))) (|x|^2 |Mx|^2 + 3 (x'Mx)^2) - (x'Mx)^2

    squared_image: ``|Mx|^2`` or more. squared_length: ``|x|^2``. squared_value: ``(x'Mx)^2`` or more.

    Proof. With ``v = Mx``, Y is the real part of ``Z = n (sum_a x_a conj(psi_a)) (sum_b v_b psi_b)``. The moments
    ``E conj(psi_a psi_c) psi_b psi_d = (delta_ab delta_cd + delta_ad delta_cb) / (n (n+1))`` give
    ``E|Z|^2 = n/(n+1) (|x|^2 |v|^2 + <x,v>^2)`` and ``E[Z^2] = 2 n/(n+1) <x,v>^2``; ``Var Re Z = (E|Z|^2 + E[Z^2])/2 -
    <x,v>^2``. The weight of ``<x,v>^2``, ``(n-2) / (2 (n+1))``, is negative for n = 1 alone, where 0 does for it.
    """
    weight = max(0.0, (units - 2) / (2 * (units + 1)))
    return np.asarray(units / (2 * (units + 1)) * squared_length * squared_image + weight * squared_value)


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


def _squared_frobenius(reverse: ReverseSketch, delta: float) -> Array:
    """``||H||^2`` or more: ``n E|H psi|^2``, whose samples have ``E W^2 <= R_1 (E W)^2`` (``H'H`` is not negative)."""
    units, count = reverse.gradient.shape[1], len(reverse.residual)
    retained = retained_share(moment_ratio(units, 1), count, delta)
    images = units * (np.abs(reverse.residual) ** 2).sum(-1).mean(0)
    return np.asarray(images / retained if retained else np.full_like(images, math.inf))


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
