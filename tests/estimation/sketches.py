"""Sketches of polynomials with known coefficients, over twelve units with names."""

from __future__ import annotations

import numpy as np

from tests.estimation.polynomials import Fixed, Polynomial, uniform_directions
from unlearnkit.errors import UnknownNameError
from unlearnkit.estimation import Prediction, Projection, Sketch

NAMES = ["ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal", "ivy", "jon", "kim", "leo"]


def resolve(names):
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UnknownNameError(f"no unit {unknown}")
    return np.array([NAMES.index(name) for name in names])


def sketch_of(polynomial: Polynomial, directions: np.ndarray) -> Sketch:
    return Sketch(
        name="f",
        base=polynomial.base,
        coefficients=polynomial.coefficients(directions),
        projection=Projection(Fixed(directions)),
        resolve=resolve,
    )


def case(*, directions, units=12, elements=4, degree=3, scale=0.1, seed=0) -> tuple[Polynomial, Sketch]:
    rng = np.random.default_rng(seed)
    polynomial = Polynomial.random(rng, units=units, elements=elements, degree=degree, scale=scale)
    return polynomial, sketch_of(polynomial, uniform_directions(rng, directions, units))


def mask(*names: str) -> np.ndarray:
    x = np.zeros((1, len(NAMES)))
    x[0, resolve(names)] = 1
    return x


def arrays(prediction: Prediction) -> dict[str, np.ndarray]:
    """All its numbers, by name."""
    found = {name: getattr(prediction, name) for name in ("value", "base", "change", "standard_error")}
    for term in prediction.terms:
        found |= {f"{name}_{term.degree}": getattr(term, name) for name in ("value", "standard_error", "used")}
    return found
