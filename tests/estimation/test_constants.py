"""The constants of certified bounds: against published values, exact moments, brute force and simulation."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tests.estimation.simulation import KINDS, averaged, partial_directions, projected
from unlearnkit.errors import EstimationError
from unlearnkit.estimation.averaging import averaging_constants, fewest_directions, settled_radius
from unlearnkit.estimation.certified import truncation
from unlearnkit.estimation.constants import (
    decimal_above,
    moment_ratio,
    outward,
    retained_share,
    variance_bound,
)
from unlearnkit.estimation.robust_mean import (
    catoni_mean,
    catoni_radius,
    catoni_scale,
    influence,
    median_blocks,
    median_of_means,
    median_radius,
)

DELTA, TRIALS = 0.05, 400


def is_plausible(failures: int, trials: int = TRIALS) -> bool:
    """Not so many that, if each happened with probability DELTA, chance would do it once in a million times."""
    return failures <= binom.ppf(1 - 1e-6, trials, DELTA)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["catoni", "median-of-means"])
@pytest.mark.parametrize(("units", "degree", "count"), [(20, 2, 128), (300, 2, 128), (300, 3, 256)])
def test_averages_fail_no_more_often_than_delta(kind, method, units, degree, count):
    settings = {"kind": kind, "units": units, "degree": degree, "count": count, "delta": DELTA, "method": method}
    assert is_plausible(averaged(np.random.default_rng(2), **settings, trials=TRIALS).failures)


def test_a_bound_on_a_mean_that_is_too_narrow_would_be_noticed():
    """The simulation can fail: a tenth of the width does."""
    settings = {"kind": "aligned", "units": 100, "degree": 2, "count": 128, "delta": DELTA, "method": "catoni"}
    outcome = averaged(np.random.default_rng(4), **settings, trials=TRIALS)
    assert not is_plausible(int((outcome.error > outcome.epsilon / 10).sum()))


@pytest.mark.parametrize(("bound", "degree", "widest"), [(projected, 1, 1.1), (averaged, 2, 7), (averaged, 3, 15)])
def test_bounds_from_many_directions_are_not_much_wider_than_the_errors(bound, degree, widest):
    settings = {"kind": "general", "units": 1100, "count": 512, "delta": DELTA, "trials": TRIALS}
    if bound is averaged:
        settings |= {"degree": degree, "method": "catoni"}
    assert bound(np.random.default_rng(5), **settings).ratio <= widest


@given(st.integers(1, 60), st.integers(1, 4))
def test_the_moment_ratio_is_that_of_an_aligned_power(units, degree):
    """``c = psi_1^r``: ``|psi_1|^2 ~ Beta(1, n-1)`` has the moments k! (n-1)! / (n-1+k)!, and nothing is heavier."""

    def moment(k: int) -> float:
        return math.factorial(k) * math.factorial(units - 1) / math.factorial(units - 1 + k)

    assert moment_ratio(units, degree) == pytest.approx(moment(2 * degree) / moment(degree) ** 2)


@pytest.mark.parametrize("kurtosis", [1.5, 6.0, 20.0])
@pytest.mark.parametrize("count", [50, 500])
def test_a_mean_keeps_its_share_of_the_worst_distribution(kurtosis, count):
    """W is K with probability 1/K: the exact binomial tail below the share is less than delta, and not by much."""
    share = retained_share(kurtosis, count, DELTA)
    tail = binom.cdf(math.ceil(share * count / kurtosis) - 1, count, 1 / kurtosis)  # means below the share
    assert tail <= DELTA
    assert binom.cdf(math.ceil((share + 0.35) * count / kurtosis), count, 1 / kurtosis) > DELTA
    bernstein = 1 - math.sqrt(2 * kurtosis * math.log(1 / DELTA) / count)
    assert share >= bernstein


def test_constants_keep_everything_and_few_samples_nothing():
    assert retained_share(1.0, 5, DELTA) == 1
    assert retained_share(20.0, 5, DELTA) == 0


@pytest.mark.parametrize("along", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("units", "degree"), [(4, 1), (5, 2), (30, 2), (30, 3)])
def test_the_variance_bound_is_above_the_variance_and_exact_where_it_can_be(along, units, degree):
    """``f = <b, w>^r``: by the average of many directions."""
    rng = np.random.default_rng(6)
    psi = partial_directions(rng, (400_000,), 2, units)
    b = np.array([along, math.sqrt(1 - along**2)])
    samples = math.comb(units + degree - 1, degree) * (psi[:, 0].conj() * (psi @ b)) ** degree
    variance, spread = samples.real.var(), (samples.real**2).std() / math.sqrt(len(samples))
    value = along**degree
    bound = float(variance_bound(np.ones(()), np.ones(()), np.asarray(value**2), units, degree))
    assert variance <= bound + 5 * spread
    if degree == 1 or along == 1:
        assert variance == pytest.approx(bound, abs=5 * spread)


def test_catonis_published_constants():
    """Proposition 2.4: at its alpha the radius is sqrt(2 V L / (m - 2L)), 2.7 standard errors at delta 0.05."""
    variance, count, confidence = np.asarray(3.0), 100, math.log(2 / DELTA)
    alpha = catoni_scale(variance, count, confidence)
    radius = float(catoni_radius(variance, alpha, count, confidence))
    assert radius == pytest.approx(math.sqrt(2 * 3 * confidence / (count - 2 * confidence)))
    many = 10**9
    wide = float(catoni_radius(variance, catoni_scale(variance, many, confidence), many, confidence))
    assert wide * math.sqrt(many / 3) == pytest.approx(2.7162, abs=1e-3)
    for factor in (0.5, 2.0):
        assert float(catoni_radius(variance, alpha * factor, count, confidence)) > radius


def test_the_published_constants_of_medians_of_means():
    """Lugosi and Mendelson 2019, Theorem 2: 8 ln(1/delta) blocks, sqrt(32 V ln(1/delta) / m)."""
    delta = math.exp(-3)
    blocks = median_blocks(delta * (1 + 1e-12))
    assert blocks == 24
    assert float(median_radius(np.asarray(2.0), 2400, blocks)) == pytest.approx(math.sqrt(32 * 2 * 3 / 2400))


def test_catonis_mean_is_the_root_of_its_influences():
    samples = np.random.default_rng(8).standard_t(2.5, (200, 7)) * 10.0 ** np.arange(-3, 4)
    alpha = 1 / (10.0 ** np.arange(-3, 4))
    mean = catoni_mean(samples, alpha)
    totals = influence(alpha * (samples - mean)).sum(0)
    assert np.abs(totals).max() < 1e-9
    assert (np.abs(influence(np.array([-1.0, 1.0]))) == np.log(2.5)).all()


def test_a_median_of_means_leaves_out_what_fills_no_block():
    samples = np.array([1.0, 3.0, 10.0, 20.0, 5.0, 5.0, 1000.0])
    assert median_of_means(samples, 3) == 5.0


def test_too_few_directions_are_refused_with_the_number_that_would_do():
    kurtosis = moment_ratio(300, 3)
    fewest = fewest_directions(kurtosis, 0.01, "catoni")
    averaging_constants(kurtosis, fewest, 0.01, "catoni")
    with pytest.raises(EstimationError, match=f"got {fewest - 1} directions, expected at least {fewest}"):
        averaging_constants(kurtosis, fewest - 1, 0.01, "catoni")


def test_the_parts_of_delta_add_up():
    constants = averaging_constants(moment_ratio(100, 2), 200, DELTA, "catoni")
    assert 0 < constants.retained < 1
    mean_delta = 2 * math.exp(-constants.confidence)
    norm_delta = math.exp(-200 * _divergence(constants.retained / moment_ratio(100, 2), 1 / moment_ratio(100, 2)))
    assert mean_delta + norm_delta == pytest.approx(DELTA, rel=1e-4)


def _divergence(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_a_radius_that_depends_on_the_value_settles_at_its_fixed_point():
    def radius(square):
        return 0.1 + 0.3 * np.sqrt(square)

    epsilon = float(settled_radius(np.asarray(0.5), np.asarray(100.0), radius))
    assert epsilon == pytest.approx(0.1 + 0.3 * (0.5 + epsilon), rel=1e-6)


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_decimals_are_rounded_outward(value):
    assert Decimal(value) <= Decimal(decimal_above(value))
    assert len(Decimal(decimal_above(value)).as_tuple().digits) <= 6


@given(st.floats(min_value=0, max_value=1e300))
def test_outward_is_above(value):
    assert float(outward(np.asarray(value))) > value


@given(st.floats(0.01, 0.9), st.integers(1, 3), st.floats(0.1, 3.0))
def test_truncation_is_the_sum_of_what_a_geometric_decay_leaves(decay, degree, norm):
    length = 0.9 / max(decay, 0.9)
    found = float(truncation(np.array([norm]), degree, np.array([length**2]), decay)[0, 0])
    summed = sum(norm * decay ** (r - degree) * length**r for r in range(degree + 1, 3000))
    assert found == pytest.approx(summed, rel=1e-9)


def test_a_decay_that_does_not_outweigh_the_deletion_bounds_nothing():
    assert np.isinf(truncation(np.ones(1), 1, np.array([4.0]), 0.5)).all()
