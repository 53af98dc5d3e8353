"""Rounding of stored numbers, propagated to a claim: against claims made from numbers that really are off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.estimation.polynomials import Fixed, Polynomial, indicators, uniform_directions
from tests.estimation.sketches import case, sketch_of
from tests.estimation.test_bound import UNITS, swept
from unlearnkit.estimation import Projection, SoloSeries
from unlearnkit.estimation.estimate import Chance
from unlearnkit.estimation.rounding import Differences, numeric_epsilon

ERROR = 1e-3
ONE = Chance(0.1, 2)


def disturbed(rng, array: np.ndarray) -> np.ndarray:
    """Every number off by ERROR, in a random direction."""
    if np.iscomplexobj(array):
        return array + ERROR * np.exp(2j * np.pi * rng.random(array.shape))
    return array + ERROR * rng.choice([-1.0, 1.0], array.shape)


def moved(rng, sketch, other, sets, degree: int) -> np.ndarray:
    """How far the ends of the interval are apart, of two sketches."""
    one, two = (s.bound(sets, 0.1, degree=degree) for s in (sketch, other))
    return np.abs(one.estimate - two.estimate) + np.abs(one.epsilon - two.epsilon)


def said_of(sketch, sets, found: Differences, degree: int, chance: Chance = ONE) -> np.ndarray:
    return numeric_epsilon(sketch.source, sets, found, degrees=range(1, degree + 1), chance=chance)


def chance(sketch, random: int) -> Chance:
    return Chance(0.1 / sketch.base.size / random, 2)


@pytest.mark.parametrize("directions", [3, 10, 19, 20, 60])
def test_a_projections_interval_moves_by_no_more_than_is_said_and_not_by_much_less(directions):
    rng = np.random.default_rng(directions)
    polynomial = Polynomial.random(rng, units=UNITS, elements=3, degree=1)
    sketch, sets = sketch_of(polynomial, uniform_directions(rng, directions, UNITS)), indicators(rng, 6, UNITS, 4)
    found = Differences(base=np.full(3, ERROR), coefficients=np.full((1, 3), ERROR))
    said, ratios = said_of(sketch, sets, found, 1, chance(sketch, 1)), []
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
    found = Differences(base=np.zeros(2), gradient=np.full(2, ERROR), residual=np.full(2, ERROR))
    said = said_of(sketch, sets, found, 2, chance(sketch, 1))
    for _ in range(30):
        reverse = sketch.reverse
        off = replace(reverse, gradient=disturbed(rng, reverse.gradient), residual=disturbed(rng, reverse.residual))
        assert (moved(rng, sketch, replace(sketch, reverse=off), sets, 2) <= said * (1 + 1e-6) + 1e-7).all()


def test_a_swept_first_degree_is_off_by_the_differences_of_the_deleted():
    rng = np.random.default_rng(0)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    sketch, sets = swept(polynomial, rng, rank=0, directions=0), indicators(rng, 3, UNITS, 4)
    gradient = rng.random(2)
    found = said_of(sketch, sets, Differences(base=np.array([0.5, 0.0]), gradient=gradient), 1)
    np.testing.assert_allclose(found, np.array([0.5, 0.0]) + np.outer(sets.sum(1), gradient))


def test_what_was_not_replayed_or_is_averaged_is_not_known():
    _, sketch = case(directions=4)
    sets = np.eye(12)[:2]
    base = np.zeros(4)
    assert np.isnan(said_of(sketch, sets, Differences(base=base), 1)).all()
    some = Differences(base=base, coefficients=np.zeros((3, 4)))
    assert not said_of(sketch, sets, some, 1).any()
    assert np.isnan(said_of(sketch, sets, some, 2)).all()


def with_series(rng, polynomial: Polynomial, sketch, *, off: bool = False):
    """Series of all units alone; off: every number by ERROR."""
    along = np.stack([polynomial.term(r, np.eye(UNITS)) for r in (1, 2)], axis=1)
    series = SoloSeries(np.arange(UNITS), disturbed(rng, along) if off else along)
    return replace(sketch, solo=series, reverse=replace(sketch.reverse, solo=series))


@pytest.mark.parametrize("directions", [4, 15])
def test_a_diagonal_by_series_of_units_alone_moves_a_low_rank_by_no_more_than_is_said(directions):
    rng = np.random.default_rng(directions)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    plain, sets = swept(polynomial, rng, rank=3, directions=directions), indicators(rng, 6, UNITS, 4)
    sketch, zero = with_series(rng, polynomial, plain), np.zeros(2)
    found = Differences(base=zero, gradient=zero, residual=zero, solo=np.full((2, 2), ERROR))
    said = said_of(sketch, sets, found, 2, chance(sketch, 1))
    for _ in range(30):
        off = with_series(rng, polynomial, plain, off=True)
        assert (moved(rng, sketch, off, sets, 2) <= said * (1 + 1e-6) + 1e-7).all()
    assert np.isnan(said_of(sketch, sets, replace(found, solo=None), 2)).all()


def test_one_persons_series_is_off_by_its_own_differences_alone():
    rng = np.random.default_rng(0)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    sketch = with_series(rng, polynomial, swept(polynomial, rng, rank=3, directions=4))
    found = Differences(base=np.array([0.5, 0.0]), solo=np.array([[0.1, 0.2], [0.01, 0.03]]))
    np.testing.assert_allclose(said_of(sketch, np.eye(UNITS)[:3], found, 2), [[0.61, 0.23]] * 3)
    np.testing.assert_allclose(said_of(sketch, np.eye(UNITS)[:3] / 2, found, 2), [[0.5525, 0.1075]] * 3)


@pytest.mark.parametrize("directions", [0, 3, 10])
def test_slopes_along_informed_directions_move_an_interval_by_no_more_than_is_said(directions):
    rng = np.random.default_rng(directions)
    polynomial = Polynomial.random(rng, units=UNITS, elements=3, degree=1)
    basis = np.linalg.qr(rng.standard_normal((UNITS, 4 if directions else UNITS)))[0]
    psi = uniform_directions(rng, directions, UNITS) if directions else np.zeros((0, UNITS), complex)
    sketch = replace(
        sketch_of(polynomial, psi),
        projection=Projection(Fixed(psi), basis),
        slopes=basis.T @ polynomial.tensors[0].T,
    )
    sets = indicators(rng, 6, UNITS, 4)
    found = Differences(base=np.zeros(3), coefficients=np.full((1, 3), ERROR), slopes=np.full(3, ERROR))
    said, ratios = said_of(sketch, sets, found, 1, chance(sketch, 1)), []
    for _ in range(30):
        off = replace(sketch, slopes=disturbed(rng, sketch.slopes), coefficients=disturbed(rng, sketch.coefficients))
        ratios.append(moved(rng, sketch, off, sets, 1) / said)
    assert np.max(ratios) <= 1
    assert np.max(ratios) > 0.01
    assert np.isnan(said_of(sketch, sets, replace(found, slopes=None), 1)).all()


def test_a_bound_covers_rounding_as_far_as_a_replay_tells_and_says_so():
    rng = np.random.default_rng(0)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    sketch, sets = swept(polynomial, rng, rank=3, directions=4), indicators(rng, 3, UNITS, 4)
    whole = Differences(base=np.zeros(2), gradient=np.full(2, ERROR), residual=np.full(2, ERROR))
    plain, covered = (sketch.bound(sets, 0.1, rounding=found) for found in (None, whole))
    added = said_of(sketch, sets, whole, 2, chance(sketch, 1))
    np.testing.assert_allclose(covered.epsilon - plain.epsilon, added, rtol=1e-6)
    assert (covered.covers, covered.leaves_out) == (("sampling", "rounding"), ("truncation",))
    assert any(f"amount to {added.max():.3g} at most: a replay" in line for line in covered.assumptions)
    part = sketch.bound(sets, 0.1, rounding=replace(whole, residual=None))
    np.testing.assert_array_equal(part.epsilon, plain.epsilon)
    assert "rounding" in part.leaves_out
    assert any("does not tell how far they move this interval" in line for line in part.assumptions)
    one = sketch.of(np.array([1])).bound(sets, 0.05, rounding=whole.of(np.array([1])))
    np.testing.assert_allclose(one.epsilon[:, 0], covered.epsilon[:, 1])
