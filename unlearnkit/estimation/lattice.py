"""Forms of a degree r on the span of a few directions, from their values at a lattice (docs/theory.md section 9).

A form in p variables has ``C(p + r - 1, r)`` coefficients, and as many points has the principal lattice of the simplex:
``alpha / r`` for all multi-indices alpha of degree r. So it is known from its values there (Chung and Yao 1977;
Lagrange's formula, made homogeneous): with ``s = sum_i a_i``

    f(a) = sum_alpha f(alpha / r) prod_i prod_{t < alpha_i} (r a_i - t s) / (t + 1)

For r = 2 that is polarization: f along each direction, and halfway between each two. Everything is added and multiplied
in a fixed order: the same coordinates give the same shares, to the last bit, on every machine.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def lattice_size(dimensions: int, degree: int) -> int:
    """How many points there are."""
    return math.comb(dimensions + degree - 1, degree)


def lattice_points(dimensions: int, degree: int) -> Array:
    """``alpha / degree``, in a fixed order: ``[points, dimensions]``."""
    points = np.zeros((lattice_size(dimensions, degree), dimensions))
    for point, places in zip(points, combinations_with_replacement(range(dimensions), degree), strict=True):
        for place in places:
            point[place] += 1
    return points / degree


def lattice_shares(coordinates: Array, degree: int) -> Array:
    """How much the value at each point counts at some places: ``[places, points]`` from ``[places, dimensions]``."""
    count, dimensions = coordinates.shape
    total = np.zeros(count)
    for column in coordinates.T:
        total = total + column
    multisets = np.array(list(combinations_with_replacement(range(dimensions), degree)), dtype=np.int64)
    multisets = multisets.reshape(-1, degree)
    shares = np.ones((count, len(multisets)))
    for place in range(degree):
        before = (multisets[:, :place] == multisets[:, place : place + 1]).sum(axis=1)
        shares = shares * (degree * coordinates[:, multisets[:, place]] - before * total[:, None]) / (before + 1)
    return shares
