"""Degrees above one on the span of informed directions, of polynomials with known coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.estimation.polynomials import Fixed, Polynomial
from tests.estimation.sketches import NAMES, mask, resolve
from tests.estimation.test_solo import own_series, series, swept
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import Projection, Sketch
from unlearnkit.estimation.lattice import lattice_points
from unlearnkit.estimation.span import Span

N, E, DEGREE = len(NAMES), 4, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)


@pytest.fixture
def polynomial(rng) -> Polynomial:
    """So tame that nothing diverges."""
    return Polynomial.random(rng, units=N, elements=E, degree=DEGREE, scale=0.02)


def sketch(rng, polynomial: Polynomial, leading: int, *, count: int = N, degree: int = DEGREE, **more) -> Sketch:
    """Slopes along so many informed directions, and forms on the span of the leading ones."""
    directions = np.linalg.qr(rng.standard_normal((N, count)))[0].T
    points = {r: lattice_points(leading, r) @ directions[:leading] for r in range(2, degree + 1)}
    return Sketch(
        name="f",
        base=polynomial.base,
        coefficients=np.zeros((0, 1, E), dtype=complex),
        projection=Projection(Fixed(np.zeros((0, N), dtype=complex)), directions.T),
        resolve=resolve,
        slopes=polynomial.term(1, directions),
        span=Span(directions[:leading], tuple(polynomial.term(r, p) for r, p in points.items())),
        **more,
    )


def test_on_the_span_of_all_directions_every_degree_is_exact(rng, polynomial):
    sets = np.concatenate([mask("ann"), mask("ben", "cat", "dan"), 0.5 * mask("ann", "dan")])
    prediction = sketch(rng, polynomial, N).predict(sets, degree=DEGREE)
    np.testing.assert_allclose(prediction.change, polynomial.change(sets), rtol=1e-9)
    assert not prediction.standard_error.any()
    assert prediction.terms[2].method == f"exact on the span of {N} informed directions"


def test_on_the_span_of_some_it_is_the_form_of_what_lies_in_it(rng, polynomial):
    made = sketch(rng, polynomial, 3)
    x = mask("ann", "cat")
    inside = x @ made.span.directions.T @ made.span.directions
    prediction = made.predict(x)
    for term in prediction.terms[1:]:
        np.testing.assert_allclose(term.value, polynomial.term(term.degree, inside), rtol=1e-9)
        assert np.isnan(term.standard_error).all()
        assert term.used.all()


def test_what_a_series_says_of_a_unit_alone_stands_at_the_diagonal(rng, polynomial):
    """Of a single unit all is exact then; of two it is what they do to one another that the span tells."""
    made = sketch(rng, polynomial, 3, solo=series(polynomial))
    alone, two = mask("ben"), mask("ben", "dan")
    np.testing.assert_allclose(made.predict(alone).change, polynomial.change(alone), rtol=1e-12)
    assert not made.predict(alone).standard_error.any()
    project = made.span.directions.T @ made.span.directions
    for r, term in enumerate(made.predict(two).terms[1:], start=2):
        between = polynomial.term(r, two @ project)
        for name in ("ben", "dan"):
            between += polynomial.term(r, mask(name)) - polynomial.term(r, mask(name) @ project)
        np.testing.assert_allclose(term.value, between, rtol=1e-9)
        assert term.method == "exact on the span of 3 informed directions, and series along units alone"


def test_series_of_some_units_leave_the_others_to_the_span(rng, polynomial):
    made = sketch(rng, polynomial, N, solo=series(polynomial, units=[0, 2]))
    x = np.ones((1, N))
    np.testing.assert_allclose(made.predict(x, degree=DEGREE).change, polynomial.change(x), rtol=1e-9)


def test_of_own_losses_each_unit_has_its_own_element_at_the_diagonal(rng, polynomial):
    made = sketch(rng, polynomial, 2, solo=own_series(polynomial))
    x, project = np.zeros((1, N)), made.span.directions.T @ made.span.directions
    x[0, :2] = 1
    (_, second, _) = made.predict(x, degree=DEGREE).terms
    expected = polynomial.term(2, x @ project)
    for unit in (0, 1):
        one = np.eye(N)[[unit]]
        expected[0, unit] += (polynomial.term(2, one) - polynomial.term(2, one @ project))[0, unit]
    np.testing.assert_allclose(second.value, expected, rtol=1e-9)
    some = made.of(np.array([1, 0])).predict(x, degree=DEGREE)
    np.testing.assert_allclose(some.terms[1].value, expected[:, [1, 0]], rtol=1e-9)


def test_reverse_sweeps_keep_the_degrees_that_they_have(rng, polynomial):
    """A gradient alone leaves the higher ones to the span; a second order does not."""
    first = replace(swept(rng, polynomial, 0), residual=np.zeros((0, E, N)))
    x = mask("ann", "dan")
    for pairs, method in ((0, "exact on the span of 3 informed directions"), (N, "by reverse sweeps")):
        reverse = first if not pairs else swept(rng, polynomial, pairs, residual=2)
        terms = sketch(rng, polynomial, 3, degree=2, reverse=reverse).predict(x, degree=2).terms
        assert terms[0].method == "exact, by reverse sweeps"
        assert method in terms[1].method


def test_no_bound_rests_on_it_and_single_units_keep_theirs(rng, polynomial):
    made = sketch(rng, polynomial, 3, solo=series(polynomial))
    assert made.bound(["ann"], 0.05, degree=DEGREE).epsilon.max() < 1e-7  # rounding
    with pytest.raises(EstimationError, match="degree 2 has no certified bound: nothing is known of what units do"):
        made.bound(["ann", "ben"], 0.05, degree=2)
    with pytest.raises(EstimationError, match="no certified bound"):
        sketch(rng, polynomial, 3).bound(["ann"], 0.05, degree=2)
