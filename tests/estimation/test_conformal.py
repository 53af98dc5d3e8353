"""Split conformal bounds: the quantile against exact counting, the coverage against its binomial band."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tests.estimation.polynomials import Polynomial, uniform_directions
from tests.estimation.sketches import NAMES, case, mask, sketch_of
from unlearnkit.errors import EstimationError
from unlearnkit.estimation.conformal import audited_bound, conformal_quantile, retrainings_needed, scale
from unlearnkit.names import counted

DELTAS = ["0.5", "0.3", "0.2", "0.1", "0.07", "0.05", "0.02", "0.01", "0.001"]


def random_sets(rng, count: int, units: int = 12) -> np.ndarray:
    """Sets of 2 to 5 units."""
    sets = np.zeros((count, units))
    for row in sets:
        row[rng.permutation(units)[: rng.integers(2, 6)]] = 1
    return sets


def truth_of(polynomial: Polynomial, sets: np.ndarray) -> np.ndarray:
    return polynomial.base + polynomial.change(sets)


def bound_of(sketch, sets, truth, names=("ann", "cat"), **options):
    defaults = {"delta": 0.1, "distribution": "sets of 2 to 5 units", "evidence": "e" * 64}
    return audited_bound(sketch, names, masks=sets, truth=truth, **(defaults | options))


@given(st.integers(1, 300), st.sampled_from(DELTAS))
def test_the_quantile_is_the_least_score_that_enough_ranks_reach(count, text):
    """By counting: the new score is equally likely to have any of N + 1 ranks, and k of them are covered."""
    delta = Fraction(text)
    enough = [k for k in range(1, count + 1) if Fraction(k, count + 1) >= 1 - delta]
    scores = np.random.default_rng(count).permutation(count) + 1.0
    if enough:
        assert conformal_quantile(scores, float(text)) == enough[0]
    else:
        with pytest.raises(
            EstimationError, match=f"{counted(count, 'retraining', 'carry')} no bound at delta={float(text)}"
        ):
            conformal_quantile(scores, float(text))


@pytest.mark.parametrize("text", DELTAS)
def test_too_few_retrainings_are_refused_with_the_number_that_would_do(text):
    needed = retrainings_needed(float(text))
    assert needed == math.ceil(1 / Fraction(text) - 1)
    assert conformal_quantile(np.arange(needed), float(text)) == needed - 1
    with pytest.raises(EstimationError, match=r"(carry|carries) no bound") as caught:
        conformal_quantile(np.arange(needed - 1), float(text))
    assert f"audit at least {counted(needed, 'deletion')}," in str(caught.value.hint)


@pytest.mark.parametrize(("count", "delta"), [(19, 0.05), (50, 0.1), (100, 0.05), (199, 0.01)])
def test_coverage_is_exactly_what_the_ranks_say(count, delta):
    """Scores without mean or variance: coverage is k / (N + 1), whatever they are distributed like."""
    trials, rng = 20_000, np.random.default_rng(count)
    scores = np.abs(rng.standard_cauchy((trials, count + 1)))
    covered = sum(new <= conformal_quantile(rest, delta) for *rest, new in map(np.array, scores))
    share = math.ceil((count + 1) * (1 - Fraction(str(delta)))) / (count + 1)
    low, high = binom.ppf([5e-5, 1 - 5e-5], trials, share)
    assert low <= covered <= high


@pytest.mark.parametrize("element", [None, 2])
def test_new_deletions_are_inside_their_bounds_as_often_as_promised(element):
    """A cubic, of which four directions see little: errors of sampling and of terms left out at once."""
    trials, count, delta, rng = 400, 29, 0.1, np.random.default_rng(5)
    polynomial = Polynomial.random(rng, units=12, elements=4, degree=3, scale=0.3)
    sketch = sketch_of(polynomial, uniform_directions(rng, 4, 12))
    covered = 0
    for _ in range(trials):
        sets = random_sets(rng, count + 1)
        truth, (new,) = truth_of(polynomial, sets), np.nonzero(sets[-1])
        names = [NAMES[i] for i in new]
        bound = bound_of(sketch, sets[:-1], truth[:-1], names, delta=delta, element=element)
        covered += bool((np.abs(truth[-1] - bound.estimate) <= bound.epsilon).all())
    low, high = binom.ppf([5e-4, 1 - 5e-4], trials, [27 / 30, 28 / 30])  # a set drawn twice is a tie, and covered
    assert low <= covered <= high


def test_an_unmoved_and_exactly_known_probe_has_a_scale_and_a_bound():
    polynomial, _ = case(directions=8)
    still = Polynomial(polynomial.base, tuple(0 * tensor for tensor in polynomial.tensors))
    sketch = sketch_of(still, uniform_directions(np.random.default_rng(0), 8, 12))
    sets = random_sets(np.random.default_rng(1), 20)
    assert (scale(sketch, sets, sketch.predict(sets)) > 0).all()
    assert bound_of(sketch, sets, np.tile(still.base, (20, 1))).epsilon.max() == 0


def test_the_scale_belongs_to_sketch_and_deletion_alone():
    _, sketch = case(directions=3)
    sets = random_sets(np.random.default_rng(1), 20)
    together = scale(sketch, sets, sketch.predict(sets))
    for one, row in zip(sets, together, strict=True):
        np.testing.assert_allclose(scale(sketch, one[None], sketch.predict(one[None]))[0], row, rtol=1e-12)


def test_the_scale_is_standard_error_and_influences_of_the_deleted_units():
    _, sketch = case(directions=3)
    names = ("ann", "cat", "kim")
    prediction, influences = sketch.predict(list(names)), sketch.influences()
    deleted = np.array([influences[NAMES.index(name)] for name in names])
    expected = np.sqrt(prediction.standard_error**2 + 0.25 * (deleted**2).sum(0))
    found = scale(sketch, mask(*names), sketch.predict(mask(*names)))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_epsilon_is_the_scale_times_the_quantile_of_the_scores():
    polynomial, sketch = case(directions=3)
    sets = random_sets(np.random.default_rng(2), 25)
    truth = truth_of(polynomial, sets)
    sigma = scale(sketch, sets, sketch.predict(sets))
    scores = np.abs(truth - sketch.predict(sets).value) / sigma
    x = mask("ann", "cat")
    own = scale(sketch, x, sketch.predict(x))[0]
    joint = np.sort(scores.max(1))[math.ceil(26 * 0.9) - 1]
    np.testing.assert_allclose(bound_of(sketch, sets, truth).epsilon, own * joint, rtol=1e-9)
    single = bound_of(sketch, sets, truth, element=2).epsilon
    assert single[2] == pytest.approx(own[2] * np.sort(scores[:, 2])[math.ceil(26 * 0.9) - 1])
    assert single[2] <= own[2] * joint
    assert np.isinf(np.delete(single, 2)).all()


def test_a_bound_says_what_it_is_and_what_it_rests_on():
    polynomial, sketch = case(directions=3)
    sets = random_sets(np.random.default_rng(2), 25)
    bound = bound_of(sketch, sets, truth_of(polynomial, sets))
    assert bound.method == "audited: split conformal, N=25"
    assert bound.covers == ("sampling", "rounding", "truncation")
    np.testing.assert_allclose(bound.estimate, sketch.predict(["ann", "cat"]).value, rtol=1e-12)
    text = " ".join(bound.assumptions)
    for part in ("exchangeable with the 25", "sets of 2 to 5 units", "e" * 64, "this run's own counterfactual"):
        assert part in text
    assert "certified" not in text


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 2.0])
def test_delta_is_a_probability(delta):
    with pytest.raises(ValueError, match="expected a probability between 0 and 1"):
        conformal_quantile(np.arange(100), delta)


def test_values_that_do_not_fit_are_refused():
    _, sketch = case(directions=3)
    with pytest.raises(ValueError, match=r"got masks \(20, 12\) and values \(20, 3\), expected one mask of 12 units"):
        bound_of(sketch, np.zeros((20, 12)), np.zeros((20, 3)))
