"""Tolerance intervals: ranks against scipy and published tables, coverage against its exact binomial band."""

from __future__ import annotations

import doctest
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, norm

import unlearnkit.estimation.tolerance
from unlearnkit.errors import AssumptionError, EstimationError
from unlearnkit.estimation.conformal import conformal_quantile
from unlearnkit.estimation.tolerance import (
    Draws,
    Stratum,
    pooled,
    retrained_value,
    retrainings_needed,
    stratum_of,
    tolerance,
    tolerance_rank,
    tolerance_score,
)

STRATA = (Stratum(1, 1), Stratum(2, 4), Stratum(5, 30))


def draws(scores, sizes=None, prefix: str = "") -> Draws:
    scores = np.asarray(scores, dtype=float)
    sizes = np.ones(len(scores), dtype=int) if sizes is None else np.asarray(sizes)
    return Draws(names=tuple(f"{prefix}{i:04d}" for i in range(len(scores))), sizes=sizes, scores=scores)


def band(trials: int, share: float) -> tuple[float, float]:
    """Outside it once in ten thousand."""
    low, high = binom.ppf([5e-5, 1 - 5e-5], trials, share)
    return low, high


@pytest.mark.parametrize(("content", "confidence", "needed"), [(0.95, 0.95, 59), (0.9, 0.9, 22), (0.99, 0.95, 299)])
def test_the_numbers_of_retrainings_are_the_published_ones(content, confidence, needed):
    assert retrainings_needed(content, confidence) == needed
    assert tolerance_rank(needed, content, confidence) == needed
    assert tolerance_rank(needed - 1, content, confidence) is None


@given(st.integers(1, 400), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_rank_is_the_least_whose_binomial_tail_is_small_enough(count, content, confidence):
    tails = binom.sf(np.arange(count), count, content)  # of k = 1 .. count
    enough = np.flatnonzero(tails <= (1 - confidence) * (1 + 1e-9))  # ties are decided exactly, see below
    expected = int(enough[0]) + 1 if enough.size else None
    assert tolerance_rank(count, content, confidence) == expected


def test_a_tie_is_decided_exactly():
    """0.5^10 is 1 - 0.9990234375: in floats it could go either way."""
    assert tolerance_rank(10, 0.5, 0.9990234375) == 10
    assert retrainings_needed(0.5, 0.9990234375) == 10
    assert retrainings_needed(0.5, 0.9990234376) == 11


@pytest.mark.parametrize(("count", "content", "confidence"), [(59, 0.95, 0.95), (93, 0.95, 0.95), (200, 0.9, 0.99)])
def test_the_statement_is_true_exactly_as_often_as_the_binomial_says(count, content, confidence):
    """20,000 audits: the k-th smallest of uniform scores is its own content."""
    trials, rank = 20_000, tolerance_rank(count, content, confidence)
    reached = np.partition(np.random.default_rng(count).random((trials, count)), rank - 1, axis=1)[:, rank - 1]
    exact = beta(rank, count - rank + 1).sf(content)
    assert exact == pytest.approx(binom.cdf(rank - 1, count, content))
    assert exact >= confidence
    low, high = band(trials, exact)
    assert low <= np.count_nonzero(reached >= content) <= high
    smaller = np.partition(np.random.default_rng(count).random((trials, count)), rank - 2, axis=1)[:, rank - 2]
    assert np.count_nonzero(smaller >= content) < band(trials, confidence)[0] or rank == 1


def test_it_serves_three_hundred_questions_where_a_conformal_quantile_serves_one():
    """Heavy tails: with confidence 0.9 no audit in ten leaves more than a tenth of its questions outside."""
    trials, rng = 2000, np.random.default_rng(1)
    scores = np.abs(rng.standard_cauchy((trials, 100)))
    questions = np.abs(rng.standard_cauchy((trials, 300)))
    of_all = np.array([tolerance_score(row, 0.9, 0.9)[1] for row in scores])
    of_one = np.array([conformal_quantile(row, 0.1) for row in scores])
    contents = 2 / np.pi * np.arctan(np.stack([of_all, of_one]))
    bad = (contents < 0.9).sum(1)
    assert bad[0] <= band(trials, 0.1)[1]
    assert bad[1] > trials / 3
    outside = (questions > of_all[:, None]).mean()
    assert outside < 0.1


def sized(rng, sizes) -> np.ndarray:
    """Scores whose size the scale does not follow: single people err more than it says."""
    return np.abs(rng.standard_normal(len(sizes))) * np.where(sizes == 1, 3.0, 1.0)


def test_single_people_are_covered_by_audits_of_single_people_alone():
    """When sets of 1 to 30 are audited together they are covered too rarely; with strata they are refused, or right."""
    trials, rng, content, confidence = 300, np.random.default_rng(2), 0.9, 0.9
    together, apart = 0, 0
    for _ in range(trials):
        mixed = rng.integers(1, 31, 60)
        _, score = tolerance_score(sized(rng, mixed), content, confidence)
        together += _single_content(score) >= content
        alone = draws(sized(rng, np.ones(40, dtype=int)))
        apart += _single_content(tolerance(alone, 1, STRATA, content=content, confidence=confidence).score) >= content
        with pytest.raises(EstimationError, match=r"retrainings? carr(y|ies) no statement"):
            tolerance(draws(sized(rng, mixed), mixed), 1, STRATA, content=content, confidence=confidence)
    assert together < 0.5 * trials
    assert apart >= band(trials, confidence)[0]


def _single_content(score: float) -> float:
    """Of the single people, whose scores are three times a normal's size."""
    return float(2 * norm.cdf(score / 3) - 1)


def test_a_stratum_uses_its_own_draws_alone():
    sizes = np.repeat([1, 3, 10], 25)
    scores = np.concatenate([np.linspace(0, 1, 25), np.linspace(2, 3, 25), np.linspace(4, 5, 25)])
    for size, stratum, most in ((1, STRATA[0], 1), (2, STRATA[1], 3), (30, STRATA[2], 5)):
        found = tolerance(draws(scores, sizes), size, STRATA, content=0.9, confidence=0.9)
        assert (found.stratum, found.count, found.rank, found.score) == (stratum, 25, 25, most)
        assert (found.epsilon(np.array([2.0])) > 2 * most).all()
        assert found.epsilon(np.array([2.0])) == pytest.approx(2 * most)


def test_a_size_that_nobody_audited_is_refused():
    with pytest.raises(AssumptionError, match="no stratum that was audited holds deletions of 31 units") as caught:
        stratum_of(31, STRATA)
    assert "retrain" in str(caught.value.hint)
    with pytest.raises(ValueError, match="strata overlap: 1 to 5 units and 4 units both hold"):
        stratum_of(4, [Stratum(4, 4), Stratum(1, 5)])


def test_too_few_draws_are_refused_with_the_number_that_would_do():
    with pytest.raises(EstimationError, match=r"21 retrainings carry no statement of content 0\.9 at") as caught:
        tolerance(draws(np.arange(21)), 1, STRATA, content=0.9, confidence=0.9)
    assert "at least 22 deletions of this size" in str(caught.value.hint)


def test_audits_are_pooled_in_any_order_and_a_draw_counts_once():
    one, other = draws(np.arange(15), prefix="a"), draws(np.arange(15, 30), prefix="b")
    found = [pooled(order) for order in itertools.permutations([one, other, one])]
    for result in found:
        assert result.names == found[0].names
        np.testing.assert_array_equal(result.scores, np.arange(30))
    assert tolerance(found[0], 1, STRATA, content=0.9, confidence=0.9).count == 30


def test_audits_that_disagree_about_a_draw_are_refused():
    with pytest.raises(AssumptionError, match="draw 0002: two audits disagree"):
        pooled([draws([0, 1, 2]), draws([0, 1, 2.5])])


def test_a_draw_that_failed_counts_as_the_worst():
    scores = [*np.linspace(0, 1, 44), np.inf]
    rank, score = tolerance_score(np.array(scores), 0.9, 0.9)
    assert rank < 45
    assert score <= 1
    with pytest.raises(ValueError, match="a score is NaN or negative"):
        draws([1.0, np.nan])


def test_a_set_that_was_retrained_has_its_retrained_value():
    values = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(retrained_value([5, 2], [(1,), (2, 5), (2,)], values), [2.0, 3.0])
    assert retrained_value([5], [(1,), (2, 5), (2,)], values) is None
    with pytest.raises(AssumptionError, match="retrained 2 times, to different values"):
        retrained_value([1], [(1,), (1,), (2,)], values)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 2.0])
def test_content_and_confidence_are_shares(value):
    with pytest.raises(ValueError, match=r"content=.*: expected a share between 0 and 1"):
        tolerance_rank(10, value, 0.9)
    with pytest.raises(ValueError, match=r"confidence=.*: expected a share between 0 and 1"):
        tolerance_rank(10, 0.9, value)


def test_a_stratum_has_sizes_in_order():
    with pytest.raises(ValueError, match="a stratum of 3 to 2 units"):
        Stratum(3, 2)


def test_the_example_is_right():
    assert doctest.testmod(unlearnkit.estimation.tolerance, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize(("content", "confidence"), [(0.9999999, 0.95), (0.9999999999999999, 0.95), (0.99999999, 0.5)])
def test_any_content_says_how_many_retrainings_it_would_take(content, confidence):
    """At once, and no fewer than needed: the logarithm of the law, where exact powers would take for ever."""
    count = retrainings_needed(content, confidence)
    assert count * np.log1p(-(1 - content)) <= np.log1p(-confidence)
    with pytest.raises(EstimationError, match="carry no statement"):
        tolerance_score(np.zeros(60), content, 0.95)
