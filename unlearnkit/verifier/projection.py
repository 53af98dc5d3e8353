"""Degree one by projection instead of averaging (THEORY.md section 3, "Degree one").

``c_{j,1} = <g, psi_j>`` with ``g = grad f(0)`` real, so m complex directions are 2m exact real measurements
``y = A g``, ``A = [Re Psi; Im Psi]`` (2m x n), and ``g_P = A^+ y`` is the projection of g on the rows of A.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import scipy.linalg

Array = np.ndarray[Any, Any]

# Numbers in a block of directions: 64 MiB of complex128.
_BLOCK_ELEMENTS = 1 << 22
# Eigenvalues of the Gram matrix below this share of the largest carry rounding only.
_CUT = 1e-12


class DirectionSource(Protocol):
    """Directions that are made, or read, block by block."""

    @property
    def count(self) -> int:
        """Number of directions m."""
        ...

    @property
    def units(self) -> int:
        """Number of units n."""
        ...

    def block(self, first: int, last: int) -> Array:
        """Directions ``first`` up to but not including ``last``: complex ``[last - first, units]``."""
        ...


def blocks(source: DirectionSource) -> Iterator[tuple[int, int, Array]]:
    """All directions, a bounded number at a time, with their positions."""
    size = max(1, _BLOCK_ELEMENTS // source.units)
    for first in range(0, source.count, size):
        last = min(first + size, source.count)
        yield first, last, source.block(first, last)


def inner_products(source: DirectionSource, x: Array) -> Array:
    """``sum_u psi_{j,u} x_u`` for real ``x`` ``[sets, units]``: complex ``[sets, directions]``."""
    return np.concatenate([x @ psi.T for _, _, psi in blocks(source)], axis=1)


class Projection:
    """The projection on the span of the directions; factored once, used for every probe."""

    def __init__(self, source: DirectionSource) -> None:
        self.source = source
        self.measurements = 2 * source.count
        self._inverse = _pseudo_inverse(self._gram_of_units() if self.is_exact else self._gram_of_measurements())

    @property
    def is_exact(self) -> bool:
        """Whether there are at least as many real measurements as units, so that ``g_P = g``."""
        return self.measurements >= self.source.units

    def _gram_of_units(self) -> Array:
        total = np.zeros((self.source.units, self.source.units))
        for _, _, psi in blocks(self.source):
            total += (psi.conj().T @ psi).real
        return total

    def _gram_of_measurements(self) -> Array:
        count = self.source.count
        gram = np.empty((2, count, 2, count))
        for first, last, psi in blocks(self.source):
            rows = (psi.real, psi.imag)
            for other_first, other_last, other in blocks(self.source):
                for i, part in enumerate(rows):
                    for j, other_part in enumerate((other.real, other.imag)):
                        gram[i, first:last, j, other_first:other_last] = part @ other_part.T
        return gram.reshape(2 * count, 2 * count)

    def gradient(self, coefficients: Array) -> Array:
        """``g_P``, the minimum-norm gradient that explains the degree-one coefficients.

        coefficients: ``[directions, *P]`` complex. Returns real ``[units, *P]``.
        """
        flat = coefficients.reshape(len(coefficients), -1)
        if self.is_exact:
            result = self._inverse @ self._back(flat)
        else:
            solved = self._inverse @ np.concatenate([flat.real, flat.imag])
            result = self._back(solved[: len(flat)] + 1j * solved[len(flat) :])
        return result.reshape(-1, *coefficients.shape[1:])

    def _back(self, values: Array) -> Array:
        """``A' [Re v; Im v] = Re(Psi^H v)`` for complex ``v`` ``[directions, p]``."""
        total = np.zeros((self.source.units, values.shape[1]))
        for first, last, psi in blocks(self.source):
            total += (psi.conj().T @ values[first:last]).real
        return total

    def seen_length(self, products: Array) -> Array:
        """``|P x|^2`` from ``sum_u psi_{j,u} x_u`` ``[sets, directions]``. Returns ``[sets]``; not needed when exact."""
        measured = np.concatenate([products.real, products.imag], axis=1)
        return np.asarray(np.einsum("si,ij,sj->s", measured, self._inverse, measured, optimize=True))


def _pseudo_inverse(gram: Array) -> Array:
    values, vectors = scipy.linalg.eigh(gram, driver="evd")
    kept = values > _CUT * values[-1]
    return np.asarray((vectors[:, kept] / values[kept]) @ vectors[:, kept].T)


def minimum_norm_error(gradient: Array, squared_length: Array, seen: Array, measurements: int) -> Array:
    """Standard error of ``<g_P, x>`` as a prediction of ``<g, x>``.

    What is not seen, ``g - g_P``, has squared norm about ``|g_P|^2 (n-2m)/(2m)`` and a uniformly random direction in the
    ``n - 2m`` dimensions left, so the error has variance ``|g_P|^2 |x - P x|^2 / (2m)``.

    gradient: ``[units, *P]``; squared_length ``|x|^2`` and seen ``|P x|^2``: ``[sets]``. Returns ``[sets, *P]``.
    """
    unseen = np.maximum(squared_length - seen, 0)
    return np.asarray(np.sqrt(np.multiply.outer(unseen, (gradient**2).sum(0)) / measurements))


def unbiased_error(value: Array, gradient: Array, squared_length: Array, measurements: int, units: int) -> Array:
    """Standard error of the unbiased ``kappa <g_P, x>``, ``kappa = n / 2m``, from the law of a random projection.

    With p = 2m, ``beta ~ Beta(p/2, (n-p)/2)`` and x split into a along g and b across it (unit g):
    ``Var = kappa^2 |g|^2 (a^2 Var(beta) + b^2 p (n-p) / (n (n+2) (n-1)))``, ``Var(beta) = 2 p (n-p) / (n^2 (n+2))``.
    ``|g|^2`` and ``a`` are estimated from the sketch itself.

    value: the estimates ``[sets, *P]``; gradient: ``[units, *P]``. Returns ``[sets, *P]``.
    """
    n, p = units, measurements
    norm = np.maximum(n / p * (gradient**2).sum(0), np.finfo(float).tiny)
    length = squared_length.reshape(-1, *(1,) * (value.ndim - 1))
    along = np.minimum(value**2 / norm, length)
    spread = along * 2 * p * (n - p) / (n**2 * (n + 2)) + (length - along) * p * (n - p) / (n * (n + 2) * (n - 1))
    return np.asarray(np.sqrt((n / p) ** 2 * norm * spread))
