"""Estimates of the terms of a power series from its values along random directions, and their errors.

``f(w) = sum_r f_r(w)`` with ``f_r`` homogeneous of degree r; a sketch holds ``c_{j,r} = f_r(psi_j)`` for m directions
``psi_j``, independent and uniform on the unit sphere of C^n (docs/theory.md sections 2 and 3). Pure functions over
arrays.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def symmetric_dimension(units: int, degree: int) -> int:
    """``N_r = C(n+r-1, r)``, the dimension of the homogeneous polynomials of degree r in n variables."""
    return math.comb(units + degree - 1, degree)


def squared_norm(coefficients: Array, units: int, degree: int) -> Array:
    """Unbiased estimate of ``||f_r||^2 = N_r E|c_{j,r}|^2``, the squared Frobenius norm of the term's symmetric tensor.

    coefficients: one degree's, ``[directions, *P]``. Returns ``[*P]``. Source: docs/theory.md section 3.
    """
    return np.asarray(float(symmetric_dimension(units, degree)) * np.mean(np.abs(coefficients) ** 2, axis=0))


def averaged_term(products: Array, coefficients: Array, units: int, degree: int) -> tuple[Array, Array]:
    """Mean of ``Z_{j,r} = Re(N_r h_j^r c_{j,r})`` over the directions, and its standard error
    (docs/theory.md section 3).

    products: ``h_j = sum_u x_u conj(psi_{j,u})``, ``[sets, directions]``. coefficients: one degree's,
    ``[directions, *P]``. Returns two arrays ``[sets, *P]``. The mean is unbiased for ``f_r(x)``; the standard error,
    ``std(Z) / sqrt(m)``, is asymptotic, and infinite for a single direction.
    """
    directions = len(coefficients)
    flat = coefficients.reshape(directions, -1)
    powers = products**degree
    mean = (powers @ flat).real / directions
    # Re(z)^2 = (|z|^2 + Re(z^2)) / 2, so the second moment needs no array of sets x directions x P.
    second = (np.abs(powers) ** 2 @ np.abs(flat) ** 2 + (powers**2 @ flat**2).real) / (2 * directions)
    if directions == 1:
        error = np.full_like(mean, np.inf)
    else:
        error = np.sqrt(np.maximum(second - mean**2, 0) / (directions - 1))
    scale = float(symmetric_dimension(units, degree))
    shape = (len(products), *coefficients.shape[1:])
    return (scale * mean).reshape(shape), (scale * error).reshape(shape)


def minimum_norm_error(squared_gradient: Array, unseen: Array, rank: int) -> Array:
    """Standard error of the minimum-norm ``<g_P, x>`` as a prediction of ``<g, x>`` (docs/theory.md section 3).

    What the directions do not see of g has squared norm about ``|g_P|^2 (n-p)/p`` and, when nothing is known of g, a
    uniformly random direction in the n - p dimensions left, so the error has variance ``|g_P|^2 |x - P x|^2 / p``.
    For an x that is better aligned with g than a random one is, this is too small: there the estimate falls short.

    squared_gradient: ``|g_P|^2``, ``[*P]``. unseen: ``|x - P x|^2``, ``[sets]``. rank: ``p``, as a rule 2m.
    Returns ``[sets, *P]``.
    """
    return np.asarray(np.sqrt(np.multiply.outer(unseen, squared_gradient) / rank))


def unbiased_error(value: Array, squared_gradient: Array, squared_length: Array, rank: int, units: int) -> Array:
    """Standard error of the unbiased ``kappa <g_P, x>``, ``kappa = n/p``: `projection_variance` with estimates put in.

    value: the estimates, ``[sets, *P]``. squared_gradient: ``|g_P|^2``, ``[*P]``. squared_length: ``|x|^2``,
    ``[sets]``. Returns ``[sets, *P]``.
    """
    norm = np.maximum(units / rank * squared_gradient, np.finfo(float).tiny)
    length = squared_length.reshape(-1, *(1,) * (value.ndim - 1))
    along = np.minimum(value**2 / norm, length)
    return np.asarray(np.sqrt(projection_variance(norm, along, length - along, rank, units)))


def projection_variance(norm: Array, along: Array, across: Array, rank: int, units: int) -> Array:
    """``Var(kappa <P g, x>)`` over uniformly random subspaces of p of n dimensions, ``kappa = n/p``; exact.

    ``beta = |P g|^2 / |g|^2 ~ Beta(p/2, (n-p)/2)``, and P g leaves the line of g in a uniformly random direction, so

        kappa^2 |g|^2 (a^2 Var(beta) + b^2 E[beta (1-beta)] / (n-1)),
        Var(beta) = 2 p (n-p) / (n^2 (n+2)),   E[beta (1-beta)] = p (n-p) / (n (n+2)).

    norm: ``|g|^2``; along and across: ``a^2`` and ``b^2``, the squared parts of x along g and across it; shapes that
    broadcast. Source: docs/theory.md sections 3 and 4.1.
    """
    n, p = units, rank
    beta_variance = 2 * p * (n - p) / (n**2 * (n + 2))
    leaving = p * (n - p) / (n * (n + 2)) / (n - 1)
    return np.asarray((n / p) ** 2 * norm * (along * beta_variance + across * leaving))
