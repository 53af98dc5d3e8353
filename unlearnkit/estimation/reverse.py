"""Predictions from reverse sweeps: the first order exact, the second by low rank (docs/theory.md section 8).

For one probe element ``f`` over ``n`` units a reverse sweep gives ``g = grad f(0)`` exactly, and products of its
Hessian ``H`` with chosen vectors, from which `unlearnkit.estimation.low_rank` makes a form ``L`` of low rank. What that
leaves out, ``x'(H - L)x``, has an unbiased estimate from directions that L knows nothing of (the idea of Hutch++:
Meyer, Musco, Musco, Woodruff 2021). Pure functions over arrays; elements first, ``[elements, ...]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.estimation.low_rank import quadratic_form
from unlearnkit.estimation.projection import DirectionSource, inner_products

Array = np.ndarray[Any, Any]


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
class ReverseSketch:
    """What reverse sweeps found out about a probe with ``E`` elements.

    gradient: ``[E, units]``. vectors and values: eigenpairs of the low-rank form ``L`` of each Hessian,
    ``[E, units, k]`` and ``[E, k]``; k = 0: first order alone. residual: ``H psi`` along independent random
    directions, complex
    ``[directions, E, units]``; may be empty.
    """

    gradient: Array
    vectors: Array
    values: Array
    residual: Array
    directions: DirectionSource

    @property
    def rank(self) -> int:
        """Eigenpairs of each element."""
        return int(self.values.shape[1])

    def first_order(self, sets: Array) -> Array:
        """``f_1(x) = <g, x>``, exact: ``[sets, E]``."""
        return np.asarray(sets @ self.gradient.T)

    def second_order(self, sets: Array, *, unbiased: bool = False) -> tuple[Array, Array]:
        """``x'Lx / 2``, the low-rank part of ``f_2(x)``, and an estimate of what it leaves out: ``[sets, E]``.

        unbiased: with the estimate of the rest added, and the standard error of that.

        As a point prediction the low-rank part alone is better than with the unbiased residual added, which is noisier
        than it is large; so the residual only sets the scale of the error: the larger of its estimate and the standard
        error of that. Without residual directions the error is not known, and NaN.
        """
        value = quadratic_form(sets, self.vectors, self.values) / 2
        if not len(self.residual):
            return value, np.full_like(value, np.nan)
        mean, error = self._left_out(sets)
        if unbiased:
            return value + mean / 2, error / 2
        return value, np.maximum(np.abs(mean), error) / 2

    def residual_products(self) -> Iterator[Array]:
        """For each element, ``(H - L) psi`` along the directions, complex ``[directions, units]``."""
        psi = self.directions.block(0, len(self.residual))
        for v, weights, products in zip(self.vectors, self.values, self.residual.swapaxes(0, 1), strict=True):
            yield products - ((psi @ v) * weights) @ v.T

    def _left_out(self, sets: Array) -> tuple[Array, Array]:
        """Unbiased estimate of ``x'(H - L)x`` and its standard error (asymptotic), each ``[sets, E]``.

        The average of ``n Re(conj(<psi, x>) <x, (H - L) psi>)`` over directions psi uniform on the complex unit sphere:
        ``E psi psi^H = I / n``.
        """
        mean = np.empty((len(sets), len(self.values)))
        error = np.empty_like(mean)
        conjugate = inner_products(self.directions, sets).conj()
        for element, products in enumerate(self.residual_products()):
            samples = self.directions.units * (conjugate * (sets @ products.T)).real
            mean[:, element] = samples.mean(1)
            count = samples.shape[1]
            error[:, element] = samples.std(1, ddof=1) / np.sqrt(count) if count > 1 else np.inf
        return mean, error
