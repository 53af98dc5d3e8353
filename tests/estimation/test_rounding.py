"""Rounding of stored numbers, propagated to a claim: against claims made from numbers that really are off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.estimation.polynomials import Polynomial, indicators, uniform_directions
from tests.estimation.sketches import case, sketch_of
from tests.estimation.test_bound import UNITS, swept
from unlearnkit.estimation.estimate import Chance
from unlearnkit.estimation.rounding import Differences, numeric_epsilon

ERROR = 1e-3


def disturbed(rng, array: np.ndarray) -> np.ndarray:
    """Every number off by ERROR, in a random direction."""
    if np.iscomplexobj(array):
        return array + ERROR * np.exp(2j * np.pi * rng.random(array.shape))
    return array + ERROR * rng.choice([-1.0, 1.0], array.shape)


def moved(rng, sketch, other, sets, degree: int) -> np.ndarray:
    """How far the ends of the interval are apart, of two sketches."""
    one, two = (s.bound(sets, 0.1, degree=degree) for s in (sketch, other))
    return np.abs(one.estimate - two.estimate) + np.abs(one.epsilon - two.epsilon)


def chance(sketch, random: int) -> Chance:
    return Chance(0.1 / sketch.base.size / random, 2)


@pytest.mark.parametrize("directions", [3, 10, 19, 20, 60])
def test_a_projections_interval_moves_by_no_more_than_is_said_and_not_by_much_less(directions):
    rng = np.random.default_rng(directions)
    polynomial = Polynomial.random(rng, units=UNITS, elements=3, degree=1)
    sketch, sets = sketch_of(polynomial, uniform_directions(rng, directions, UNITS)), indicators(rng, 6, UNITS, 4)
    found = Differences(base=np.full(3, ERROR), coefficients=np.full((1, 3), ERROR))
    said, ratios = numeric_epsilon(sketch, sets, found, degree=1, chance=chance(sketch, 1)), []
    for _ in range(30):
        off = replace(sketch, base=disturbed(rng, sketch.base), coefficients=disturbed(rng, sketch.coefficients))
        ratios.append(moved(rng, sketch, off, sets, 1) / said)
    assert np.max(ratios) <= 1
    assert np.max(ratios) > 0.03


@pytest.mark.parametrize("directions", [4, 15, 30])
def test_what_reverse_sweeps_give_moves_by_no_more_than_is_said(directions):
    rng = np.random.default_rng(directions)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    sketch, sets = swept(polynomial, rng, rank=3, directions=directions), indicators(rng, 6, UNITS, 4)
    found = Differences(base=np.zeros(2), gradient=np.full((2, UNITS), ERROR), residual=np.full(2, ERROR))
    said = numeric_epsilon(sketch, sets, found, degree=2, chance=chance(sketch, 1))
    for _ in range(30):
        reverse = sketch.reverse
        off = replace(reverse, gradient=disturbed(rng, reverse.gradient), residual=disturbed(rng, reverse.residual))
        assert (moved(rng, sketch, replace(sketch, reverse=off), sets, 2) <= said * (1 + 1e-6) + 1e-7).all()


def test_a_swept_first_degree_is_off_by_the_differences_of_the_deleted():
    rng = np.random.default_rng(0)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    sketch, sets = swept(polynomial, rng, rank=0, directions=0), indicators(rng, 3, UNITS, 4)
    gradient = rng.random((2, UNITS))
    found = numeric_epsilon(
        sketch, sets, Differences(base=np.array([0.5, 0.0]), gradient=gradient), degree=1, chance=Chance(0.1, 2)
    )
    np.testing.assert_allclose(found, [0.5, 0.0] + sets @ gradient.T)


def test_what_was_not_replayed_or_is_averaged_is_not_known():
    _, sketch = case(directions=4)
    sets = np.eye(12)[:2]
    base = np.zeros(4)
    assert np.isnan(numeric_epsilon(sketch, sets, Differences(base=base), degree=1, chance=Chance(0.1, 2))).all()
    some = Differences(base=base, coefficients=np.zeros((3, 4)))
    assert not numeric_epsilon(sketch, sets, some, degree=1, chance=Chance(0.1, 2)).any()
    assert np.isnan(numeric_epsilon(sketch, sets, some, degree=2, chance=Chance(0.1, 2))).all()
