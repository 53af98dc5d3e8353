"""Degrees above one by projection, against dense least squares over explicit tensors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import unlearnkit.estimation.projection
from tests.estimation.polynomials import Fixed, Polynomial, indicators, uniform_directions
from tests.estimation.sketches import case, sketch_of
from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.estimation.powers import Powers, TensorProjection

# degree, units, directions: fewer measurements than dimensions, and as many or more
SHAPES = [(2, 5, 3), (2, 5, 7), (2, 5, 8), (2, 5, 30), (3, 4, 4), (3, 4, 10), (3, 4, 40)]


def power(points: np.ndarray, degree: int) -> np.ndarray:
    """``x^r`` as all entries of a tensor, ``[points, units^r]``."""
    found = points
    for _ in range(degree - 1):
        found = (found[:, :, None] * points[:, None]).reshape(len(points), -1)
    return found


@pytest.fixture(params=SHAPES, ids=lambda shape: "r{}-n{}-m{}".format(*shape))
def problem(request):
    degree, units, count = request.param
    rng = np.random.default_rng(sum(request.param))
    polynomial = Polynomial.random(rng, units=units, elements=3, degree=degree)
    psi = uniform_directions(rng, count, units)
    return degree, psi, polynomial.term(degree, psi), polynomial, rng.random((6, units))


def test_powers_keep_inner_products(problem):
    degree, psi, _, _, x = problem
    powers = Powers(Fixed(psi), degree)
    assert powers.units == symmetric_dimension(psi.shape[1], degree)
    np.testing.assert_allclose(powers.of(x) @ powers.of(x).T, (x @ x.T) ** degree)
    np.testing.assert_allclose(powers.of(x) @ powers.block(0, len(psi)).T, (x @ psi.T) ** degree)


def test_the_estimate_is_the_minimum_norm_tensors(problem):
    degree, psi, coefficients, polynomial, x = problem
    projection = TensorProjection(Fixed(psi), degree)
    forms = power(psi, degree)
    measured = np.concatenate([coefficients.real, coefficients.imag])
    tensor = np.linalg.lstsq(np.concatenate([forms.real, forms.imag]), measured, rcond=1e-9)[0]
    found = projection.coordinates(x) @ projection.tensor_coordinates(coefficients)
    np.testing.assert_allclose(found, power(x, degree) @ tensor, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose((projection.tensor_coordinates(coefficients) ** 2).sum(0), (tensor**2).sum(0), rtol=1e-7)
    assert projection.rank == min(2 * len(psi), projection.dimension)
    assert projection.is_exact == (2 * len(psi) >= projection.dimension)
    if projection.is_exact:
        np.testing.assert_allclose(found, polynomial.term(degree, x), rtol=1e-7, atol=1e-9)


def test_products_that_are_at_hand_and_the_size_of_blocks_make_no_difference(problem, monkeypatch):
    degree, psi, coefficients, _, x = problem
    whole = TensorProjection(Fixed(psi), degree)
    expected = whole.coordinates(x, x @ psi.T) @ whole.tensor_coordinates(coefficients)
    monkeypatch.setattr(unlearnkit.estimation.projection, "_BLOCK_ELEMENTS", 2 * psi.shape[1])
    pieces = TensorProjection(Fixed(psi), degree)
    found = pieces.coordinates(x) @ pieces.tensor_coordinates(coefficients)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_probes_that_share_directions_share_their_factors():
    _, sketch = case(directions=40, degree=2)
    other = dataclasses.replace(sketch, name="g", coefficients=2 * sketch.coefficients)
    sketch.predict(["ann"])
    made = sketch.directions.made
    np.testing.assert_allclose(other.predict(["ann"]).change, 2 * sketch.predict(["ann"]).change)
    assert sketch.directions.made - made == 4 * 40  # twice products with the deletion, and two readings of coefficients


def test_as_many_measurements_as_dimensions_are_a_reason_to_project_never_to_average():
    """A form without a diagonal, 20 units, 256 directions, 210 dimensions: averaging errs by its own size."""
    rng = np.random.default_rng(0)
    form = rng.standard_normal((1, 20, 20))
    form = form + form.transpose(0, 2, 1)
    form[:, np.arange(20), np.arange(20)] = 0
    polynomial = Polynomial(np.zeros(1), [100 * rng.standard_normal((1, 20)), form])
    sketch = sketch_of(polynomial, uniform_directions(rng, 256, 20))
    x = indicators(rng, 40, 20, 4)
    prediction = sketch.predict(x, degree=2)
    np.testing.assert_allclose(prediction.change, polynomial.change(x), atol=1e-8)
    np.testing.assert_array_equal(prediction.standard_error, 0)
    assert prediction.terms[1].method == "exact, by projection"
    averaged = sketch.predict(x, degree=2, unbiased=True)
    true = polynomial.term(2, x)
    assert np.array_equal(averaged.change, prediction.change)  # what is exact has nothing to average
    assert np.std(true) > 1


def test_an_exact_degree_is_certified_and_spends_no_delta():
    polynomial, sketch = case(directions=40, degree=2)
    bound = sketch.bound(["ann", "leo"], 1e-9, degree=2)
    truth = polynomial.base + polynomial.change(np.isin(np.arange(12), [0, 11]).astype(float)[None])[0]
    assert (np.abs(bound.estimate - truth) <= bound.epsilon).all()
    assert bound.epsilon.max() < 1e-6
    assert bound.sampling == "exact"
    assert bound.leaves_out == ("rounding", "truncation")
    assert bound.method == "certified: degree 1 exact by projection; degree 2 exact by projection"


def test_the_minimum_norm_is_better_than_no_term_in_general_position_and_left_out_where_it_is_mostly_error():
    """60 units: 512 directions are 1,024 measurements of 1,830 dimensions."""
    rng = np.random.default_rng(1)
    forms = rng.standard_normal((4, 60, 60))
    general = Polynomial(np.zeros(4), [50 * rng.standard_normal((4, 60)), forms + forms.transpose(0, 2, 1)])
    sketch = sketch_of(general, uniform_directions(rng, 512, 60))
    x = indicators(rng, 60, 60, 4)
    true, term = general.term(2, x), sketch.predict(x, degree=2).terms[1]
    rms = np.sqrt(np.mean((term.value - true) ** 2))
    assert rms < 0.9 * np.sqrt(np.mean(true**2))
    assert term.standard_error.mean() == pytest.approx(rms, rel=0.15)
    used = sketch.predict(x).terms[1].used
    assert 0.1 < used.mean() < 0.6
    assert (np.abs(term.value)[used] > term.standard_error[used]).all()
