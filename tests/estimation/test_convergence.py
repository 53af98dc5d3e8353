"""Whether a series converges: verdicts of known series, and what a sketch makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.estimation.polynomials import Polynomial, indicators, uniform_directions
from tests.estimation.sketches import case, mask, sketch_of
from unlearnkit.errors import EstimationError
from unlearnkit.estimation.choice import choose
from unlearnkit.estimation.convergence import CONVERGING, DIVERGING, DOUBTFUL, UNKNOWN, Convergence, judge
from unlearnkit.estimation.estimate import Estimate

NAN = float("nan")


def judged(*terms: float, effects: float = 0.0, norms=(NAN, NAN), length: float = 1.0, errors=None, noise=()):
    """One element, one set. errors: of the terms. noise: degrees of which nothing stands out."""
    errors = errors or [0.0] * len(terms)
    estimates = [
        Estimate(
            value=np.array([[value]]),
            standard_error=np.array([[error]]),
            stands_out=np.array([[degree not in noise]]),
            method="",
        )
        for degree, (value, error) in enumerate(zip(terms, errors, strict=True), start=1)
    ]
    sizes = [np.array([norm]) for norm in (*norms, *[NAN] * (len(terms) - len(norms)))]
    convergence, beyond = judge(estimates, np.array([[effects]]), sizes, np.array([length]))
    return convergence, [bool(b.item()) for b in beyond], [bool(u.item()) for u in choose(estimates, beyond)]


@pytest.mark.parametrize(
    ("terms", "norms", "length", "verdict"),
    [
        ((1.0, 0.5), (1.0, 0.5), 1.0, CONVERGING),
        ((1.0, 0.5), (1.0, 0.5), 4.0, DOUBTFUL),  # the worst deletion of that size would diverge
        ((1.0, 1.5), (1.0, 0.5), 1.0, DOUBTFUL),  # this one grows, the norms do not
        ((1.0, 1.5), (1.0, 0.5), 4.0, DIVERGING),
        ((1.0, 1.5), (NAN, NAN), 1.0, DIVERGING),
        ((1.0, 0.5), (NAN, NAN), 1.0, CONVERGING),
        ((1.0,), (1.0, 0.5), 1.0, CONVERGING),
        ((1.0,), (1.0, 0.5), 4.0, DOUBTFUL),
        ((1.0,), (1.0, NAN), 1.0, UNKNOWN),
        ((0.0, 0.0), (0.0, 0.0), 1.0, CONVERGING),
        ((0.0, 1.0), (0.0, 1.0), 1.0, DIVERGING),
        ((1.0, -0.5, 0.7), (1.0, 0.5, 0.9), 1.0, DIVERGING),
        ((1.0, -0.5, 0.4), (1.0, 0.5, 0.4), 1.0, CONVERGING),
    ],
)
def test_the_verdict_follows_the_two_ratios(terms, norms, length, verdict):
    convergence, *_ = judged(*terms, norms=norms, length=length)
    assert convergence.worst == convergence.verdict.item() == verdict


def test_a_term_that_is_small_by_accident_is_no_sign_of_anything():
    """Two people whose effects cancel; and a second degree that happens to vanish where the third is a tenth."""
    assert judged(0.01, 0.3, effects=1.4)[0].worst == CONVERGING
    assert judged(0.01, 0.3)[0].worst == DIVERGING
    assert judged(1.0, 0.001, 0.1)[2] == [True, True, True]
    assert judged(1.0, 0.001, 0.3)[2] == [True, True, False]


def test_a_first_degree_that_is_only_estimated_may_be_larger_by_its_error():
    assert judged(0.1, 0.3, errors=[0.5, 0.0])[0].worst == CONVERGING
    assert judged(0.1, 0.3, errors=[NAN, 0.0])[0].worst == DIVERGING


def test_noise_says_nothing_of_terms():
    convergence, beyond, _ = judged(1.0, 40.0, noise=(2,), norms=(1.0, 0.5))
    assert convergence.worst == CONVERGING
    assert np.isnan(convergence.terms.item())
    assert not any(beyond)
    assert judged(1.0, 40.0, noise=(2,))[0].worst == UNKNOWN


def test_the_choice_falls_back_below_the_degree_that_diverges_and_stays_there():
    """As an adaptive rule's third degree does, of which the second is right."""
    assert judged(1.0, 0.1, 4.0)[1:] == ([False, False, True], [True, True, False])
    assert judged(1.0, 3.0, 0.1)[1:] == ([False, True, True], [True, False, False])
    assert judged(1.0, 3.0, norms=(1.0, 0.5))[2] == [True, True]  # doubtful is said, not left out


def test_ratios_are_those_of_the_degrees_and_the_largest_counts():
    convergence, *_ = judged(2.0, 0.5, 0.25, norms=(4.0, 1.0, 0.5), length=0.5)
    assert convergence.terms.item() == pytest.approx(0.5)
    assert convergence.norms.item() == pytest.approx(0.25)


def test_words_count_elements_and_say_the_ratios():
    convergence = Convergence(
        verdict=np.array([CONVERGING, DIVERGING, CONVERGING]),
        terms=np.array([0.1, 2.5, 0.2]),
        norms=np.full(3, NAN),
    )
    assert convergence.worst == DIVERGING
    assert str(convergence) == (
        "The series is diverging for 1 of 3 numbers, converging for 2 of 3 numbers "
        "(terms grow by a factor of 2.5 at most from degree to degree)."
    )
    assert str(judged(1.0)[0]) == "The series is unknown."


def geometric(rate: float, units: int = 12) -> Polynomial:
    """``sum_r (rate a.w)^r`` for a unit form a, up to degree three: it converges where ``rate a.w < 1``."""
    a = np.ones(units) / np.sqrt(units)
    tensors = [rate * a[None], rate**2 * np.multiply.outer(a, a)[None]]
    tensors.append(rate**3 * np.multiply.outer(a, np.multiply.outer(a, a))[None])
    return Polynomial(np.zeros(1), tensors)


@pytest.mark.parametrize(
    ("rate", "size", "verdict"),
    [(0.5, 1, CONVERGING), (0.5, 6, DOUBTFUL), (0.5, 12, DIVERGING), (2.0, 12, DIVERGING), (2.0, 1, DOUBTFUL)],
)
def test_a_geometric_series_is_judged_by_its_rate(rate, size, verdict):
    """Terms grow by ``rate size / sqrt(n)``, norms by ``rate sqrt(size)``."""
    rng = np.random.default_rng(0)
    sketch = sketch_of(geometric(rate), uniform_directions(rng, 190, 12))
    x = indicators(rng, 1, 12, size)
    found = sketch.predict(x).convergence
    assert found.worst == verdict
    along = rate * size / np.sqrt(12)
    assert found.terms.item() == pytest.approx(along, rel=1e-4)
    assert found.norms.item() == pytest.approx(rate * np.sqrt(size), rel=1e-4)
    assert [term.used.all() for term in sketch.predict(x).terms] == [True] + [verdict != DIVERGING] * 2


def test_predictions_and_bounds_say_it():
    rng = np.random.default_rng(1)
    sketch = sketch_of(geometric(2.0), uniform_directions(rng, 190, 12))
    x = np.ones((1, 12))
    prediction = sketch.predict(x)
    assert "The series is diverging" in prediction.explanation
    assert "retrain, or delete fewer units" in prediction.explanation
    assert sketch.predict(x, degree=2).convergence.worst == DIVERGING  # asked for, and said all the same
    bound = sketch.bound(x, 0.05)
    assert bound.convergence.worst == DIVERGING
    assert any("The series is diverging" in text for text in bound.assumptions)
    assert (
        "retrain, or delete fewer units"
        not in sketch_of(geometric(0.1), uniform_directions(rng, 190, 12)).predict(x).explanation
    )


def test_truncation_is_covered_only_where_the_series_converges():
    """The norms fall by a tenth, and so they may declare; but this one person has a second degree and no first."""
    gradient, form = np.zeros((1, 12)), np.zeros((1, 12, 12))
    gradient[0, 6:], form[0, 0, 0] = 1.0, 0.2
    sketch = sketch_of(Polynomial(np.zeros(1), [gradient, form]), uniform_directions(np.random.default_rng(2), 50, 12))
    with pytest.raises(EstimationError, match="no bound covers the truncation here, for the series is doubtful") as err:
        sketch.bound(["ann"], 0.05, decay=0.2)
    assert "delete fewer units" in str(err.value.hint)
    assert sketch.bound(["ann"], 0.05).convergence.worst == DOUBTFUL
    assert "truncation" in sketch.bound(["gus"], 0.05, decay=0.2).covers


def test_a_decay_is_held_against_every_element_and_not_their_mean():
    """One element of eight decays slowly; in the mean square that does not show."""
    rng = np.random.default_rng(3)
    polynomial, _ = case(directions=1, elements=8, degree=2, scale=0.001)
    slow = polynomial.tensors[1].copy()
    slow[5] *= 200
    sketch = sketch_of(Polynomial(polynomial.base, [polynomial.tensors[0], slow]), uniform_directions(rng, 100, 12))
    rows = sketch.stability()
    assert rows[1].high < 0.2 * rows[0].low
    with pytest.raises(EstimationError, match="contradicted by the sketch: in element 5 the part of degree 2"):
        sketch.bound(["ann"], 0.05, decay=0.2)
    rest = replace(sketch, base=np.delete(sketch.base, 5), coefficients=np.delete(sketch.coefficients, 5, axis=2))
    assert np.isfinite(rest.bound(["ann"], 0.05, decay=0.2).epsilon).all()


def test_a_decay_that_nothing_could_contradict_is_refused():
    _, sketch = case(directions=20, degree=1)
    with pytest.raises(EstimationError, match="nothing was measured that could contradict it") as caught:
        sketch.bound(["ann"], 0.05, decay=0.2)
    assert "sketch one degree more" in str(caught.value.hint)


def test_a_curve_converges_towards_its_beginning():
    sketch = sketch_of(geometric(0.9), uniform_directions(np.random.default_rng(4), 190, 12))
    full = sketch.predict(["ann", "ben", "cat"]).convergence
    _, curve = sketch.curve(["ann", "ben", "cat"])
    np.testing.assert_allclose(curve.convergence.terms[:, 0], np.linspace(0, 1, 21) * full.terms, atol=1e-9)
    assert curve.convergence.verdict[0, 0] == CONVERGING
    assert curve.convergence.verdict[-1, 0] == full.verdict == DOUBTFUL


def test_what_many_sets_are_told_is_what_each_is():
    _, sketch = case(directions=60, scale=0.4)
    sets = np.concatenate([mask("ann"), mask("ann", "ben", "cat", "dan"), np.ones((1, 12))])
    together = sketch.predict(sets).convergence
    assert together.verdict.shape == (3, 4)
    for i, row in enumerate(sets):
        alone = sketch.predict(row[None]).convergence
        np.testing.assert_array_equal(alone.verdict[0], together.verdict[i])
        np.testing.assert_allclose(alone.terms[0], together.terms[i], rtol=1e-9)
