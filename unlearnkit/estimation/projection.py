"""Degree one by projection instead of averaging (docs/theory.md section 3, "Degree one").

``c_{j,1} = <g, psi_j>`` with ``g = grad f(0)`` real, so m complex directions are 2m exact real measurements
``y = A g``, ``A = [Re Psi; Im Psi]`` (2m x n). They tell ``g_P = A^+ y``, the orthogonal projection of g on the span of
the rows of A, and nothing else. Everything here is written in one orthonormal basis of that span: with coordinates
``gamma`` of ``g_P`` and ``xi`` of ``P x``, the minimum-norm estimate of ``<g, x>`` is ``<gamma, xi>``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import scipy.linalg

Array = np.ndarray[Any, Any]

# Complex numbers in a block of directions: 128 MiB.
_BLOCK_ELEMENTS = 1 << 23
# Eigenvalues of the Gram matrix below this share of the largest carry rounding only.
CUT = 1e-12


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
        """Directions ``first`` up to but not including ``last``: complex128 ``[last - first, units]``."""
        ...


def blocks(source: DirectionSource, start: int = 0) -> Iterator[tuple[int, int, Array]]:
    """The directions from ``start`` on, a bounded number at a time, with their positions."""
    size = max(1, _BLOCK_ELEMENTS // source.units)
    for first in range(start, source.count, size):
        last = min(first + size, source.count)
        yield first, last, source.block(first, last)


def inner_products(source: DirectionSource, x: Array) -> Array:
    """``sum_u psi_{j,u} x_u`` for real x ``[sets, units]``: complex ``[sets, directions]``."""
    return np.concatenate([x @ psi.T for _, _, psi in blocks(source)], axis=1)


@dataclass(frozen=True, eq=False)
class Deflated:
    """Directions without their parts in the span of ``basis``, real orthonormal ``[units, rank]``."""

    source: DirectionSource
    basis: Array

    @property
    def count(self) -> int:
        """Number of directions."""
        return self.source.count

    @property
    def units(self) -> int:
        """Number of units."""
        return self.source.units

    def block(self, first: int, last: int) -> Array:
        """``(I - Q Q') psi`` for directions ``first`` up to but not including ``last``."""
        psi = self.source.block(first, last)
        return np.asarray(psi - (psi @ self.basis) @ self.basis.T)


class Projection:
    """The projection on the span of some directions. Factored once, when first needed, for every probe and deletion.

    informed: an orthonormal basis Q ``[units, q]`` of dimensions in which the gradient is known anyhow. Then all this
    is about the others: directions, gradients and deletions without their parts in the span of Q
    (docs/theory.md section 9). For random directions that is the same in n - q dimensions: the span of what is left of
    them is as random there.

    Takes memory for the smaller of a 2m x 2m and an n x n matrix, and for two blocks of directions.
    """

    def __init__(self, source: DirectionSource, informed: Array | None = None) -> None:
        self.source = source
        self.informed = informed
        self._seen = source if informed is None else Deflated(source, informed)
        # The smaller Gram matrix, A'A or AA', has the same information.
        self._by_units = 2 * source.count >= source.units

    @property
    def dimension(self) -> int:
        """Dimensions in which the gradient is to be found: n, or n - q."""
        return self.source.units - (0 if self.informed is None else self.informed.shape[1])

    @property
    def rank(self) -> int:
        """Dimension p of the span: as a rule ``min(2m, n)``, less for explicit directions that repeat themselves."""
        return len(self._factors[0])

    @property
    def is_exact(self) -> bool:
        """Whether the span is everything, so that ``g_P = g``."""
        return self.rank == self.dimension

    def coordinates(self, x: Array, products: Array | None = None) -> Array:
        """Coordinates ``xi`` of ``P x``, ``[sets, rank]``. products: `inner_products` of x, if they are at hand."""
        values, vectors = self._factors
        if self._by_units:
            return np.asarray(x @ vectors)
        measured = inner_products(self._seen, x) if products is None or self.informed is not None else products
        return np.asarray(np.concatenate([measured.real, measured.imag], axis=1) @ (vectors / np.sqrt(values)))

    def gradient_coordinates(self, coefficients: Array) -> Array:
        """Coordinates ``gamma`` of ``g_P``, ``[rank, *P]``, from the degree-one coefficients ``[directions, *P]``."""
        values, vectors = self._factors
        flat = coefficients.reshape(len(coefficients), -1)
        if self._by_units:
            result = (vectors / values).T @ self._back(flat)
        else:
            result = (vectors / np.sqrt(values)).T @ np.concatenate([flat.real, flat.imag])
        return np.asarray(result.reshape(-1, *coefficients.shape[1:]))

    def gradient(self, coordinates: Array) -> Array:
        """``g_P`` itself, real ``[units, *P]``, from its coordinates ``[rank, *P]``."""
        values, vectors = self._factors
        flat = coordinates.reshape(len(coordinates), -1)
        if self._by_units:
            result = vectors @ flat
        else:
            real, imaginary = np.split((vectors / np.sqrt(values)) @ flat, 2)
            result = self._back(real + 1j * imaginary)
        return np.asarray(result.reshape(-1, *coordinates.shape[1:]))

    def weights(self, coordinates: Array) -> tuple[Array, float]:
        """How much each measurement counts in ``<gamma, xi>``, and in ``gamma`` at most.

        coordinates: ``xi``, ``[sets, rank]``. Returns w, complex ``[sets, directions]``, with ``<gamma, xi> = sum_j
        Re(conj(w_j) c_j)``, and the largest factor by which ``|gamma|`` exceeds the length of the measurements.
        """
        values, _ = self._factors
        combined = self.gradient(coordinates.T / values[:, None]).T
        return inner_products(self._seen, combined), float(1 / np.sqrt(values.min()))

    def _back(self, measurements: Array) -> Array:
        """``A' [Re v; Im v] = Re(Psi^H v)`` for complex v ``[directions, p]``."""
        total = np.zeros((self.source.units, measurements.shape[1]))
        for first, last, psi in blocks(self._seen):
            total += (psi.conj().T @ measurements[first:last]).real
        return total

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        """Eigenvalues ``[rank]`` and eigenvectors ``[n or 2m, rank]`` of the Gram matrix, without the null space."""
        if not self.source.count or not self.dimension:
            return np.zeros(0), np.zeros((0, 0))
        gram = self._gram_of_units() if self._by_units else self._gram_of_measurements()
        values, vectors = scipy.linalg.eigh(gram, driver="evd", overwrite_a=True)
        kept = values > CUT * values[-1]
        return values[kept], vectors[:, kept]

    def _gram_of_units(self) -> Array:
        """``A'A``."""
        total = np.zeros((self.source.units, self.source.units))
        for _, _, psi in blocks(self._seen):
            total += psi.real.T @ psi.real + psi.imag.T @ psi.imag
        return total

    def _gram_of_measurements(self) -> Array:
        """``AA'``; blocks are made again for each pair, so that only two are there at any time."""
        count = self.source.count
        gram = np.empty((2, count, 2, count))
        for first, last, psi in blocks(self._seen):
            for other_first, other_last, other in blocks(self._seen, first):
                for i, part in enumerate((psi.real, psi.imag)):
                    for j, other_part in enumerate((other.real, other.imag)):
                        product = part @ other_part.T
                        gram[i, first:last, j, other_first:other_last] = product
                        gram[j, other_first:other_last, i, first:last] = product.T
        return gram.reshape(2 * count, 2 * count)
