"""Higher degrees on the span, where they grow: coordinate by coordinate, no term larger than the one before."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnkit.bundle.informed import InformedSlopes
from unlearnkit.bundle.spanned import Spanned
from unlearnkit.estimation.lattice import lattice_points

UNITS, LEADING = 4, 2
FIRST = np.array([[1.0, 2.0, -1.0], [0.5, -1.0, 1.0], [0.1, 0.2, 0.3], [1, 1, 1]])


def slopes(second: np.ndarray) -> InformedSlopes:
    """Of three weights: in the units' own basis, with the same second order ``|x|^2 second`` on the first two units."""
    points = lattice_points(LEADING, 2)
    forms = np.outer((points**2).sum(axis=1), second)
    return InformedSlopes(np.eye(UNITS), {"w": FIRST}, {}, LEADING, ({"w": forms},), ({},))


def test_a_coordinate_that_grows_keeps_its_first_order_and_the_others_their_second():
    """Of the two degrees ``(1.5, 1, 0)`` and ``2 (3, 0.1, 0.1)`` together."""
    found = Spanned(slopes(np.array([3.0, 0.1, 0.1])), [], [0, 1], 0, 2)
    taken = found.taken({"w": FIRST[0] + FIRST[1]})
    assert taken is not None
    assert taken.by_coordinate
    np.testing.assert_allclose(taken.terms["w"], [[1.5, 1, 0], [0, 0.2, 0]], atol=1e-15)
    unit = np.array([1.5, 1, 0]) / np.sqrt(2)
    stays = np.minimum(np.abs(unit), [3, 0.1, 0.1])
    assert found.ratio == pytest.approx(np.sqrt(2) * np.linalg.norm(stays) / np.linalg.norm(unit))


def test_what_is_tame_is_taken_whole():
    found = Spanned(slopes(np.array([0.3, 0.1, 0.1])), [], [0, 1], 0, 2)
    taken = found.taken({"w": FIRST[0] + FIRST[1]})
    assert taken is not None
    assert not taken.by_coordinate
    np.testing.assert_allclose(taken.terms["w"][1], [0.6, 0.2, 0.2])


def test_of_units_with_series_it_is_what_they_do_to_one_another_alone():
    """``|e_0 + e_1|^2 - |e_0|^2 - |e_1|^2`` is nothing; without a series to that degree nothing is taken off."""
    made = slopes(np.array([0.3, 0.1, 0.1]))
    nothing = Spanned(made, [0, 1], [], 3, 2).taken({"w": FIRST[0] + FIRST[1]})
    assert nothing is not None
    assert not nothing.terms["w"][1].any()
    taken = Spanned(made, [0, 1], [], 1, 2).taken({"w": FIRST[0] + FIRST[1]})
    assert taken is not None
    np.testing.assert_allclose(taken.terms["w"][1], [0.6, 0.2, 0.2])


def test_units_that_do_not_reach_into_the_span_have_no_ratio():
    found = Spanned(slopes(np.ones(3)), [], [3], 0, 2)
    assert np.isnan(found.ratio)
    assert found.taken({"w": FIRST[3]}) is None
