"""`Sketch.bound` and `Sketch.stability`: what is bounded, what that rests on, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from tests.estimation.polynomials import Fixed, Polynomial, indicators, uniform_directions
from tests.estimation.sketches import case, mask, resolve, sketch_of
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import Projection, ReverseSketch, Sketch
from unlearnkit.estimation.planning import directions_needed, planned_epsilon
from unlearnkit.estimation.stability import DELTA as INTERVAL_DELTA

UNITS = 40


def swept(polynomial: Polynomial, rng, *, rank: int, directions: int, count: int = 0) -> Sketch:
    """With reverse sweeps: exact gradient, the largest eigenpairs, products with independent directions."""
    units = polynomial.tensors[0].shape[1]
    hessian = 2 * polynomial.tensors[1]
    values, vectors = np.linalg.eigh(hessian)
    order = np.argsort(-np.abs(values), axis=1)[:, :rank]
    psi = uniform_directions(rng, directions, units) if directions else np.zeros((0, units), complex)
    reverse = ReverseSketch(
        gradient=polynomial.tensors[0],
        vectors=np.take_along_axis(vectors, order[:, None], axis=2),
        values=np.take_along_axis(values, order, axis=1),
        residual=np.einsum("euv,jv->jeu", hessian, psi),
        directions=Fixed(psi),
    )
    forward = uniform_directions(rng, count, units) if count else np.zeros((0, units), complex)
    return Sketch(
        name="f",
        base=polynomial.base,
        coefficients=polynomial.coefficients(forward),
        projection=Projection(Fixed(forward)),
        resolve=resolve,
        reverse=reverse,
    )


def random_case(seed: int, *, directions: int, degree: int = 2, elements: int = 2) -> tuple[Polynomial, Sketch]:
    return case(directions=directions, units=UNITS, elements=elements, degree=degree, seed=seed)


@pytest.mark.parametrize(("degree", "directions"), [(1, 10), (2, 60)])
def test_bounds_hold_for_all_elements_together(degree, directions):
    """Of the part up to the degree, over the randomness of the directions."""
    rng, failures, trials = np.random.default_rng(0), 0, 120
    x = indicators(rng, 1, UNITS, 4)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.1)
    for _ in range(trials):
        sketch = sketch_of(polynomial, uniform_directions(rng, directions, UNITS))
        bound = sketch.bound(x, 0.2, degree=degree)
        truth = polynomial.base + polynomial.change(x, degree)
        failures += bool((np.abs(truth - bound.estimate) > bound.epsilon).any())
    assert failures <= binom.ppf(1 - 1e-6, trials, 0.2)


def test_reverse_sweeps_are_bounded_by_what_they_leave_out():
    rng, failures, trials = np.random.default_rng(1), 0, 60
    x = indicators(rng, 3, UNITS, 4)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    for _ in range(trials):
        bound = swept(polynomial, rng, rank=5, directions=12).bound(x, 0.2)
        truth = polynomial.base + polynomial.change(x, 2)
        failures += int((np.abs(truth - bound.estimate) > bound.epsilon).any(1).sum())
    assert failures <= binom.ppf(1 - 1e-6, 3 * trials, 0.2)
    assert bound.degree == 2
    assert bound.method == (
        "certified: degree 1 exact by reverse sweeps; "
        "degree 2 5 eigenpairs, the rest by projection on 24 of 40 dimensions"
    )


def test_a_first_order_that_is_exact_has_room_for_rounding_alone():
    polynomial, sketch = case(directions=8)
    bound = sketch.bound(["ann", "eve"], 0.01, degree=1)
    truth = polynomial.base + polynomial.change(mask("ann", "eve"), 1)[0]
    assert (np.abs(bound.estimate - truth) <= bound.epsilon).all()
    assert bound.epsilon.max() < 1e-6
    assert bound.method == "certified: degree 1 exact by projection"


def test_full_rank_leaves_nothing_out():
    rng = np.random.default_rng(2)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    x = indicators(rng, 1, UNITS, 4)
    bound = swept(polynomial, rng, rank=UNITS, directions=48).bound(x, 0.05)
    assert bound.epsilon.max() < 1e-6
    assert np.abs(bound.estimate - polynomial.base - polynomial.change(x)).max() < 1e-9


def test_informed_directions_leave_only_what_is_across_them():
    rng = np.random.default_rng(3)
    polynomial = Polynomial.random(rng, units=UNITS, elements=1, degree=1)
    psi = uniform_directions(rng, 6, UNITS)
    basis = np.linalg.qr(np.column_stack([polynomial.tensors[0][0], rng.standard_normal((UNITS, 3))]))[0]
    sketch = Sketch(
        name="f",
        base=polynomial.base,
        coefficients=polynomial.coefficients(psi),
        projection=Projection(Fixed(psi), basis),
        resolve=resolve,
        slopes=basis.T @ polynomial.tensors[0].T,
    )
    x = indicators(rng, 1, UNITS, 5)
    bound = sketch.bound(x, 0.05)
    assert bound.epsilon.max() < 1e-6  # the gradient lies in their span
    assert "projection on 12 of 36 dimensions" in bound.method
    blind = replace(sketch, projection=Projection(Fixed(psi)), slopes=None).bound(x, 0.05)
    assert blind.epsilon.min() > 0.1


def test_many_sets_are_bounded_as_each_alone():
    _, sketch = random_case(4, directions=60)
    x = indicators(np.random.default_rng(4), 3, UNITS, 3)
    together = sketch.bound(x, 0.05, degree=2)
    for i in range(3):
        alone = sketch.bound(x[i : i + 1], 0.05, degree=2)
        np.testing.assert_allclose(together.epsilon[i], alone.epsilon[0], rtol=1e-9)
        np.testing.assert_allclose(together.estimate[i], alone.estimate[0], rtol=1e-9)


def test_more_elements_and_smaller_deltas_widen_a_bound():
    _, one = random_case(5, directions=10, elements=1)
    x = indicators(np.random.default_rng(5), 1, UNITS, 3)
    widths = [float(one.bound(x, delta).epsilon.max()) for delta in (0.2, 0.05, 0.001)]
    assert widths == sorted(widths)
    twice = replace(one, base=np.repeat(one.base, 2), coefficients=np.repeat(one.coefficients, 2, axis=-1))
    np.testing.assert_allclose(twice.bound(x, 0.1).epsilon[0, 0], one.bound(x, 0.05).epsilon[0, 0], rtol=1e-9)


def test_a_delta_for_each_element_is_not_split_and_one_for_everyone_is_split_over_all():
    """Student's quantiles: one side of one element, both sides of all of a set's, both sides of all of all sets'."""
    rank, elements = 20, 4
    _, sketch = random_case(15, directions=10, elements=elements)
    x = indicators(np.random.default_rng(15), 5, UNITS, 3)
    widths = {name: sketch.bound(x, 0.1, family=name, degree=1) for name in ("each", "all", "everyone")}
    quantiles = {
        name: student.ppf(1 - tail, rank - 1)
        for name, tail in {"each": 0.1, "all": 0.05 / elements, "everyone": 0.05 / elements / 5}.items()
    }
    for name, bound in widths.items():
        ratio = bound.epsilon / widths["all"].epsilon
        np.testing.assert_allclose(ratio, quantiles[name] / quantiles["all"], rtol=1e-6)
        assert bound.family == name
    assert "for either side of it" in " ".join(widths["each"].assumptions)
    assert "all elements of all deletions" in " ".join(widths["everyone"].assumptions)


def test_all_single_people_are_inside_at_once_as_often_as_delta_says():
    """A claim about everybody, for which delta is spent once."""
    rng, failures, trials = np.random.default_rng(16), 0, 200
    polynomial = Polynomial.random(rng, units=12, elements=2, degree=1)
    for _ in range(trials):
        sketch = sketch_of(polynomial, uniform_directions(rng, 4, 12))
        bound = sketch.bound(np.eye(12), 0.3, family="everyone")
        failures += bool((np.abs(polynomial.base + polynomial.tensors[0].T - bound.estimate) > bound.epsilon).any())
    assert failures <= binom.ppf(1 - 1e-6, trials, 0.3)
    assert failures > 0


def test_negligible_is_wrong_as_often_as_delta_says_at_the_boundary():
    """One of 20 elements lies on the tolerance, and the others far inside: both ends of the binomial band."""
    rng, trials, delta, tolerance = np.random.default_rng(17), 600, 0.1, 1.0
    x = (np.arange(UNITS) < 4).astype(float)
    gradients = 0.01 * rng.standard_normal((20, UNITS))
    gradients -= np.outer(gradients @ x, x) / 4
    gradients[0] += x / 4 * tolerance + 0.05 * (x == 0)
    polynomial = Polynomial(np.zeros(20), [gradients])
    wrong = 0
    for _ in range(trials):
        bound = sketch_of(polynomial, uniform_directions(rng, 8, UNITS)).bound(x[None], delta, family="each")
        wrong += bool((np.abs(bound.estimate) + bound.epsilon <= tolerance).all())
    low, high = binom.ppf([5e-6, 1 - 5e-6], trials, delta)
    assert low <= wrong <= high


@pytest.mark.parametrize("delta", [1e-22, 1e-9, 0.5, 0.99])
@pytest.mark.parametrize("family", ["each", "all", "everyone"])
def test_any_delta_has_a_bound(delta, family):
    _, sketch = random_case(18, directions=10)
    bound = sketch.bound(indicators(np.random.default_rng(18), 2, UNITS, 3), delta, family=family)
    assert np.isfinite(bound.epsilon).all()
    assert (bound.epsilon >= 0).all()
    assert bound.delta == delta


def test_a_bound_says_what_it_leaves_out_and_whether_directions_had_a_part():
    _, sketch = random_case(19, directions=10)
    x = indicators(np.random.default_rng(19), 1, UNITS, 3)
    sampled = sketch.bound(x, 0.05, rounding=1e-6)
    assert (sampled.sampling, sampled.leaves_out) == ("bounded", ("truncation",))
    _, exact = case(directions=8)
    assert (exact.bound(["ann"], 0.05).sampling, exact.bound(["ann"], 0.05).leaves_out) == (
        "exact",
        ("rounding", "truncation"),
    )


def test_two_measurements_are_enough_for_degree_one():
    """A single direction: Student's law with one degree of freedom."""
    _, sketch = random_case(20, directions=1)
    x = indicators(np.random.default_rng(20), 1, UNITS, 3)
    assert np.isfinite(sketch.bound(x, 0.05).epsilon).all()
    assert sketch.bound(x, 0.05).method == "certified: degree 1 projection on 2 of 40 dimensions"


def test_enough_residual_directions_make_the_rest_exact():
    rng = np.random.default_rng(21)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    x = indicators(rng, 3, UNITS, 4)
    bound = swept(polynomial, rng, rank=3, directions=20).bound(x, 1e-6)
    np.testing.assert_allclose(bound.estimate, polynomial.base + polynomial.change(x), atol=1e-9)
    assert bound.epsilon.max() < 1e-5
    assert (bound.sampling, bound.method[-14:]) == ("exact", "the rest exact")


def test_median_of_means_needs_more_directions_and_says_so():
    _, sketch = random_case(6, directions=60)
    x = indicators(np.random.default_rng(6), 1, UNITS, 3)
    catoni, median = (sketch.bound(x, 0.2, degree=2, method=m) for m in ("catoni", "median-of-means"))
    assert (median.epsilon > catoni.epsilon).all()
    assert "median of means of 60 directions" in median.method


@pytest.mark.parametrize(
    ("options", "covers"),
    [
        ({}, ("sampling",)),
        ({"rounding": 1e-6}, ("sampling", "rounding")),
        ({"decay": 0.4}, ("sampling", "truncation")),
        ({"decay": 0.4, "rounding": 1e-6}, ("sampling", "rounding", "truncation")),
    ],
)
def test_a_bound_covers_what_was_declared_and_says_what_it_rests_on(options, covers):
    _, sketch = case(directions=40, scale=0.001)
    bound = sketch.bound(["ann", "eve"], 0.05, **options)
    assert bound.covers == covers
    words = " ".join(bound.assumptions)
    assert ("Parts of higher degrees are not covered" in words) == ("decay" not in options)
    assert ("Rounding errors of the training and of the sketch are not covered" in words) == ("rounding" not in options)
    plain = sketch.bound(["ann", "eve"], 0.05)
    assert (bound.epsilon - plain.epsilon >= options.get("rounding", 0) * 0.999).all()


def test_a_declared_decay_covers_the_truncation():
    """Each further tensor is a tenth of the one before, so the whole polynomial stays inside."""
    rng = np.random.default_rng(7)
    polynomial = Polynomial.random(rng, units=12, elements=3, degree=3)
    norms = [np.linalg.norm(t.reshape(3, -1), axis=1) for t in polynomial.tensors]
    tensors = [
        t * (0.1**r * norms[0] / n).reshape(3, *[1] * (t.ndim - 1))
        for r, (t, n) in enumerate(zip(polynomial.tensors, norms, strict=True))
    ]
    shrinking = Polynomial(polynomial.base, tensors)
    sketch = sketch_of(shrinking, uniform_directions(rng, 40, 12))
    x = indicators(rng, 30, 12, 5)
    bound = sketch.bound(x, 0.05, degree=1, decay=0.1)
    assert (np.abs(shrinking.base + shrinking.change(x) - bound.estimate) <= bound.epsilon).all()
    with pytest.raises(EstimationError, match="the declared decay is refused: it is contradicted by the sketch"):
        sketch.bound(x, 0.05, degree=1, decay=0.001)


def test_a_decay_is_refused_where_the_series_need_not_converge():
    _, sketch = case(directions=40, scale=0.001)
    with pytest.raises(EstimationError, match="the series need not converge for 5 units"):
        sketch.bound(["ann", "eve", "dan", "cat", "ben"], 0.05, decay=0.9)


def test_directions_that_somebody_chose_certify_nothing():
    _, sketch = random_case(8, directions=10)
    with pytest.raises(EstimationError, match="given explicitly, so no bound is certified"):
        replace(sketch, is_random=False).bound(indicators(np.random.default_rng(8), 1, UNITS, 3), 0.05)


def test_reverse_sweeps_without_directions_for_the_rest_bound_the_first_degree_alone():
    rng = np.random.default_rng(9)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    sketch, x = swept(polynomial, rng, rank=5, directions=0), indicators(rng, 1, UNITS, 4)
    with pytest.raises(
        EstimationError, match="degree 2 has no certified bound: the bundle has no directions for the rest"
    ):
        sketch.bound(x, 0.05)
    assert sketch.bound(x, 0.05, degree=1).epsilon.max() < 1e-6


def test_too_few_directions_are_refused_with_a_number_that_does():
    _, sketch = random_case(10, directions=8)
    x = indicators(np.random.default_rng(10), 1, UNITS, 3)
    with pytest.raises(EstimationError, match="got 8 directions, expected at least") as caught:
        sketch.bound(x, 0.01, degree=2)
    enough = int(str(caught.value).rsplit(" ", 1)[-1])
    assert np.isfinite(random_case(10, directions=enough)[1].bound(x, 0.01, degree=2).epsilon).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta": 0.0}, "delta=0.0: expected a probability"),
        ({"delta": 1.0}, "delta=1.0"),
        ({"decay": 1.0}, "decay=1.0"),
        ({"rounding": -1.0}, "rounding=-1.0"),
        ({"method": "mean"}, "method='mean': expected one of catoni, median-of-means"),
        ({"degree": 9}, "degree=9"),
        ({"family": "both"}, "family='both': expected one of each, all, everyone"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    _, sketch = case(directions=10)
    with pytest.raises(ValueError, match=message):
        sketch.bound(["ann"], **{"delta": 0.05, **options})


def test_the_stability_profile_finds_the_norms_of_the_terms():
    polynomial, sketch = random_case(11, directions=4000, degree=3)
    for row, tensor in zip(sketch.stability(), polynomial.tensors, strict=True):
        norm = np.sqrt(np.mean((tensor.reshape(2, -1) ** 2).sum(1)))
        assert row.norm == pytest.approx(norm, rel=0.1)
        assert row.low <= norm <= row.high


def test_intervals_of_the_profile_cover_as_often_as_promised():
    rng, trials, wrong = np.random.default_rng(12), 150, np.zeros(2, dtype=int)
    polynomial = Polynomial.random(rng, units=20, elements=1, degree=2)
    norms = [np.linalg.norm(t) for t in polynomial.tensors]
    for _ in range(trials):
        rows = sketch_of(polynomial, uniform_directions(rng, 60, 20)).stability()
        wrong += [not row.low <= norm <= row.high for row, norm in zip(rows, norms, strict=True)]
    assert wrong.max() <= binom.ppf(1 - 1e-6, trials, INTERVAL_DELTA)


def test_reverse_sweeps_know_the_first_norm_exactly_and_the_second_from_their_products():
    rng = np.random.default_rng(13)
    polynomial = Polynomial.random(rng, units=UNITS, elements=2, degree=2, scale=0.3)
    first, second = swept(polynomial, rng, rank=3, directions=200).stability()
    exact = [np.sqrt(np.mean((t.reshape(2, -1) ** 2).sum(1))) for t in polynomial.tensors]
    assert first.low < first.norm < first.high
    assert (first.low, first.norm, first.high) == pytest.approx([exact[0]] * 3, rel=1e-8)
    assert second.low <= exact[1] <= second.high
    assert second.norm == pytest.approx(exact[1], rel=0.15)
    assert [row.degree for row in swept(polynomial, rng, rank=3, directions=0).stability()] == [1]


@pytest.mark.parametrize(("degree", "epsilon"), [(1, 0.5), (2, 2.0)])
def test_the_planned_number_of_directions_is_the_least_and_does(degree, epsilon):
    settings = {"degree": degree, "units": 300, "size": 4, "norm": 1.0}
    count = directions_needed(epsilon, 0.05, **settings, elements=3)
    assert planned_epsilon(count, delta=0.05 / 3, **settings) <= epsilon
    assert planned_epsilon(count - 1, delta=0.05 / 3, **settings) > epsilon


@pytest.mark.parametrize("degree", [1, 2])
def test_a_plan_foresees_the_bounds(degree):
    """The median over sketches, for deletions in general position."""
    rng, count = np.random.default_rng(14), 90
    polynomial = Polynomial.random(rng, units=250, elements=1, degree=degree)
    norm = float(np.linalg.norm(polynomial.tensors[degree - 1]))
    zero = [np.zeros_like(t) for t in polynomial.tensors[:-1]]
    alone = Polynomial(polynomial.base, [*zero, polynomial.tensors[-1]])
    x = indicators(rng, 8, 250, 5)
    found = []
    for _ in range(3):
        sketch = sketch_of(alone, uniform_directions(rng, count, 250))
        parts = sketch.bound(x, 0.05 * degree, degree=degree)  # degree one, which is zero, takes its share of delta
        found.append(np.median(parts.epsilon))
    planned = planned_epsilon(count, degree=degree, units=250, size=5, norm=norm, delta=0.05)
    assert np.median(found) == pytest.approx(planned, rel=0.25)
