"""Unbiased estimates of the terms of a power series from its values along random directions (THEORY.md section 3).

``f(w) = sum_r f_r(w)`` with ``f_r`` homogeneous of degree r; a sketch holds ``c_{j,r} = f_r(psi_j)`` for directions
``psi_j`` uniform on the unit sphere of C^n. Pure functions over arrays.
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
    """Estimate of ``||f_r||^2 = N_r E|c_{j,r}|^2``, the squared Frobenius norm of the term's symmetric tensor.

    coefficients: ``[directions, *P]``. Returns ``[*P]``.
    """
    return np.asarray(symmetric_dimension(units, degree) * np.mean(np.abs(coefficients) ** 2, axis=0))


def averaged_term(products: Array, coefficients: Array, units: int, degree: int) -> tuple[Array, Array]:
    """Mean of ``Z_{j,r} = Re(N_r h_j^r c_{j,r})`` over directions, and its standard error.

    products: ``h_j = sum_u x_u conj(psi_{j,u})``, ``[sets, directions]``. coefficients: ``[directions, *P]``.
    Returns two arrays ``[sets, *P]``. The mean is unbiased for ``f_r(x)``; the standard error is asymptotic, and infinite
    for a single direction.
    """
    directions = len(coefficients)
    flat = coefficients.reshape(directions, -1)
    powers = products**degree
    mean = (powers @ flat).real / directions
    # Re(z)^2 = (|z|^2 + Re(z^2)) / 2, so the second moment needs no array of sets x directions x P.
    second = (np.abs(powers) ** 2 @ np.abs(flat) ** 2 + (powers**2 @ flat**2).real) / (2 * directions)
    scale = symmetric_dimension(units, degree)
    if directions == 1:
        error = np.full_like(mean, np.inf)
    else:
        error = np.sqrt(np.maximum(second - mean**2, 0) / (directions - 1))
    shape = (len(products), *coefficients.shape[1:])
    return (scale * mean).reshape(shape), (scale * error).reshape(shape)


def typical_size(coefficients: Array, squared_length: Array, degree: int) -> Array:
    """Root mean square of ``f_r(x)`` over all orientations of x: ``sqrt(d^r E|c_{j,r}|^2)``, ``d = |x|^2``.

    coefficients: ``[directions, *P]``; squared_length: ``[sets]``. Returns ``[sets, *P]``.
    """
    mean_square = np.mean(np.abs(coefficients) ** 2, axis=0)
    return np.asarray(np.sqrt(np.multiply.outer(squared_length**degree, mean_square)))
