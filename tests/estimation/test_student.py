"""Student's law of a projection: against the slow construction, scipy's law, and simulation from both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from scipy.stats import t as student_law

from tests.estimation.polynomials import Fixed, uniform_directions
from tests.estimation.simulation import KINDS, projected
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import Projection, student
from unlearnkit.estimation.certified import projected as certified
from unlearnkit.estimation.estimate import Chance
from unlearnkit.estimation.first_order import FirstOrder

TRIALS = 1500


def band(delta: float, trials: int = TRIALS) -> tuple[float, float]:
    """A right law leaves it once in 100,000 times."""
    low, high = binom.ppf([5e-6, 1 - 5e-6], trials, delta)
    return low, high


@given(st.floats(1e-100, 1 - 1e-9), st.integers(2, 2000), st.sampled_from([1, 2]))
def test_the_quantile_is_scipys(delta, rank, sides):
    found = student.quantile(delta, rank, sides=sides)
    expected = max(0.0, float(student_law.isf(delta / sides, rank - 1)))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_no_delta_gives_an_interval_of_no_width():
    widths = [student.quantile(delta, 4, sides=2) for delta in (1e-300, 1e-100, 1e-22, 0.05, 0.5, 0.999999)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 0
    with pytest.raises(EstimationError, match="delta=1e-310 is too small for 2 measurements"):
        student.quantile(1e-310, 2, sides=2)


def test_centre_and_spread_are_those_of_the_construction():
    """With e, c, s, p1, u and Q written out."""
    rng = np.random.default_rng(0)
    for n, p in ((5, 2), (5, 4), (30, 7)):
        span = np.linalg.qr(rng.standard_normal((n, p)))[0]
        g, x = rng.standard_normal((2, n))
        e = x / np.linalg.norm(x)
        seen = span @ (span.T @ e)
        c = np.linalg.norm(seen)
        s, p1 = np.sqrt(1 - c**2), seen / c
        rest = span @ (span.T @ g) - p1 * (g @ p1)
        law = [
            np.asarray(value) for value in ((span.T @ g) @ (span.T @ x), x @ x * c**2, ((span.T @ g) ** 2).sum(), x @ x)
        ]
        expected = np.linalg.norm(x) * (s / c) * np.linalg.norm(rest) / np.sqrt(p - 1)
        assert student.centre(law[0], law[1], law[3]) == pytest.approx(np.linalg.norm(x) * (g @ p1) / c)
        assert student.spread(*law, p) == pytest.approx(expected)
        u = (p1 - c * e) / s
        assert g @ x == pytest.approx(
            float(student.centre(law[0], law[1], law[3])) - np.linalg.norm(x) * s / c * (g @ u)
        )


def test_nothing_deleted_has_no_change_and_what_is_not_seen_no_bound():
    zero, one = np.zeros(1), np.ones(1)
    assert student.centre(zero, zero, zero) == student.spread(zero, zero, one, zero, 5) == 0
    assert not student.is_aligned(zero, zero, one, zero, 5)
    assert np.isinf(student.spread(zero, zero, one, one, 5))
    assert np.isinf(student.spread(zero, 0.5 * one, one, one, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delta", [0.05, 0.5])
@pytest.mark.parametrize(("units", "count"), [(3, 1), (40, 3), (300, 64)])
def test_it_fails_as_often_as_delta_says_no_more_and_no_less(kind, units, count, delta):
    """But where the gradient is aligned exactly, which has no error."""
    outcome = projected(np.random.default_rng(1), kind=kind, units=units, count=count, delta=delta, trials=TRIALS)
    if kind == "aligned":
        assert outcome.error.max() < 1e-9
        return
    low, high = band(delta)
    assert low <= outcome.failures <= high


@pytest.mark.parametrize("informed", [0, 5])
@pytest.mark.parametrize(("units", "count"), [(12, 2), (60, 10)])
def test_it_holds_for_real_directions_with_and_without_an_informed_basis(units, count, informed):
    """Four gradients at once, over fresh directions: along the deletion, on one unit of it, across it, at random."""
    rng, trials = np.random.default_rng(2), 600
    x = (np.arange(units) < 4).astype(float)
    spike = (np.arange(units) == 0).astype(float)
    g = np.stack([x + 0.01 * rng.standard_normal(units), spike, 1 - x, rng.standard_normal(units)], axis=1)
    basis = np.linalg.qr(rng.standard_normal((units, informed)))[0] if informed else None
    slopes = None if basis is None else basis.T @ g
    failures = np.zeros((2, 4))
    for _ in range(trials):
        psi = uniform_directions(rng, count, units)
        first = FirstOrder(Projection(Fixed(psi), basis), psi @ g, slopes)
        for place, (delta, sides) in enumerate(((0.1, 2), (0.1, 1))):
            part = certified(first, x[None], Chance(delta, sides))
            gap = x @ g - part.estimate[0]
            failures[place] += np.abs(gap) > part.epsilon[0] if sides == 2 else gap > part.epsilon[0]
    low, high = band(0.1, trials)
    assert low <= failures.min()
    assert failures.max() <= high


def test_the_centre_is_better_just_where_the_deletion_is_aligned_as_much_as_stated():
    """Mean squares over random spans, for gradients at several angles: both formulas, and where they cross."""
    rng, n, p, trials = np.random.default_rng(3), 40, 12, 20_000
    span = np.linalg.qr(rng.standard_normal((trials, n, p)))[0]
    seen_x, seen_across = span[:, 0], span[:, 1]
    c2 = (seen_x**2).sum(1)
    for along in (0.0, 0.2, 0.5, 1.0):
        across = np.sqrt(1 - along**2)
        overlap = ((along * seen_x + across * seen_across) * seen_x).sum(1)
        tau2 = across**2 / (n - 1)
        plain = (1 - c2) ** 2 * along**2 + c2 * (1 - c2) * tau2
        centred = (1 - c2) / c2 * tau2
        for found, expected in (((overlap - along) ** 2, plain), ((overlap / c2 - along) ** 2, centred)):
            gap = found - expected
            assert abs(gap.mean()) <= 4.5 * gap.std() / np.sqrt(trials) + 1e-12
        better = along**2 > tau2 * (1 + 1 / c2)
        np.testing.assert_array_equal(better, centred < plain)


@pytest.mark.parametrize(("units", "rank"), [(40, 4), (40, 12), (40, 36), (300, 32)])
def test_going_over_to_the_centre_costs_no_more_than_the_tolerance_in_general_position(units, rank):
    """Of the term's mean square, which is 1 / n for unit vectors."""
    rng, trials = np.random.default_rng(4), 200_000 if units < 100 else 20_000
    g, x = rng.standard_normal((2, trials, units))
    g, x = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (g, x))
    overlap = (g[:, :rank] * x[:, :rank]).sum(1)
    squares = (x[:, :rank] ** 2).sum(1), (g[:, :rank] ** 2).sum(1), np.ones(trials)
    aligned = student.is_aligned(overlap, *squares, rank)
    chosen = np.where(aligned, student.centre(overlap, squares[0], squares[2]), overlap)
    truth = (g * x).sum(1)
    excess = ((chosen - truth) ** 2 - (overlap - truth) ** 2) * units
    assert excess.mean() <= student.TOLERANCE + 4 * excess.std() / np.sqrt(trials)
    assert aligned.any()


def test_a_deletion_that_is_aligned_is_predicted_by_the_centre():
    rng, units = np.random.default_rng(5), 200
    x = (np.arange(units) < 10).astype(float)
    psi = uniform_directions(rng, 20, units)
    g = np.stack([x, rng.standard_normal(units)], axis=1)
    value, error = FirstOrder(Projection(Fixed(psi)), psi @ g, None).term(x[None], None, unbiased=False)
    assert value[0, 0] == pytest.approx(10)
    assert error[0, 0] == pytest.approx(0, abs=1e-6)
    assert abs(value[0, 1]) < 10
