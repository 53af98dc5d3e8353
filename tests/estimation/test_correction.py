"""Which terms of the weights' series are taken: all while the series falls, else coordinate by coordinate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.estimation.convergence import CONVERGING, DIVERGING, DOUBTFUL, UNKNOWN
from unlearnkit.estimation.correction import reach, take, verdict

FALLING = {"a": np.array([[4.0, 0.1], [1.0, 0.3], [0.5, 0.2]]), "b": np.array([[2.0], [-1.0], [0.1]])}
GROWING = {"a": np.array([[4.0, 0.1], [1.0, 30.0], [0.5, 0.0]]), "b": np.array([[2.0], [-1.0], [1.5]])}


def test_a_series_that_falls_is_taken_whole():
    taken = take(FALLING, 3)
    assert not taken.by_coordinate
    for name, terms in FALLING.items():
        np.testing.assert_array_equal(taken.terms[name], terms)


def test_its_ratio_is_the_largest_between_sizes_over_all_weights():
    sizes = [np.sqrt(sum((terms[r] ** 2).sum() for terms in FALLING.values())) for r in range(3)]
    assert take(FALLING, 3).ratio == pytest.approx(max(sizes[1] / sizes[0], sizes[2] / sizes[1]), rel=1e-14)
    assert take(FALLING, 2).ratio == pytest.approx(sizes[1] / sizes[0], rel=1e-14)
    assert math.isnan(take(FALLING, 1).ratio)


def test_of_a_series_that_grows_each_coordinate_ends_where_it_would_grow():
    """Also where a later term is small again: after one that grew, it says nothing."""
    taken = take(GROWING, 3)
    assert taken.by_coordinate
    assert taken.ratio == pytest.approx(np.sqrt((1.0**2 + 0.1**2 + 1.0**2) / (4.0**2 + 0.1**2 + 2.0**2)))
    np.testing.assert_array_equal(taken.terms["a"], [[4.0, 0.1], [1.0, 0.0], [0.5, 0.0]])
    np.testing.assert_array_equal(taken.terms["b"], [[2.0], [-1.0], [0.0]])
    assert take(GROWING, 1).by_coordinate is False


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=6),
    st.integers(1, 3),
)
def test_what_is_taken_never_grows(rows, degree):
    """The first order is always there; its size bounds that of every further degree."""
    series = {"w": np.array(rows).T}
    taken = take(series, degree)
    np.testing.assert_array_equal(taken.terms["w"][0], series["w"][0])
    assert degree == 1 or 0 <= taken.ratio <= 1
    kept = taken.terms["w"] == series["w"][:degree]
    assert (kept | (taken.terms["w"] == 0)).all()


def test_what_begins_with_the_second_degree_is_not_taken():
    taken = take({"w": np.array([[0.0], [2.0]])}, 2)
    assert (taken.by_coordinate, taken.ratio) == (True, 0.0)
    np.testing.assert_array_equal(taken.terms["w"], 0)


def test_the_order_of_the_weights_changes_no_bit():
    rng = np.random.default_rng(0)
    series = {name: rng.standard_normal((3, 50)) * 10.0 ** rng.integers(-6, 6, (3, 50)) for name in "abcdef"}
    one, other = take(series, 3), take(dict(reversed(series.items())), 3)
    assert one.ratio == other.ratio
    assert one.by_coordinate == other.by_coordinate


def test_several_units_reach_as_far_as_their_ratios_root_sum_square():
    assert reach([0.3, 0.4]) == pytest.approx(0.5)
    assert reach([]) == 0
    assert math.isnan(reach([0.3, math.nan]))


@pytest.mark.parametrize(
    ("ratio", "by_coordinate", "word"),
    [(0.4, 0, CONVERGING), (0.4, 2, DOUBTFUL), (1.2, 0, DIVERGING), (1.0, 2, DIVERGING), (math.nan, 0, UNKNOWN)],
)
def test_what_is_said_of_it(ratio, by_coordinate, word):
    assert verdict(ratio, by_coordinate=by_coordinate) == word
