"""Degree one of a sketch: exact along informed directions, by projection elsewhere (docs/theory.md sections 3 and 9).

With Q the orthonormal basis of the informed directions, ``<g, x> = <Q'g, Q'x> + <g, x_perp>``. The first part is known.
For the second, what a random direction measured is left of the informed part, ``c_{j,1} - <Q'g, Q'psi_j>``, and then
the projection does in the other dimensions what it does in all of them where nothing is known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.estimation import student
from unlearnkit.estimation.estimators import minimum_norm_error, unbiased_error
from unlearnkit.estimation.projection import Projection, inner_products
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]

MINIMUM_NORM = "minimum norm"


@dataclass(frozen=True, eq=False)
class FirstOrder:
    """What a sketch knows of a probe's gradient.

    projection: on the random directions. coefficients: degree one along them, complex ``[directions, *P]``.
    slopes: ``Q'g`` along the projection's informed basis, real ``[q, *P]``; None where it has none.
    """

    projection: Projection
    coefficients: Array
    slopes: Array | None

    @cached_property
    def gradient(self) -> Array:
        """Coordinates of ``g_P`` in the projection's basis, ``[rank, *P]``, without the informed part."""
        if not self.projection.rank:
            return np.zeros((0, *self.coefficients.shape[1:]))
        measured = self.coefficients
        if self.slopes is not None and self.projection.informed is not None:
            seen = inner_products(self.projection.source, self.projection.informed.T).T
            measured = measured - np.tensordot(seen, self.slopes, axes=1)
        return self.projection.gradient_coordinates(measured)

    @property
    def squared_norm(self) -> Array:
        """``|g|^2`` as far as it is known, ``[*P]``."""
        slopes = 0.0 if self.slopes is None else (self.slopes**2).sum(0)
        return np.asarray((self.gradient**2).sum(0) + slopes)

    def influences(self) -> Array:
        """The gradient as far as it is known, ``[units, *P]``."""
        projection = self.projection
        found = np.zeros((projection.source.units, *self.coefficients.shape[1:]))
        if projection.rank:
            found += projection.gradient(self.gradient)
        if self.slopes is not None and projection.informed is not None:
            found += np.tensordot(projection.informed, self.slopes, axes=1)
        return found

    def term(self, sets: Array, products: Array | None, *, unbiased: bool) -> tuple[Array, Array]:
        """``f_1(x)`` for sets ``[sets, units]`` and its standard error (asymptotic), each ``[sets, *P]``.

        products: `inner_products` of the sets with the random directions, if they are at hand. unbiased: without the
        shrinking of the minimum norm. Where informed directions are all there is, the error is not known, and NaN.
        """
        known, _ = self.informed_part(sets)
        projection = self.projection
        if not projection.rank:
            return known, np.full_like(known, 0.0 if projection.is_exact else np.nan)
        overlap, seen, length = self.overlap(sets, products)
        if projection.is_exact:
            return known + overlap, np.zeros_like(overlap)
        squared = (self.gradient**2).sum(0)
        if unbiased:
            value = overlap * (projection.dimension / projection.rank)
            return known + value, unbiased_error(value, squared, length, projection.rank, projection.dimension)
        plain = minimum_norm_error(squared, np.maximum(length - seen, 0), projection.rank)
        seen, length = (array.reshape(-1, *(1,) * (overlap.ndim - 1)) for array in (seen, length))
        law = overlap, seen, squared, length, projection.rank
        aligned = student.is_aligned(*law)
        value = np.where(aligned, student.centre(overlap, seen, length), overlap)
        return known + value, np.where(aligned, student.spread(*law), plain)

    def overlap(self, sets: Array, products: Array | None = None) -> tuple[Array, Array, Array]:
        """``<g_P, x>`` ``[sets, *P]``, ``|P x|^2`` and ``|x|^2``, each ``[sets]``, of what is not informed."""
        coordinates = self.projection.coordinates(sets, products)
        _, length = self.informed_part(sets)
        return np.tensordot(coordinates, self.gradient, axes=1), (coordinates**2).sum(1), length

    def informed_part(self, sets: Array) -> tuple[Array, Array]:
        """The part that is known, ``[sets, *P]``, and the squared length of what is left of the sets, ``[sets]``."""
        length = (sets**2).sum(1)
        if self.slopes is None or self.projection.informed is None:
            return np.zeros((len(sets), *self.coefficients.shape[1:])), length
        inside = sets @ self.projection.informed
        return np.tensordot(inside, self.slopes, axes=1), np.maximum(length - (inside**2).sum(1), 0)

    def method(self, *, unbiased: bool) -> str:
        """How degree one was found, in words."""
        projection = self.projection
        informed = 0 if projection.informed is None else projection.informed.shape[1]
        if projection.is_exact:
            return "exact, by projection"
        beside = f"exact along {counted(informed, 'informed direction')}" if informed else ""
        if not projection.rank:
            return beside
        kind = "unbiased" if unbiased else MINIMUM_NORM
        random = f"{kind}, by projection on {projection.rank} of {projection.dimension} dimensions"
        return f"{random} and {beside}" if informed else random
