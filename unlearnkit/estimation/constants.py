"""Certified bounds over the randomness of the directions: pure functions over floats and arrays
(docs/theory.md section 4).

Every bound holds, but for a stated probability delta, for a deletion x and a probe that were chosen without looking at
the directions. Nothing here is asymptotic. These are the constants of averages over directions: of heavy-tailed samples
of bounded variance (`variance_bound`), which robust means bound (`unlearnkit.estimation.averaging`).
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import rel_entr

from unlearnkit.estimation.estimators import symmetric_dimension

Array = np.ndarray[Any, Any]

# What is tried for a part of delta: the rest goes to the other event.
SHARES = np.geomspace(1e-3, 0.9, 60)
# Roots and quantiles are moved outward by this much, relatively: far more than the error of computing them.
_MARGIN = 1e-9


def moment_ratio(units: int, degree: int) -> float:
    """``R_r = N_r^2 / N_2r``, which bounds ``E|c|^4 / (E|c|^2)^2`` for ``c = f_r(psi)``; about C(2r, r) for many units.

    For homogeneous P of degree k, ``E|P(psi)|^2 = ||P||^2 / N_k`` with the Frobenius norm of its symmetric tensor, for
    which ``||P Q|| <= ||P|| ||Q||`` (Bombieri's norm); so ``E|c|^4 = ||f_r^2||^2 / N_2r <= ||f_r||^4 / N_2r``.
    """
    return symmetric_dimension(units, degree) ** 2 / symmetric_dimension(units, 2 * degree)


def retained_share(kurtosis: float, count: int, delta: float) -> float:
    """The share ``a`` of its expectation that a mean of non-negative samples keeps, but for probability delta.

    samples: W with ``E W^2 <= K (E W)^2``. 0 when there are too few of them to say anything.

    Of all such W with mean 1, ``exp(-t W)`` has its largest expectation for W = K with probability 1/K and 0 otherwise
    (the parabola through ``exp(-t w)`` at 0 that touches it at K lies above it), so Chernoff's bound for the binomial
    holds: ``P(mean <= a) <= exp(-m KL(a/K || 1/K))``. This is never worse than one-sided Bernstein, which has
    ``1 - a = sqrt(2 K ln(1/delta) / m)`` (docs/theory.md section 4.2).
    """
    if kurtosis <= 1:
        return 1.0
    q, budget = 1 / kurtosis, math.log(1 / delta) / count

    def spare(share: float) -> float:
        p = share * q
        return float(rel_entr(p, q) + rel_entr(1 - p, 1 - q)) - budget

    if spare(0.0) <= 0:
        return 0.0
    return max(0.0, float(brentq(spare, 0, 1, xtol=1e-15)) - _MARGIN)


def variance_bound(squared_norm: Array, squared_length: Array, squared_value: Array, units: int, degree: int) -> Array:
    """An upper bound on the variance of ``Re Z``, ``Z = N_r h^r f_r(psi)``, whose mean is ``f_r(x)``.

        Var(Re Z) <= (rho |x|^(2r) ||f_r||^2 + (2 R_r - 2 - rho) f_r(x)^2) / 2,   rho = N_r prod_{i<r} (r+i)/(n+r+i)

    squared_norm: ``||f_r||^2`` or more. squared_length: ``|x|^2``. squared_value: ``f_r(x)^2`` or more. Shapes that
    broadcast. For many units rho is C(2r-1, r) = R_r / 2, so for f in general position, where ``f_r(x)`` is small, this
    is a quarter of docs/theory.md's ``R_r |x|^(2r) ||f_r||^2``; it is never more than that.

    Proof. Take |x| = 1 and write ``psi = h* x + sqrt(1-s) phi``, ``s = |h|^2``, phi uniform on the sphere across x.
    ``f_r(psi) = sum_k h*^k (1-s)^((r-k)/2) q_k(phi)`` with q_k homogeneous of degree r-k. The phase of h is uniform and
    independent, so terms of different k are orthogonal, under any weight that depends on s alone:

    1. ``||f_r||^2 = N_r E|f_r(psi)|^2 = sum_k F_k``, ``F_k = N_r E[s^k (1-s)^(r-k)] E|q_k|^2``. q_r is the number
       ``f_r(x)`` and ``N_r E[s^r] = 1``, so ``F_r = f_r(x)^2``.
    2. s has the law Beta(1, n-1), and weighted by ``s^k (1-s)^(r-k)`` the law Beta(1+k, n-1+r-k), so
       ``E|Z|^2 = N_r^2 E[s^r |f_r(psi)|^2] = sum_k rho_k F_k`` with ``rho_k = N_r prod_{i<r} (1+k+i)/(n+r+i)``, which
       rises with k from rho_0 to ``rho_r = R_r``; rho is ``rho_(r-1)``.
    3. ``E[Z^2] = N_r^2 E[h^(2r) f_r(psi)^2] = R_r f_r(x)^2``: section 3's unbiasedness for the polynomial ``f_r^2``.
    4. ``Var(Re Z) = (E|Z|^2 + Re E[Z^2]) / 2 - f_r(x)^2``. Insert 2 and 3, bound ``sum_{k<r} rho_k F_k`` by
       ``rho (||f_r||^2 - f_r(x)^2)``, and collect. (For n = 1 the last bracket is negative; 0 does for it.)
    """
    rho, extra = _variance_weights(units, degree)
    return np.asarray((rho * squared_length**degree * squared_norm + extra * squared_value) / 2)


def _variance_weights(units: int, degree: int) -> tuple[float, float]:
    factors = ((degree + i) / (units + degree + i) for i in range(degree))
    rho = symmetric_dimension(units, degree) * math.prod(factors)
    return rho, max(0.0, 2 * moment_ratio(units, degree) - 2 - rho)


def outward(epsilon: Array) -> Array:
    """A bound with room for the rounding of the arithmetic that made it, up to the next float."""
    return np.asarray(np.nextafter(epsilon * (1 + _MARGIN), np.inf))


def decimal_above(value: float, digits: int = 6) -> str:
    """The least decimal of so many significant digits that is not below the value."""
    return str(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(Decimal(value)))
