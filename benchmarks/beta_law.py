"""The bounds that Student's law replaced, to compare widths with: two events instead of one, and robust means.

Degree one by projection was bounded by a quantile of ``|g_P|^2 / |g|^2``, a Beta variable, and one of the direction of
what is not seen; what a low rank leaves out by Catoni's mean of the products with residual directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaincc, betainccinv

from unlearnkit.estimation.averaging import AveragingConstants
from unlearnkit.estimation.certified import robust_mean
from unlearnkit.estimation.constants import SHARES

Array = np.ndarray[Any, Any]

_MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class ProjectionConstants:
    """``|error| <= shrink |estimate| + spread |g_P| |x|``."""

    shrink: float
    spread: float


@lru_cache(maxsize=1024)
def projection_constants(rank: int, dimension: int, delta: float) -> ProjectionConstants:
    """The exact law of degree one: how far ``kappa <g_P, x>`` is from ``<g, x>``, ``kappa = n/p``.

    g_P: the projection of g on a uniformly random p-dimensional subspace of R^n, which 2m random complex directions
    span. rank: p. dimension: n. Then ``P g = beta g + sqrt(beta (1-beta)) |g| v`` with
    ``beta = |g_P|^2 / |g|^2 ~ Beta(p/2, (n-p)/2)`` and v, given beta, uniform on the unit sphere across g. For g,

        <g, x> = estimate / (kappa beta) - (sqrt(1-beta) / beta) |g_P| <v, x>,

    and ``<v, x>^2 <= q |x|^2``, q the quantile of Beta(1/2, (n-2)/2) at 1 - d2. Of all intervals with
    ``beta in [lo, hi]`` but for d1 the one is taken for which both ends move the estimate by one share, ``shrink``;
    of all splits ``d1 + d2 = delta`` the one with the least ``spread = sqrt(1-lo) / lo * sqrt(q)``.
    Source: docs/theory.md section 4.1.
    """
    if rank >= dimension:
        return ProjectionConstants(0.0, 0.0)
    choices = (_projection_constants(rank, dimension, delta * s, delta * (1 - s)) for s in SHARES)
    return min(choices, key=lambda constants: constants.spread)


def _projection_constants(rank: int, dimension: int, beta_delta: float, direction_delta: float) -> ProjectionConstants:
    a, b, kappa = rank / 2, (dimension - rank) / 2, dimension / rank

    def missed(shrink: float) -> float:
        low, high = 1 / (kappa * (1 + shrink)), 1 / max(kappa * (1 - shrink), 1)
        return float(betainc(a, b, low) + betaincc(a, b, high)) - beta_delta

    largest = 1.0
    while missed(largest) > 0:
        largest *= 2
    shrink = float(brentq(missed, 0, largest, xtol=1e-15, rtol=1e-13)) * (1 + _MARGIN)
    low = 1 / (kappa * (1 + shrink))
    quantile = betainccinv(0.5, (dimension - 2) / 2, direction_delta) if dimension > 2 else 1.0
    spread = math.sqrt((1 - low) * quantile) / low
    return ProjectionConstants(shrink, spread * (1 + _MARGIN))


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
