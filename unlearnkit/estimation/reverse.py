"""Predictions from reverse sweeps: the first order exact, the next ones by low rank (docs/theory.md sections 8 and 10).

For one probe element ``f`` over ``n`` units a reverse sweep gives ``g = grad f(0)`` exactly, and products of its
Hessian ``H`` with chosen vectors, from which `unlearnkit.estimation.low_rank` makes a form ``L`` of low rank. What that
leaves out, ``x'(H - L)x``, has an unbiased estimate from directions that L knows nothing of (the idea of Hutch++:
Meyer, Musco, Musco, Woodruff 2021). Where the series along units alone are known, the forms have their exact diagonals.
Pure functions over arrays; elements first, ``[elements, ...]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.estimation.cubic import NO_CUBIC, CubicForm
from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.estimation.low_rank import quadratic_form
from unlearnkit.estimation.projection import DirectionSource, inner_products
from unlearnkit.estimation.sets import Sets, touched
from unlearnkit.estimation.solo import SoloSeries

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
    directions, complex ``[directions, E, units]``; may be empty. cubic: the third order. solo: series along units
    alone, whose second and third degrees take the diagonals' places.
    """

    gradient: Array
    vectors: Array
    values: Array
    residual: Array
    directions: DirectionSource
    cubic: CubicForm = NO_CUBIC
    solo: SoloSeries | None = None

    @property
    def rank(self) -> int:
        """Eigenpairs of each element."""
        return int(self.values.shape[1])

    @property
    def degree(self) -> int:
        """Highest degree that is answered for."""
        return 1 if not self.rank else 3 if len(self.cubic.basis) else 2

    def of(self, elements: Array) -> ReverseSketch:
        """The same for some elements of the probe."""
        return ReverseSketch(
            gradient=self.gradient[elements],
            vectors=self.vectors[elements],
            values=self.values[elements],
            residual=self.residual[:, elements],
            directions=self.directions,
            cubic=self.cubic.of(elements),
            solo=None if self.solo is None else self.solo.of(elements),
        )

    def first_order(self, sets: Sets) -> Array:
        """``f_1(x) = <g, x>``, exact: ``[sets, E]``."""
        inside, units = touched(sets)
        return np.asarray(inside @ self.gradient[:, units].T)

    def second_order(self, sets: Sets, *, unbiased: bool = False) -> tuple[Array, Array]:
        """``x'Lx / 2``, the low-rank part of ``f_2(x)``, and an estimate of what it leaves out: ``[sets, E]``.

        unbiased: with the estimate of the rest added, and the standard error of that.

        As a point prediction the low-rank part alone is better than with the unbiased residual added, which is noisier
        than it is large; so the residual only sets the scale of the error: the larger of its estimate and the standard
        error of that. Without residual directions the error is not known, and NaN; where the series of a unit is all
        there is, it is zero.
        """
        inside, units = touched(sets)
        if not len(self.residual):
            value = quadratic_form(inside, self.vectors[:, units], self.values) / 2
            return self._with_diagonal(value, sets), self._known(sets, 2, np.full_like(value, np.nan))
        value, mean, error = self._with_left_out(inside, units)
        value = self._with_diagonal(value, sets)
        if unbiased:
            exact = self._known(sets, 2, np.ones_like(value))
            return value + exact * mean / 2, exact * error / 2
        return value, self._known(sets, 2, np.maximum(np.abs(mean), error) / 2)

    def _with_diagonal(self, value: Array, sets: Sets) -> Array:
        if self._diagonal is None:
            return value
        inside, units = touched(sets)
        return np.asarray(value + inside**2 @ self._diagonal[units] / 2)

    def third_order(self, sets: Sets) -> tuple[Array, Array]:
        """The cubic form at sets ``[sets, units]``, and its error, which is not known, each ``[sets, E]``."""
        value = self.cubic.third_order(sets)
        if self.solo is not None and self.solo.degree > 2:
            value = value + sets**3 @ self.solo.beside(self.cubic.diagonal(), 3)
        return value, self._known(sets, 3, np.full_like(value, np.nan))

    def _known(self, sets: Sets, degree: int, error: Array) -> Array:
        """Zero where the series of a unit alone answers exactly."""
        if self.solo is None or self.solo.degree < degree:
            return error
        return np.where(self.solo.alone(sets, error.shape[1]), 0.0, error)

    @property
    def has_diagonal(self) -> bool:
        """Whether series along units alone take the place of the second order's diagonal."""
        return self.solo is not None and self.solo.degree > 1

    @cached_property
    def _diagonal(self) -> Array | None:
        """What ``L`` leaves out at the diagonal of each Hessian, as far as it is known: ``[units, E]``."""
        if self.solo is None or not self.has_diagonal:
            return None
        low_rank = np.einsum("euk,ek->ue", self.vectors**2, self.values)
        return 2 * self.solo.beside(low_rank / 2, 2)

    def method(self, degree: int) -> str:
        """How a degree is found, in words."""
        if degree == 1:
            return "exact, by reverse sweeps"
        form = f"{self.rank} eigenpairs" if degree == 2 else f"cubic form of rank {len(self.cubic.basis)}"
        diagonal = self.solo is not None and self.solo.degree >= degree
        return f"{form}, by reverse sweeps" + (", diagonal by series along units alone" if diagonal else "")

    def residual_products(self) -> Iterator[Array]:
        """For each element, what is left out of ``H psi``, complex ``[directions, units]``."""
        psi = self.directions.block(0, len(self.residual))
        for e, products in enumerate(self.residual.swapaxes(0, 1)):
            left = products - ((psi @ self.vectors[e]) * self.values[e]) @ self.vectors[e].T
            yield left if self._diagonal is None else left - psi * self._diagonal[:, e]

    def _with_left_out(self, sets: Sets, units: Array) -> tuple[Array, Array, Array]:
        """``x'Lx / 2``, and an unbiased estimate of what is left out of ``x'Hx`` with its standard error (asymptotic).

        sets: over those units alone that are ``units``. Each ``[sets, E]``. The estimate is the average of
        ``n Re(conj(<psi, x>) <x, M psi>)``, M what is left out of H, over directions psi uniform on the complex unit
        sphere: ``E psi psi^H = I / n``.
        """
        value, mean, error = np.empty((3, sets.shape[0], len(self.values)))
        psi, count = _real(self.directions.block(0, len(self.residual))[:, units]).T, len(self.residual)
        across = np.asarray(sets @ psi)
        for e in range(len(self.values)):
            vectors = self.vectors[e, units]
            left = _real(self.residual[:, e, units]).T - vectors @ self._inside[e]
            if self._diagonal is not None:
                left -= psi * self._diagonal[units, e, None]
            found = np.asarray(sets @ np.concatenate([vectors, left], axis=1))
            value[:, e] = found[:, : self.rank] ** 2 @ self.values[e] / 2
            samples = self.directions.units * (found[:, self.rank :] * across).reshape(-1, 2, count).sum(1)
            mean[:, e] = samples.mean(1)
            error[:, e] = samples.std(1, ddof=1) / np.sqrt(count) if count > 1 else np.inf
        return value, mean, error

    @cached_property
    def _inside(self) -> Array:
        """What ``L`` makes of the directions, ``diag(values) V' psi``, real parts first: ``[E, k, 2 directions]``."""
        psi = _real(self.directions.block(0, len(self.residual))).T
        return np.stack([w[:, None] * (v.T @ psi) for v, w in zip(self.vectors, self.values, strict=True)])


def _real(array: Array) -> Array:
    """Complex rows as twice as many real ones, the real parts first."""
    return np.concatenate([array.real, array.imag])
