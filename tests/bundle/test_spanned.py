"""Higher degrees on the span: added where they fall from degree to degree, and left out where they grow."""

from __future__ import annotations

from dataclasses import replace

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


def test_where_it_grows_nothing_is_added_and_the_ratio_counts_what_stays():
    """Of the two degrees ``(1.5, 1, 0)`` and ``2 (3, 0.1, 0.1)`` together."""
    found = Spanned(slopes(np.array([3.0, 0.1, 0.1])), [], [0, 1], 0, 2)
    added = found.added({"w": FIRST[0] + FIRST[1]})
    assert added is not None
    assert added.grows
    assert not added.change
    unit = np.array([1.5, 1, 0]) / np.sqrt(2)
    stays = np.minimum(np.abs(unit), [3, 0.1, 0.1])
    assert found.ratio == pytest.approx(np.sqrt(2) * np.linalg.norm(stays) / np.linalg.norm(unit))


def test_what_would_grow_at_the_length_of_those_who_leave_is_not_added_either():
    """A unit of which the span holds a tenth: there the second degree is small, and at its length it is not."""
    made = slopes(np.array([3.0, 0.1, 0.1]))
    found = Spanned(replace(made, directions=np.sqrt(0.1) * np.eye(UNITS)), [], [0], 0, 2)
    assert np.sqrt(0.1) * np.linalg.norm(FIRST[0]) > 0.1 * 3
    added = found.added({"w": np.sqrt(0.1) * FIRST[0]})
    assert added is not None
    assert added.grows


def test_what_is_tame_is_added_whole():
    added = Spanned(slopes(np.array([0.3, 0.1, 0.1])), [], [0, 1], 0, 2).added({"w": FIRST[0] + FIRST[1]})
    assert added is not None
    assert not added.grows
    np.testing.assert_allclose(added.change["w"], [0.6, 0.2, 0.2])


def test_of_units_with_series_it_is_what_they_do_to_one_another_alone():
    """``|e_0 + e_1|^2 - |e_0|^2 - |e_1|^2`` is nothing; without a series to that degree nothing is taken off."""
    made = slopes(np.array([0.3, 0.1, 0.1]))
    nothing = Spanned(made, [0, 1], [], 3, 2).added({"w": FIRST[0] + FIRST[1]})
    assert nothing is not None
    assert not nothing.change["w"].any()
    added = Spanned(made, [0, 1], [], 1, 2).added({"w": FIRST[0] + FIRST[1]})
    assert added is not None
    np.testing.assert_allclose(added.change["w"], [0.6, 0.2, 0.2])


def test_units_that_do_not_reach_into_the_span_have_no_ratio():
    found = Spanned(slopes(np.ones(3)), [], [3], 0, 2)
    assert np.isnan(found.ratio)
    assert found.added({"w": FIRST[3]}) is None
