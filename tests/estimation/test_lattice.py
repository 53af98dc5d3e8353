"""A form is known from its values at the lattice: every form of that degree, everywhere."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from tests.estimation.polynomials import Polynomial
from unlearnkit.estimation.lattice import lattice_points, lattice_shares, lattice_size


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_values_at_the_points_tell_the_form_everywhere(dimensions, degree):
    """The form by its tensor, contracted."""
    rng = np.random.default_rng(degree)
    form = Polynomial.random(rng, units=dimensions, elements=3, degree=degree)
    places = rng.standard_normal((7, dimensions))
    values = form.term(degree, lattice_points(dimensions, degree))
    np.testing.assert_allclose(
        lattice_shares(places, degree) @ values, form.term(degree, places), rtol=1e-10, atol=1e-9
    )


@pytest.mark.parametrize(("dimensions", "degree"), [(1, 3), (4, 2), (3, 4), (64, 2)])
def test_there_are_as_many_points_as_a_form_has_coefficients_and_each_is_its_own(dimensions, degree):
    points = lattice_points(dimensions, degree)
    assert len(points) == lattice_size(dimensions, degree) == math.comb(dimensions + degree - 1, degree)
    assert len(np.unique(points, axis=0)) == len(points)
    np.testing.assert_allclose(points.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(lattice_shares(points, degree), np.eye(len(points)))


def test_degree_one_is_linear_and_of_nothing_nothing_is_made():
    np.testing.assert_array_equal(lattice_points(3, 1), np.eye(3))
    places = np.array([[0.5, -2.0, 3.0], [0, 0, 0]])
    np.testing.assert_array_equal(lattice_shares(places, 1), places)
    assert not lattice_shares(places[1:], 3).any()


def test_another_process_finds_the_same_bits():
    """By plain Python floats, one operation after another."""
    place = [0.1, -0.7, 1 / 3, 2e-9]
    code = (
        "from itertools import combinations_with_replacement as c\n"
        f"a, r = {place!r}, 3; s = ((a[0] + a[1]) + a[2]) + a[3]; found = []\n"
        "for m in c(range(4), r):\n"
        "    w = 1.0\n"
        "    for k, i in enumerate(m):\n"
        "        t = m[:k].count(i); w = w * (r * a[i] - t * s) / (t + 1)\n"
        "    found.append(w.hex())\n"
        "print(' '.join(found))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [float(share).hex() for share in lattice_shares(np.array([place]), 3)[0]] == other
