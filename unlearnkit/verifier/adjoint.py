"""Predictions from reverse sweeps: the first order exact, the second by low rank (THEORY.md section 8).

For one probe element ``f`` over ``n`` units a reverse sweep gives ``g = grad f(0)`` exactly, and products of its
Hessian ``H`` with chosen vectors. With ``Q`` an orthonormal basis of (most of) H's range and ``B = H Q``,

    x'Hx = 2 x'Q B'x - x'Q (Q'B) Q'x + x_perp' H x_perp,   x_perp = (I - Q Q') x,

and the last term has an unbiased estimate from directions that did not build Q (Hutch++: Meyer, Musco, Musco, Woodruff
2021). Pure functions over arrays; elements first, ``[elements, ...]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.verifier.estimators import symmetric_dimension
from unlearnkit.verifier.projection import DirectionSource, inner_products

Array = np.ndarray[Any, Any]


def range_basis(products: Array) -> Array:
    """Orthonormal bases ``[elements, units, rank]`` of the ranges of ``H V``, given as ``[elements, units, rank]``."""
    return np.asarray(np.linalg.qr(products.astype(np.float64)).Q)


def low_rank_form(sets: Array, basis: Array, product: Array) -> Array:
    """``x'Hx`` up to ``x_perp' H x_perp``, for sets ``[sets, units]``. Returns ``[sets, elements]``."""
    result = np.empty((len(sets), len(basis)))
    for element, (q, b) in enumerate(zip(basis, product, strict=True)):
        inside = sets @ q
        core = q.T @ b
        result[:, element] = 2 * (inside * (sets @ b)).sum(1) - np.einsum("si,ij,sj->s", inside, core, inside)
    return result


def residual_form(sets: Array, basis: Array, source: DirectionSource, products: Array) -> tuple[Array, Array]:
    """Unbiased estimate of ``x_perp' H x_perp`` and its standard error (asymptotic), each ``[sets, elements]``.

    The average of ``n Re(conj(<psi, x_perp>) <x_perp, H psi>)`` over directions psi uniform on the complex unit sphere:
    ``E psi psi^H = I / n``. source: directions that did not build the basis. products: ``H psi``, complex
    ``[directions, elements, units]``.
    """
    mean = np.empty((len(sets), len(basis)))
    error = np.empty_like(mean)
    for element, q in enumerate(basis):
        outside = sets - (sets @ q) @ q.T
        values = source.units * (inner_products(source, outside).conj() * (outside @ products[:, element].T)).real
        mean[:, element] = values.mean(1)
        error[:, element] = values.std(1, ddof=1) / np.sqrt(len(products)) if len(products) > 1 else np.inf
    return mean, error


def averaged_term_by_gradients(sets: Array, source: DirectionSource, gradients: Array, degree: int) -> Array:
    """``W_{j,r} = (1/r) N_{r-1} h_j^(r-1) <x, grad f_r(psi_j)>``, whose mean over directions is exactly ``f_r(x)``.

    gradients: ``grad f_r(psi_j)``, complex ``[directions, elements, units]``. Returns the real parts of all of them,
    ``[sets, directions, elements]``.
    """
    weights = inner_products(source, sets).conj() ** (degree - 1)
    along = np.einsum("su,jeu->sje", sets, gradients)
    scale = symmetric_dimension(source.units, degree - 1) / degree
    return np.asarray(scale * (weights[:, :, None] * along).real)


@dataclass(frozen=True, eq=False)
class AdjointSketch:
    """What reverse sweeps found out about a probe with ``E`` elements.

    gradient: ``[E, units]``. basis and product: ``Q`` and ``H Q``, ``[E, units, rank]``; rank 0: first order alone.
    residual: ``H psi`` along independent random directions, complex ``[directions, E, units]``; may be empty.
    """

    gradient: Array
    basis: Array
    product: Array
    residual: Array
    directions: DirectionSource

    @property
    def rank(self) -> int:
        """Columns of the basis."""
        return int(self.basis.shape[2])

    def first_order(self, sets: Array) -> Array:
        """``f_1(x) = <g, x>``, exact: ``[sets, E]``."""
        return np.asarray(sets @ self.gradient.T)

    def second_order(self, sets: Array, *, unbiased: bool = False) -> tuple[Array, Array]:
        """The low-rank part of ``f_2(x) = x'Hx / 2``, and an estimate of the size of what it leaves out: ``[sets, E]``.

        unbiased: with the estimate of the rest added, and the standard error of that.

        As a point prediction the low-rank part alone is better than with the unbiased residual added, which is noisier
        than it is large; so the residual only sets the scale of the error: the larger of its estimate and the standard
        error of that. Without residual directions the error is not known, and NaN.
        """
        value = low_rank_form(sets, self.basis, self.product) / 2
        if not len(self.residual):
            return value, np.full_like(value, np.nan)
        mean, error = residual_form(sets, self.basis, self.directions, self.residual)
        if unbiased:
            return value + mean / 2, error / 2
        return value, np.maximum(np.abs(mean), error) / 2
