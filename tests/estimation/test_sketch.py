"""Predictions from sketches of polynomials with known coefficients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.estimation.polynomials import Polynomial, indicators, uniform_directions
from tests.estimation.sketches import NAMES, arrays, case, mask, sketch_of


def test_the_first_degree_is_exact_with_as_many_measurements_as_units():
    polynomial, sketch = case(directions=6)
    first = sketch.predict(["ben", "ivy"], degree=1)
    np.testing.assert_allclose(first.change, polynomial.term(1, mask("ben", "ivy"))[0], atol=1e-10)
    np.testing.assert_array_equal(first.standard_error, 0)
    assert first.terms[0].method == "exact, by projection"


def test_with_fewer_measurements_the_first_degree_is_the_minimum_norm_estimate():
    polynomial, sketch = case(directions=2)
    psi = sketch.directions.block(0, 2)
    a = np.concatenate([psi.real, psi.imag])
    gradient = np.linalg.pinv(a) @ a @ polynomial.tensors[0].T
    first = sketch.predict(["ben", "ivy"], degree=1)
    np.testing.assert_allclose(first.change, gradient[1] + gradient[8], atol=1e-10)
    np.testing.assert_allclose(sketch.influences(), gradient, atol=1e-10)
    x = mask("ben", "ivy")[0]
    unseen = x - np.linalg.pinv(a) @ a @ x
    np.testing.assert_allclose(first.standard_error, np.linalg.norm(gradient, axis=0) * np.linalg.norm(unseen) / 4**0.5)
    assert first.terms[0].method == "minimum norm, by projection on 4 of 12 dimensions"
    scaled = sketch.predict(["ben", "ivy"], degree=1, unbiased=True)
    np.testing.assert_allclose(scaled.change, 12 / 4 * first.change, rtol=1e-12)
    assert scaled.terms[0].method == "unbiased, by projection on 4 of 12 dimensions"


@pytest.mark.parametrize("directions", [6, 30])
def test_an_influence_is_the_first_degree_of_deleting_one_unit(directions):
    _, sketch = case(directions=directions)
    influences = sketch.influences()
    assert influences.shape == (12, 4)
    one_by_one = np.stack([sketch.predict([name], degree=1).change for name in NAMES])
    np.testing.assert_allclose(influences, one_by_one, atol=1e-12)
    np.testing.assert_allclose(sketch.predict(np.eye(12), degree=1).change, influences, atol=1e-12)


def test_a_term_above_one_is_the_average_over_directions():
    polynomial, sketch = case(directions=30)
    second = sketch.predict(["ann", "leo"], degree=2, unbiased=True).terms[1]
    psi = sketch.directions.block(0, 30)
    z = 78 * np.real((psi[:, 0] + psi[:, 11]).conj()[:, None] ** 2 * polynomial.term(2, psi))  # 78 = C(13, 2)
    np.testing.assert_allclose(second.value, z.mean(0), rtol=1e-10)
    np.testing.assert_allclose(second.standard_error, z.std(0, ddof=1) / 30**0.5, rtol=1e-8)
    assert second.method == "average over 30 directions"


@pytest.mark.parametrize(("directions", "degree"), [(4, 1), (4, 2), (4, 3), (12, 3)])
def test_the_unbiased_prediction_is_right_on_average_and_knows_its_error(directions, degree):
    """Over 2000 sketches; z-bound 4."""
    rng = np.random.default_rng(directions + degree)
    polynomial = Polynomial.random(rng, units=12, elements=3, degree=degree, scale=0.2)
    sketches = [sketch_of(polynomial, uniform_directions(rng, directions, 12)) for _ in range(2000)]
    predictions = [sketch.predict(["ann", "cat", "kim"], unbiased=True) for sketch in sketches]
    changes = np.stack([prediction.change for prediction in predictions])
    true = polynomial.change(mask("ann", "cat", "kim"))[0]
    if degree > 1 or directions < 6:
        z = (changes.mean(0) - true) / (changes.std(0) / 2000**0.5)
        assert np.abs(z).max() < 4
    errors = np.stack([prediction.standard_error for prediction in predictions])
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0)), changes.std(0), rtol=0.15)


def test_the_minimum_norm_predicts_no_worse_than_no_change_and_better_than_the_unbiased():
    rng = np.random.default_rng(9)
    squares = np.zeros(3)
    for _ in range(200):
        polynomial = Polynomial.random(rng, units=12, elements=5, degree=1)
        sketch = sketch_of(polynomial, uniform_directions(rng, 2, 12))
        x = indicators(rng, 5, 12, 3)
        true = polynomial.change(x)
        guesses = (0, sketch.predict(x).change, sketch.predict(x, unbiased=True).change)
        squares += [np.mean((guess - true) ** 2) for guess in guesses]
    assert squares[1] < 0.8 * squares[0]
    assert squares[1] < 0.5 * squares[2]


def test_value_is_base_plus_change_and_change_is_the_sum_of_the_terms_used():
    polynomial, sketch = case(directions=120)
    prediction = sketch.predict(indicators(np.random.default_rng(0), 20, 12, 3))
    assert [term.used.all() for term in prediction.terms] == [True, True, False]
    np.testing.assert_allclose(prediction.base, np.broadcast_to(polynomial.base, (20, 4)))
    np.testing.assert_allclose(prediction.value, prediction.base + prediction.change)
    np.testing.assert_allclose(prediction.change, sum(np.where(t.used, t.value, 0) for t in prediction.terms))
    squares = sum(np.where(t.used, t.standard_error, 0) ** 2 for t in prediction.terms)
    np.testing.assert_allclose(prediction.standard_error, np.sqrt(squares))
    assert [term.degree for term in prediction.terms] == [1, 2, 3]


def test_all_arrays_of_a_prediction_have_one_shape():
    _, sketch = case(directions=20)
    assert {np.shape(array) for array in arrays(sketch.predict(["ann"])).values()} == {(4,)}
    assert {np.shape(array) for array in arrays(sketch.predict(np.eye(12)[:5])).values()} == {(5, 4)}


def test_a_scalar_probe_predicts_plain_numbers():
    polynomial, sketch = case(directions=20, elements=1)
    scalar = dataclasses.replace(sketch, base=polynomial.base[0], coefficients=sketch.coefficients[..., 0])
    prediction = scalar.predict(["ann", "ben"])
    assert {np.shape(array) for array in arrays(prediction).values()} == {()}
    assert f"{prediction.value:.6g}" == f"{sketch.predict(['ann', 'ben']).value[0]:.6g}"
    assert scalar.predict(np.eye(12)).value.shape == (12,)
    assert scalar.influences().shape == (12,)


@pytest.mark.parametrize("directions", [4, 40])
def test_a_weight_scales_the_term_of_degree_r_by_its_rth_power(directions):
    _, sketch = case(directions=directions)
    full = sketch.predict(["ann", "ben"], degree=3)
    part = sketch.predict(["ann", "ben"], degree=3, weight=0.7)
    for one, other in zip(full.terms, part.terms, strict=True):
        np.testing.assert_allclose(other.value, 0.7**one.degree * one.value, rtol=1e-10)
        np.testing.assert_allclose(other.standard_error, 0.7**one.degree * one.standard_error, rtol=1e-10)


@pytest.mark.parametrize("directions", [4, 40, 400])
def test_a_curve_is_a_polynomial_of_the_terms_that_the_full_deletion_uses(directions):
    polynomial, sketch = case(directions=directions, scale=0.5)
    weights, curve = sketch.curve(["ann", "ben", "cat"])
    full = sketch.predict(["ann", "ben", "cat"])
    np.testing.assert_array_equal(weights, np.linspace(0, 1, 21))
    expected = sum(np.outer(weights**t.degree, np.where(t.used, t.value, 0)) for t in full.terms)
    np.testing.assert_allclose(curve.change, expected, atol=1e-12)
    np.testing.assert_allclose(curve.value[0], polynomial.base)
    for name, array in arrays(full).items():
        np.testing.assert_allclose(arrays(curve)[name][-1], array, atol=1e-12, err_msg=name)
    assert curve.explanation.startswith("Degree 1")


def test_a_curve_may_have_any_weights():
    _, sketch = case(directions=20)
    weights, curve = sketch.curve(["ann"], weights=[0.25, 1])
    np.testing.assert_array_equal(weights, [0.25, 1])
    np.testing.assert_allclose(curve.terms[0].value[0], 0.25 * curve.terms[0].value[1])


def test_a_forced_degree_uses_its_terms_whatever_their_noise():
    _, sketch = case(directions=4)
    for degree in (1, 2, 3):
        prediction = sketch.predict(["ann", "ben"], degree=degree)
        assert [term.used.all() for term in prediction.terms] == [True] * degree
        assert "those that were asked for" in prediction.explanation


def test_the_default_leaves_out_what_is_only_noise():
    polynomial, sketch = case(directions=8)
    x = indicators(np.random.default_rng(1), 100, 12, 6)
    default, forced = sketch.predict(x), sketch.predict(x, degree=3, unbiased=True)
    assert default.terms[1].used.mean() < 0.1
    assert not default.terms[2].used.any()
    true = polynomial.change(x)
    assert np.mean((default.change - true) ** 2) < 0.2 * np.mean((forced.change - true) ** 2)


def test_the_default_uses_a_degree_that_the_directions_resolve():
    polynomial, sketch = case(directions=60, degree=2, scale=0.1)
    x = indicators(np.random.default_rng(1), 100, 12, 3)
    default, first = sketch.predict(x), sketch.predict(x, degree=1)
    assert default.terms[1].used.all()
    true = polynomial.change(x)
    assert np.mean((default.change - true) ** 2) < 0.1 * np.mean((first.change - true) ** 2)


def test_the_explanation_says_which_degrees_were_used_and_what_the_error_means():
    _, sketch = case(directions=20)
    text = sketch.predict(["ann"]).explanation
    assert "Degree 1 (exact, by projection): used." in text
    assert "Degree 3 (average over 20 directions): left out." in text
    assert "asymptotic" in text
    assert not {"certified", "audited"} & set(text.split())


def test_the_explanation_warns_of_the_error_of_the_minimum_norm():
    _, sketch = case(directions=4)
    warning = "for a more coherent one it is too small"
    assert warning in sketch.predict(["ann"]).explanation
    assert warning not in sketch.predict(["ann"], unbiased=True).explanation
    assert warning not in case(directions=6)[1].predict(["ann"]).explanation


def test_the_explanation_counts_where_only_some_numbers_use_a_degree():
    _, sketch = case(directions=30)
    prediction = sketch.predict(indicators(np.random.default_rng(0), 50, 12, 6))
    count = np.count_nonzero(prediction.terms[1].used)
    assert 0 < count < 200
    assert f"used for {count} of 200 numbers, left out for the others" in prediction.explanation
