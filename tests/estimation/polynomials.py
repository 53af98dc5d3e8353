"""Polynomials with known coefficients: what a sketch would hold of them is exact, and so is what it must predict.

Nothing here uses the package: directions are numpy's normals, terms are contractions of explicit tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

Array = np.ndarray


def uniform_directions(rng: np.random.Generator, count: int, units: int) -> Array:
    """Independent, uniform on the unit sphere of C^n: ``[count, units]``."""
    z = rng.standard_normal((count, units)) + 1j * rng.standard_normal((count, units))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def symmetric_tensor(rng: np.random.Generator, degree: int, units: int, elements: int) -> Array:
    """Random symmetric tensors, ``[elements, units, ..., units]``."""
    tensor = rng.standard_normal((elements, *(units,) * degree))
    orders = list(permutations(range(1, degree + 1)))
    return sum(tensor.transpose(0, *order) for order in orders) / len(orders)


@dataclass(frozen=True)
class Polynomial:
    """``f(w) = base + sum_r <tensor_r, w x ... x w>`` for several elements; tensors[r-1] ``[elements, units, ...]``."""

    base: Array
    tensors: Sequence[Array]

    @classmethod
    def random(cls, rng, *, units, elements, degree, scale=1.0) -> Polynomial:
        """In general position; the tensors' entries of degree r have size ``scale^(r-1)``."""
        tensors = [scale ** (r - 1) * symmetric_tensor(rng, r, units, elements) for r in range(1, degree + 1)]
        return cls(rng.standard_normal(elements), tensors)

    def term(self, degree: int, points: Array) -> Array:
        """``f_r`` at each point ``[points, units]``, real or complex: ``[points, elements]``."""
        value = np.tensordot(points, self.tensors[degree - 1], axes=(1, -1))
        for _ in range(degree - 1):
            value = np.einsum("se...u,su->se...", value, points)
        return value

    def coefficients(self, directions: Array) -> Array:
        """What a sketch holds: ``[directions, degree, elements]``."""
        return np.stack([self.term(r, directions) for r in range(1, len(self.tensors) + 1)], axis=1)

    def change(self, points: Array, degree: int | None = None) -> Array:
        """``f - base``, up to a degree: ``[points, elements]``."""
        return sum(self.term(r, points) for r in range(1, (degree or len(self.tensors)) + 1))


@dataclass
class Fixed:
    """A source of given directions that counts how many were asked for."""

    array: Array
    made: int = 0

    @property
    def count(self) -> int:
        return self.array.shape[0]

    @property
    def units(self) -> int:
        return self.array.shape[1]

    def block(self, first: int, last: int) -> Array:
        self.made += last - first
        return self.array[first:last].copy()


def indicators(rng: np.random.Generator, sets: int, units: int, size: int) -> Array:
    """Random deletion sets as masks ``[sets, units]``."""
    masks = np.zeros((sets, units))
    for mask in masks:
        mask[rng.choice(units, size, replace=False)] = 1
    return masks
