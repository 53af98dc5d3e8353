"""The projection against numpy's pseudo-inverse and least squares."""

from __future__ import annotations

import numpy as np
import pytest

import unlearnkit.estimation.projection
from tests.estimation.polynomials import Fixed, uniform_directions
from unlearnkit.estimation import Projection
from unlearnkit.estimation.projection import inner_products

SHAPES = [(1, 1), (1, 5), (3, 5), (4, 8), (5, 8), (20, 7), (7, 60)]


def measurements(psi: np.ndarray) -> np.ndarray:
    return np.concatenate([psi.real, psi.imag])


@pytest.fixture(params=SHAPES, ids=lambda shape: "{}x{}".format(*shape))
def case(request):
    """Directions, and gradients ``[units, 2, 3]`` of a probe of shape [2, 3]."""
    count, units = request.param
    rng = np.random.default_rng(count * units)
    return uniform_directions(rng, count, units), rng.standard_normal((units, 2, 3))


def test_the_gradient_is_the_minimum_norm_solution(case):
    psi, g = case
    projection = Projection(Fixed(psi))
    coefficients = np.tensordot(psi, g, axes=1)
    gradient = projection.gradient(projection.gradient_coordinates(coefficients))
    y = measurements(coefficients).reshape(2 * len(psi), -1)
    expected = np.linalg.pinv(measurements(psi)) @ y
    np.testing.assert_allclose(gradient, expected.reshape(g.shape), atol=1e-9)
    lstsq = np.linalg.lstsq(measurements(psi), y, rcond=None)[0]
    np.testing.assert_allclose(gradient, lstsq.reshape(g.shape), atol=1e-9)


def test_coordinates_are_those_of_an_orthonormal_basis_of_the_span(case):
    psi, g = case
    projection = Projection(Fixed(psi))
    x = np.random.default_rng(0).standard_normal((4, psi.shape[1]))
    a = measurements(psi)
    projector = np.linalg.pinv(a) @ a
    xi, gamma = projection.coordinates(x), projection.gradient_coordinates(np.tensordot(psi, g, axes=1))
    assert xi.shape == (4, projection.rank)
    np.testing.assert_allclose(xi @ xi.T, x @ projector @ x.T, atol=1e-9)
    np.testing.assert_allclose(np.tensordot(xi, gamma, axes=1), np.tensordot(x @ projector, g, axes=1), atol=1e-9)


def test_products_that_are_at_hand_are_not_computed_again(case):
    psi, _ = case
    source = Fixed(psi)
    projection = Projection(source)
    x = np.random.default_rng(0).standard_normal((4, psi.shape[1]))
    products, expected = inner_products(source, x), projection.coordinates(x)
    before = source.made
    np.testing.assert_array_equal(projection.coordinates(x, products), expected)
    assert source.made == before


def test_the_gradient_is_exact_with_as_many_measurements_as_units(case):
    psi, g = case
    projection = Projection(Fixed(psi))
    assert projection.is_exact == (2 * len(psi) >= psi.shape[1])
    assert projection.rank == min(2 * len(psi), psi.shape[1])
    gradient = projection.gradient(projection.gradient_coordinates(np.tensordot(psi, g, axes=1)))
    assert np.allclose(gradient, g, atol=1e-9) == projection.is_exact


def test_explicit_directions_that_repeat_themselves_are_not_exact():
    rng = np.random.default_rng(1)
    psi = np.repeat(uniform_directions(rng, 2, 6), 5, axis=0)
    projection, g = Projection(Fixed(psi)), rng.standard_normal(6)
    assert projection.rank == 4
    assert not projection.is_exact
    gradient = projection.gradient(projection.gradient_coordinates(psi @ g))
    np.testing.assert_allclose(gradient, np.linalg.pinv(measurements(psi)) @ measurements(psi @ g), atol=1e-9)


def test_real_directions_measure_once_each():
    psi = np.eye(6)[:4].astype(complex)
    projection, g = Projection(Fixed(psi)), np.arange(1.0, 7)
    assert projection.rank == 4
    np.testing.assert_allclose(
        projection.gradient(projection.gradient_coordinates(psi @ g)), [1, 2, 3, 4, 0, 0], atol=1e-12
    )


@pytest.mark.parametrize("count", [3, 30])
def test_nothing_depends_on_the_size_of_blocks(monkeypatch, count):
    rng = np.random.default_rng(2)
    psi, g, x = uniform_directions(rng, count, 20), rng.standard_normal((20, 2)), rng.standard_normal((4, 20))

    def results():
        projection = Projection(Fixed(psi))
        gamma = projection.gradient_coordinates(psi @ g)
        return projection.gradient(gamma), projection.coordinates(x) @ gamma, inner_products(Fixed(psi), x)

    whole = results()
    monkeypatch.setattr(unlearnkit.estimation.projection, "_BLOCK_ELEMENTS", 40)
    for one, other in zip(whole, results(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_blocks_hold_a_bounded_number_of_elements(monkeypatch):
    monkeypatch.setattr(unlearnkit.estimation.projection, "_BLOCK_ELEMENTS", 100)
    sizes = []

    class Watched(Fixed):
        def block(self, first, last):
            sizes.append((last - first) * self.units)
            return super().block(first, last)

    source = Watched(uniform_directions(np.random.default_rng(0), 9, 30))
    projection = Projection(source)
    projection.gradient(projection.gradient_coordinates(np.ones((9, 1), complex)))
    assert max(sizes) <= 100


def test_directions_are_factored_once_and_only_when_needed():
    source = Fixed(uniform_directions(np.random.default_rng(0), 3, 20))
    projection = Projection(source)
    assert source.made == 0
    projection.gradient_coordinates(np.ones((3, 2), complex))
    made = source.made
    projection.gradient_coordinates(np.ones((3, 2), complex))
    assert source.made == made > 0
