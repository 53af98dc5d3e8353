"""Many trials of a certified bound at once, for functions whose terms are known.

Only inner products with directions matter, so a direction is drawn in the few dimensions that a deletion and a function
span: the part of a uniform point of the unit sphere of C^n there. Deletions have length 1; bounds scale with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearnkit.estimation import student
from unlearnkit.estimation.averaging import averaging_constants
from unlearnkit.estimation.certified import averaged_bound
from unlearnkit.estimation.constants import moment_ratio
from unlearnkit.estimation.estimate import Method

FORMS = 12
"""A function in general position is a sum of powers of so many random linear forms."""

KINDS = ("general", "aligned", "oblique", "across")
"""Of the forms to the deletion: at random, along it, at half a right angle, and orthogonal (so that its term is 0)."""


@dataclass(frozen=True)
class Outcome:
    """error, epsilon: ``[trials]``."""

    error: np.ndarray
    epsilon: np.ndarray

    @property
    def failures(self) -> int:
        return int((self.error > self.epsilon).sum())

    @property
    def ratio(self) -> float:
        """Median epsilon over the 95th percentile of the actual error."""
        return float(np.median(self.epsilon) / np.quantile(self.error, 0.95))


def partial_directions(rng: np.random.Generator, shape: tuple[int, ...], dimensions: int, units: int) -> np.ndarray:
    """The first coordinates of uniform points on the unit sphere of C^units: ``[*shape, dimensions]``."""
    z = rng.standard_normal((*shape, dimensions)) + 1j * rng.standard_normal((*shape, dimensions))
    rest = 2 * rng.standard_gamma(units - dimensions, shape) if units > dimensions else 0.0
    return z / np.sqrt((np.abs(z) ** 2).sum(-1) + rest)[..., None]


def forms(rng: np.random.Generator, kind: str, dimensions: int) -> np.ndarray:
    """Linear forms ``[forms, dimensions]``, where the deletion is the first coordinate."""
    if kind == "general":
        found = rng.standard_normal((FORMS, dimensions))
        return found / np.linalg.norm(found, axis=1, keepdims=True)
    along = {"aligned": 1.0, "oblique": np.sqrt(0.5), "across": 0.0}[kind]
    return np.array([[along, np.sqrt(1 - along**2)]])


def averaged(
    rng: np.random.Generator,
    *,
    kind: str,
    units: int,
    degree: int,
    count: int,
    delta: float,
    method: Method,
    trials: int,
) -> Outcome:
    """Degree two and above, by robust means."""
    dimensions = min(units, 2 * FORMS) if kind == "general" else 2
    rows = forms(rng, kind, dimensions)
    signs = np.where(np.arange(len(rows)) % 2, -1.0, 1.0)
    truth = float(signs @ rows[:, 0] ** degree)
    psi = partial_directions(rng, (count, trials), dimensions, units)
    coefficients = ((psi @ rows.T) ** degree) @ signs
    constants = averaging_constants(moment_ratio(units, degree), count, delta, method)
    mean, epsilon = averaged_bound(psi[..., 0].conj(), coefficients, 1.0, units, degree, constants)
    return Outcome(np.abs(mean - truth), epsilon)


def projected(rng: np.random.Generator, *, kind: str, units: int, count: int, delta: float, trials: int) -> Outcome:
    """Degree one: a random subspace and fixed vectors are as good as the first coordinates and random ones."""
    rank = 2 * count
    g, across = orthonormal_pairs(rng, trials, units)
    along = {"general": 1 / np.sqrt(units), "aligned": 1.0, "oblique": np.sqrt(0.5), "across": 0.0}[kind]
    x = along * g + np.sqrt(1 - along**2) * across
    seen, squares = x[:, :rank], ((x[:, :rank] ** 2).sum(1), (g[:, :rank] ** 2).sum(1), np.ones(trials))
    overlap = (g[:, :rank] * seen).sum(1)
    epsilon = student.quantile(delta, rank, sides=2) * student.spread(overlap, *squares, rank)
    return Outcome(np.abs(student.centre(overlap, squares[0], squares[2]) - along), epsilon)


def orthonormal_pairs(rng: np.random.Generator, trials: int, units: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = rng.standard_normal((2, trials, units))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second -= (first * second).sum(1, keepdims=True) * first
    return first, second / np.linalg.norm(second, axis=1, keepdims=True)
