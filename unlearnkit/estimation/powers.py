"""Degrees above one by projection, as degree one is: in the space of symmetric tensors (docs/theory.md section 3).

``c_{j,r} = <F_r, psi_j^r>`` with ``F_r`` the real symmetric tensor of ``f_r``, so m directions are 2m exact real
measurements of it, and ``f_r(x) = <F_r, x^r>``. Where there are as many as the tensor has dimensions, ``N_r``, it is
known; else its projection on the span of the measured powers is, which gives the minimum-norm estimate. Their Gram
matrix needs no tensor: ``<psi_i^r, conj psi_j^r> = (psi_i . conj psi_j)^r``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import scipy.linalg

from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.estimation.projection import CUT, DirectionSource, Projection, blocks, inner_products

Array = np.ndarray[Any, Any]

LARGEST = 4096
"""Measurements, or dimensions if those are fewer, up to which a degree is projected: larger systems take minutes."""


@dataclass(frozen=True, eq=False)
class Powers:
    """The r-th powers of directions as directions, in an orthonormal basis of the symmetric tensors."""

    source: DirectionSource
    degree: int

    @property
    def count(self) -> int:
        """Number of directions."""
        return self.source.count

    @property
    def units(self) -> int:
        """``N_r``."""
        return symmetric_dimension(self.source.units, self.degree)

    def block(self, first: int, last: int) -> Array:
        """Powers ``first`` up to but not including ``last``: complex ``[last - first, N_r]``."""
        return self.of(self.source.block(first, last))

    def of(self, points: Array) -> Array:
        """``x^r`` for points ``[points, units]``, real or complex: ``[points, N_r]``."""
        places, weights = self._monomials
        found = np.broadcast_to(weights, (len(points), len(weights)))
        for factor in places.T:
            found = found * points[:, factor]
        return np.asarray(found)

    @cached_property
    def _monomials(self) -> tuple[Array, Array]:
        """Which coordinates each is the product of, ``[N_r, degree]``, and the root of how often it occurs."""
        chosen = list(combinations_with_replacement(range(self.source.units), self.degree))
        counts = [math.prod(map(math.factorial, Counter(places).values())) for places in chosen]
        return np.array(chosen), np.sqrt(math.factorial(self.degree) / np.array(counts))


def tensor_projection(projection: Projection, degree: int) -> TensorProjection:
    """On the directions of a projection: one for all probes that share it, as they share degree one."""
    return _SHARED.setdefault(projection, {}).setdefault(degree, TensorProjection(projection.source, degree))


class TensorProjection:
    """The projection of ``F_r`` on the span of the directions' r-th powers; factored once, when first needed.

    Takes memory for two ``2m x 2m`` matrices at most.
    """

    def __init__(self, source: DirectionSource, degree: int) -> None:
        self.source, self.degree = source, degree
        self.dimension = symmetric_dimension(source.units, degree)

    @property
    def rank(self) -> int:
        """Dimension p of the span: as a rule ``min(2m, N_r)``."""
        return len(self._factors[0]) if self._explicit is None else self._explicit.rank

    @property
    def is_exact(self) -> bool:
        """Whether the span is everything, so that ``f_r`` is known."""
        return self.rank == self.dimension

    def coordinates(self, sets: Array, products: Array | None = None) -> Array:
        """Coordinates of ``P x^r`` in an orthonormal basis of the span, ``[sets, p]``.

        products: `inner_products` of the sets with the directions, if they are at hand.
        """
        if self._explicit is not None:
            return self._explicit.coordinates(self._powers.of(sets))
        measured = (inner_products(self.source, sets) if products is None else products) ** self.degree
        values, vectors = self._factors
        return np.asarray(np.concatenate([measured.real, measured.imag], axis=1) @ (vectors / np.sqrt(values)))

    def tensor_coordinates(self, coefficients: Array) -> Array:
        """Coordinates of ``P F_r`` in the same basis, ``[p, E]``, from this degree's coefficients ``[m, E]``."""
        if self._explicit is not None:
            return self._explicit.gradient_coordinates(coefficients)
        values, vectors = self._factors
        return np.asarray((vectors / np.sqrt(values)).T @ np.concatenate([coefficients.real, coefficients.imag]))

    @cached_property
    def _powers(self) -> Powers:
        return Powers(self.source, self.degree)

    @cached_property
    def _explicit(self) -> Projection | None:
        """By the tensor's own coordinates, where those are fewer than the measurements."""
        return Projection(self._powers) if self.dimension <= 2 * self.source.count else None

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        values, vectors = scipy.linalg.eigh(self._gram(), driver="evd", overwrite_a=True)
        kept = values > CUT * values[-1]
        return values[kept], vectors[:, kept]

    def _gram(self) -> Array:
        """Inner products of the powers' real and imaginary parts."""
        count, r = self.source.count, self.degree
        gram = np.empty((2, count, 2, count))
        for first, last, psi in blocks(self.source):
            for other_first, other_last, other in blocks(self.source):
                turned, plain = (psi @ other.conj().T) ** r / 2, (psi @ other.T) ** r / 2
                here = np.s_[first:last], np.s_[other_first:other_last]
                gram[0, here[0], 0, here[1]] = (plain + turned).real
                gram[0, here[0], 1, here[1]] = (plain - turned).imag
                gram[1, here[0], 0, here[1]] = (plain + turned).imag
                gram[1, here[0], 1, here[1]] = (turned - plain).real
        return gram.reshape(2 * count, 2 * count)


_SHARED: WeakKeyDictionary[Projection, dict[int, TensorProjection]] = WeakKeyDictionary()
