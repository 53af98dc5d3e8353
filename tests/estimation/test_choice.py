"""When a term above degree one enters: bounds by enumeration, and the promise of ``TOLERANCE`` by simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from tests.estimation.polynomials import Polynomial, indicators, uniform_directions
from tests.estimation.sketches import sketch_of
from unlearnkit.estimation.choice import choose, required_significance, significance
from unlearnkit.estimation.estimate import Estimate
from unlearnkit.estimation.estimators import averaged_term, symmetric_dimension
from unlearnkit.estimation.student import TOLERANCE

RNG = np.random.default_rng


def mean_and_error(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the last axis."""
    return z.mean(-1), z.std(-1, ddof=1) / np.sqrt(z.shape[-1])


def chosen(terms, units: int, directions: int, given: int = 1) -> list[np.ndarray]:
    """Where averages over directions are used, after ``given`` terms that are none; of a series that converges."""
    found = []
    for degree, (value, error) in enumerate(terms, start=1):
        level = required_significance(units, degree, directions) if degree > given else 0
        stands_out = significance(value, error, directions) >= level if degree > given else np.ones_like(value) > 0
        found.append(Estimate(value=value, standard_error=error, stands_out=stands_out, method=""))
    return choose(found, [np.zeros_like(value) > 0 for value, _ in terms])


def test_significance_is_the_self_normalised_sum():
    z = RNG(0).standard_t(3, (50, 12)) + 0.5
    expected = np.abs(z.sum(1)) / np.sqrt((z**2).sum(1))
    np.testing.assert_allclose(significance(*mean_and_error(z), 12), expected, rtol=1e-12)


def test_significance_never_exceeds_the_root_of_the_number_of_directions():
    value = np.array([1.0, 0.0, 0.0, 1.0, -1e300])
    error = np.array([0.0, 0.0, 1.0, 1e-300, 1.0])
    np.testing.assert_allclose(significance(value, error, 9), [3, 0, 0, 3, 3])


def test_a_single_direction_is_never_significant():
    assert significance(np.array([5.0]), np.array([np.inf]), 1) == 1


@pytest.mark.parametrize("heavy", [False, True])
def test_chance_exceeds_a_significance_less_often_than_hoeffding_says(heavy):
    size = np.abs(RNG(1).standard_cauchy(12)) if heavy else np.ones(12)
    signs = np.array(list(product([-1, 1], repeat=12)))  # all of them: the probability is exact
    s = significance(*mean_and_error(signs * size), 12)
    for level in np.linspace(0.5, 3.4, 30):
        assert (s > level).mean() <= 2 * math.exp(-(level**2) / 2)


def test_the_required_significance_costs_the_tolerance_with_normal_numbers():
    """Numerically: term and estimate are jointly normal; the excess over leaving out is integrated on a grid."""
    u = np.linspace(-30, 30, 600_001)
    density = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
    for units, degree, directions in [(20, 2, 64), (60, 2, 512), (1000, 2, 512), (20, 3, 512)]:
        noise = symmetric_dimension(units, degree) / (2 * directions)
        level = required_significance(units, degree, directions)
        estimate = u * math.sqrt(1 + noise)  # the term has variance 1
        enters = np.abs(estimate) > level * math.sqrt(noise)
        excess = estimate**2 * (noise - 1) / (noise + 1)  # E[(estimate - term)^2 - term^2 | estimate]
        assert np.sum(np.where(enters, excess, 0) * density) * (u[1] - u[0]) == pytest.approx(TOLERANCE, rel=0.01)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_more_units_ask_for_more_significance_and_more_directions_for_less(degree):
    levels = [required_significance(units, degree, 64) for units in (20, 60, 200, 1000, 100_000)]
    assert levels == sorted(levels)
    levels = [required_significance(1000, degree, directions) for directions in (16, 64, 256, 1024)]
    assert levels == sorted(levels, reverse=True)


def test_choosing_needs_no_more_than_the_first_term():
    (used,) = chosen([(np.zeros((2, 3)), np.ones((2, 3)))], 10, 5)
    assert used.all()
    assert used.shape == (2, 3)


def test_terms_that_are_given_are_used_whatever_their_error():
    one, unknown = np.ones(1), np.full(1, np.nan)
    used = chosen([(one, one), (one, unknown), (one, 0.1 * one)], 60, 512, given=2)
    assert [bool(u) for u in used] == [True, True, True]


def test_the_choice_depends_neither_on_units_of_measurement_nor_on_a_partial_weight_when_nothing_is_left_out():
    rng = RNG(2)
    terms = [(rng.standard_normal(200), np.zeros(200)), (4 * rng.standard_normal(200), np.ones(200))]
    used = chosen(terms, 60, 512)[1]
    assert 0 < used.sum() < 200
    np.testing.assert_array_equal(chosen([(1e-9 * v, 1e-9 * e) for v, e in terms], 60, 512)[1], used)
    np.testing.assert_array_equal(
        chosen([(0.1**r * v, 0.1**r * e) for r, (v, e) in enumerate(terms)], 60, 512)[1], used
    )


def test_a_term_waits_for_the_lower_ones_unless_they_are_negligible():
    one, nothing = np.ones(1), np.zeros(1)
    third = (10 * one, 0.1 * one)
    assert chosen([(one, nothing), (one, one), third], 60, 512)[2]  # at most 3 of degree two are missing
    assert not chosen([(one, nothing), (4 * one, 2 * one), third], 60, 512)[2]  # it may be 8
    assert chosen([(one, nothing), (4 * one, 0.1 * one), third], 60, 512)[2]  # used itself
    assert chosen([(one, nothing), (nothing, nothing), third], 60, 512)[2]  # exactly nothing, as for odd functions


def quadratic(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.stack([((points @ h) * points).sum(1) for h in matrices], axis=1)


@pytest.mark.parametrize(
    ("units", "directions", "size", "runs"),
    [(20, 16, 5, 40), (20, 100, 5, 40), (60, 64, 5, 10), (60, 512, 5, 10), (200, 512, 10, 3), (1000, 512, 50, 1)],
)
def test_in_general_position_choosing_is_as_good_as_degree_one(units, directions, size, runs):
    """Degree one is exact here, and the change beyond it is the term in question: nothing hides a wrong choice."""
    rng = RNG(units + directions)
    error = baseline = 0.0
    for _ in range(runs):
        h = rng.standard_normal((6, units, units))
        h, x, psi = (
            h + h.transpose(0, 2, 1),
            indicators(rng, 30, units, size),
            uniform_directions(rng, directions, units),
        )
        true = quadratic(h, x)
        term = averaged_term(x @ psi.conj().T, quadratic(h, psi), units, 2)
        used = chosen([(np.zeros_like(true), np.zeros_like(true)), term], units, directions)[1]
        baseline += (true**2).sum()
        error += ((np.where(used, term[0], 0) - true) ** 2).sum()
    assert math.sqrt(error / baseline) < 1.02


@pytest.mark.parametrize(
    ("units", "directions", "runs"),
    [(20, 16, 60), (20, 64, 60), (20, 128, 40), (20, 512, 6), (60, 16, 3), (60, 512, 2)],
)
@pytest.mark.parametrize("degree", [2, 3])
@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_in_general_position_the_default_is_never_worse_than_degree_one(units, directions, runs, degree, scale):
    """The whole prediction, of polynomials whose higher terms are small and large: within 2 % in rms."""
    rng = RNG([units, directions, degree])
    error = baseline = 0.0
    for _ in range(runs):
        polynomial = Polynomial.random(rng, units=units, elements=4, degree=degree, scale=scale)
        sketch = sketch_of(polynomial, uniform_directions(rng, directions, units))
        x = indicators(rng, 20, units, int(rng.integers(1, units // 3)))
        true, prediction = polynomial.change(x), sketch.predict(x)
        error += ((prediction.change - true) ** 2).sum()
        baseline += ((prediction.terms[0].value - true) ** 2).sum()
    assert math.sqrt(error / baseline) < 1.02


def test_noise_of_a_few_times_the_spread_hardly_ever_enters():
    """As on the digits benchmark: a true term of size 1 under noise of 2 to 6; and with the term nothing is lost."""
    rng = RNG(5)
    for directions, noise in ((128, 6.0), (256, 4.0), (512, 2.0)):
        true, z = rng.standard_normal(20_000), rng.standard_normal((20_000, directions))
        term = mean_and_error(true[:, None] + noise * math.sqrt(directions) * z)
        used = chosen([(true, np.zeros_like(true)), term], 1000, directions)[1]
        assert used.mean() < 5e-4
        assert np.mean((np.where(used, term[0], 0) - true) ** 2) < 1.02 * np.mean(true**2)


@pytest.mark.parametrize(("units", "directions"), [(20, 512), (60, 2048)])
def test_with_many_directions_the_term_is_used_and_helps(units, directions):
    rng = RNG(units)
    h = rng.standard_normal((6, units, units))
    h, x, psi = h + h.transpose(0, 2, 1), indicators(rng, 30, units, 5), uniform_directions(rng, directions, units)
    true = quadratic(h, x)
    value, error = averaged_term(x @ psi.conj().T, quadratic(h, psi), units, 2)
    assert chosen([(true, true), (value, error)], units, directions)[1].all()
    assert np.mean((value - true) ** 2) < 0.5 * np.mean(true**2)


@pytest.mark.parametrize(
    ("units", "directions", "degree"), [(60, 128, 2), (1000, 256, 2), (1000, 512, 2), (5000, 512, 2), (60, 1024, 3)]
)
def test_a_deletion_aligned_with_the_term_uses_it(units, directions, degree):
    """``f_r = <., 1_D>^r``: a coherent deletion, whose term stands out of its noise."""
    rng = RNG(degree)
    x = np.zeros((1, units))
    x[0, : units // 10] = 1
    terms, true = [(np.zeros((1, 1)), np.zeros((1, 1)))], 0.0
    psi = uniform_directions(rng, directions, units)
    for r in range(2, degree + 1):
        coefficients = (psi @ x[0])[:, None] ** r / np.sum(x) ** r
        terms.append(averaged_term(x @ psi.conj().T, coefficients, units, r))
        true += 1
    used = chosen(terms, units, directions)
    assert all(u.all() for u in used)
    assert abs(sum(value.item() for value, _ in terms) - true) < 0.5 * true
