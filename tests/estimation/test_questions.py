"""How a sketch may be asked, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.estimation.sketches import NAMES, arrays, case, mask
from unlearnkit.errors import UnknownNameError


@pytest.mark.parametrize("settings", [{}, {"degree": 2}, {"unbiased": True}, {"weight": 0.3}])
@pytest.mark.parametrize("directions", [4, 40, 400])
def test_many_sets_at_once_are_the_sets_one_by_one(directions, settings):
    _, sketch = case(directions=directions, scale=1)
    sets = [["ann"], ["ben", "cat", "dan"], ["jon", "ann"], NAMES[2:9]]
    together = arrays(sketch.predict(np.concatenate([mask(*names) for names in sets]), **settings))
    for i, names in enumerate(sets):
        for name, array in arrays(sketch.predict(names, **settings)).items():
            np.testing.assert_allclose(together[name][i], array, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", [bool, int, np.float32, float])
def test_masks_may_be_of_any_number_type(kind):
    _, sketch = case(directions=20)
    masks = np.eye(12)[:3].astype(kind)
    np.testing.assert_array_equal(sketch.predict(masks).value, sketch.predict(np.eye(12)[:3]).value)


def test_masks_may_hold_partial_weights():
    _, sketch = case(directions=20)
    half = sketch.predict(mask("ann", "ben") / 2, degree=3)
    np.testing.assert_allclose(half.value[0], sketch.predict(["ann", "ben"], weight=0.5, degree=3).value)


def test_a_kept_set_predicts_the_base():
    polynomial, sketch = case(directions=4)
    kept = sketch.predict(np.zeros((1, 12)))
    np.testing.assert_array_equal(kept.value[0], polynomial.base)
    np.testing.assert_array_equal(kept.standard_error, 0)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("directions", [4, 20])
def test_no_sets_have_no_predictions(directions, unbiased):
    _, sketch = case(directions=directions)
    prediction = sketch.predict(np.zeros((0, 12)), unbiased=unbiased)
    assert {array.shape for array in arrays(prediction).values()} == {(0, 4)}


@pytest.mark.parametrize("names", [("ann", "ben"), {"ann", "ben"}, iter(["ann", "ben"]), np.array(["ann", "ben"])])
def test_units_may_be_named_in_any_collection(names):
    _, sketch = case(directions=20)
    np.testing.assert_array_equal(sketch.predict(names).value, sketch.predict(["ann", "ben"]).value)


@pytest.mark.parametrize(
    ("delete", "settings", "error", "message"),
    [
        (["ann"], {"degree": 4}, ValueError, r"degree=4: the sketch of 'f' has degrees 1 to 3"),
        (["ann"], {"degree": 0}, ValueError, r"degree=0: the sketch of 'f' has degrees 1 to 3"),
        (["ann"], {"weight": 1.5}, ValueError, r"weight: got 1\.5, expected numbers from 0 \(kept\) to 1 \(deleted\)"),
        (["ann"], {"weight": -0.1}, ValueError, r"weight: got -0\.1"),
        (
            ["ann"],
            {"weight": [0.5, 1.0]},
            ValueError,
            r"weight: got \[0\.5, 1\.0\], expected one number; `curve` takes",
        ),
        (["ann"], {"weight": float("nan")}, ValueError, r"weight: got nan"),
        ([], {}, ValueError, "no units were named"),
        (["ann", "zoe"], {}, UnknownNameError, "zoe"),
        ("ann", {}, TypeError, "delete='ann': expected a list of units"),
        (7, {}, TypeError, "delete=7: expected a list of units"),
        (np.eye(11), {}, ValueError, r"masks of shape \(11, 11\), expected \[sets, units=12\]"),
        (np.ones(12), {}, ValueError, r"masks of shape \(12,\), expected \[sets, units=12\]"),
        (np.ones((1, 1, 12)), {}, ValueError, r"masks of shape \(1, 1, 12\)"),
        (np.full((1, 12), 1.01), {}, ValueError, r"delete: masks: got 1\.01"),
        (np.full((1, 12), np.nan), {}, ValueError, "delete: masks: got nan"),
        (np.full((1, 12), 1j), {}, TypeError, "masks of complex128"),
        (np.full((1, 12), "x"), {}, TypeError, "masks of <U1"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(delete, settings, error, message):
    _, sketch = case(directions=20)
    with pytest.raises(error, match=message):
        sketch.predict(delete, **settings)


@pytest.mark.parametrize(
    ("delete", "weights", "message"),
    [
        ([], None, "no units were named"),
        (np.eye(12), None, "masks for 12 sets, expected the names of one set"),
        (["ann"], [0.5, 1.5], r"weights: got 1\.5"),
        (["ann"], [[0.5]], r"weights: got an array of shape \(1, 1\)"),
    ],
)
def test_a_curve_that_makes_no_sense_is_refused(delete, weights, message):
    _, sketch = case(directions=20)
    with pytest.raises(ValueError, match=message):
        sketch.curve(delete, weights)


def test_coefficients_that_do_not_fit_the_directions_are_refused():
    _, sketch = case(directions=20)
    with pytest.raises(ValueError, match=r"f: coefficients have shape \(19, 3, 4\).*with 20 directions and P = \(4,\)"):
        dataclasses.replace(sketch, coefficients=sketch.coefficients[:-1])
    with pytest.raises(ValueError, match=r"f: coefficients have shape \(20,\)"):
        dataclasses.replace(sketch, coefficients=sketch.coefficients[:, 0, 0], base=np.array(0.0))


def test_a_sketch_shows_its_size_and_not_its_numbers():
    assert repr(case(directions=20)[1]) == "Sketch('f', shape=(4,), units=12, directions=20, degree=3)"
