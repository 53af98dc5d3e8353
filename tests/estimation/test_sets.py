"""Many sets at once are the same sets one after the other."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.estimation.polynomials import Fixed, Polynomial, uniform_directions
from tests.estimation.sketches import NAMES, arrays, case, mask
from tests.estimation.test_solo import series, sketch, swept
from unlearnkit.errors import UnknownNameError
from unlearnkit.estimation import Projection, ReverseSketch, Sketch
from unlearnkit.estimation.sets import dense, lengths, sparse, touched

SETS = [["ann"], ["cat", "ann", "leo"], NAMES, ["ben", "dan"], ["dan"]]


def sketches() -> dict[str, Sketch]:
    """Of every kind of source."""
    rng = np.random.default_rng(0)
    polynomial = Polynomial.random(rng, units=12, elements=4, degree=3, scale=0.1)
    alone = series(polynomial)
    return {
        "first order": sketch(polynomial, reverse=swept(rng, polynomial, 0)),
        "low rank": sketch(polynomial, reverse=swept(rng, polynomial, 3)),
        "low rank and residual": sketch(polynomial, reverse=swept(rng, polynomial, 3, residual=5)),
        "cubic": sketch(polynomial, reverse=swept(rng, polynomial, 3, cubic=2, residual=2)),
        "alone": sketch(polynomial, reverse=swept(rng, polynomial, 3, solo=alone, residual=2), solo=alone),
        "forward": case(directions=40)[1],
    }


@pytest.mark.parametrize("name", sketches())
@pytest.mark.parametrize("settings", [{}, {"weight": 0.4}, {"degree": 1}, {"unbiased": True}])
def test_many_sets_are_predicted_as_one_after_the_other(name, settings):
    found = sketches()[name]
    together = arrays(found.predict_many(SETS, **settings))
    for row, one in enumerate(SETS):
        for what, expected in arrays(found.predict(one, **settings)).items():
            np.testing.assert_allclose(together[what][row], expected, rtol=1e-9, atol=1e-12, err_msg=what)


def test_a_person_may_be_in_several_sets_and_once_in_each():
    found = sketches()["low rank"]
    assert found.predict_many([["ann"], ["ann"]]).value.shape == (2, 4)
    with pytest.raises(ValueError, match="named more than once: 'ben', 'ben'"):
        found.predict_many([["ann"], ["ben", "ann", "ben"]])


@pytest.mark.parametrize(
    ("delete", "error"),
    [
        ([], ValueError),
        ([["ann"], []], ValueError),
        ("ann", TypeError),
        (["ann", "ben"], TypeError),
        ([["ann"], ["zoe"]], UnknownNameError),
    ],
)
def test_what_is_no_list_of_sets_is_refused(delete, error):
    with pytest.raises(error):
        sketches()["low rank"].predict_many(delete)


def test_sparse_and_dense_sets_are_the_same():
    thin, positions = sparse([[3, 1], [7], [1, 0, 7]], 9), [0, 1, 3, 7]
    full = np.concatenate([mask("dan", "ben"), mask("hal"), mask("ben", "ann", "hal")])[:, :9]
    np.testing.assert_array_equal(dense(thin), full)
    np.testing.assert_array_equal(lengths(thin), lengths(full))
    for sets in (thin, full):
        inside, units = touched(sets)
        assert units.tolist() == positions
        np.testing.assert_array_equal(dense(inside), full[:, positions])


def test_many_small_sets_of_very_many_units_take_no_array_of_sets_by_units():
    units, count, rng = 50_000, 400, np.random.default_rng(0)
    reverse = ReverseSketch(
        gradient=rng.standard_normal((1, units)),
        vectors=rng.standard_normal((1, units, 2)),
        values=np.ones((1, 2)),
        residual=uniform_directions(rng, 2, units)[:, None],
        directions=Fixed(uniform_directions(rng, 2, units)),
    )
    nowhere = Projection(Fixed(np.zeros((0, units))))
    found = Sketch(
        name="f",
        base=np.zeros(1),
        coefficients=np.zeros((0, 1, 1), dtype=complex),
        projection=nowhere,
        resolve=np.array,
        reverse=reverse,
    )
    sets = [[int(unit)] for unit in rng.integers(0, units, count)]
    found.predict_many(sets[:2])
    tracemalloc.start()
    found.predict_many(sets)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * units * count / 20
