"""The cubic form of low rank, against the dense third derivative."""

from __future__ import annotations

import numpy as np
import pytest

from tests.estimation.polynomials import symmetric_tensor
from unlearnkit.estimation.cubic import CubicForm, pair_directions, slices

N, E = 6, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def third(rng) -> np.ndarray:
    """``T``, symmetric, ``[E, N, N, N]``: f_3(x) = T[x, x, x] / 6."""
    return symmetric_tensor(rng, 3, N, E)


def at(tensor: np.ndarray, *vectors: np.ndarray) -> np.ndarray:
    """``T[a, b, c]`` for rows of vectors: ``[rows, E]``."""
    return np.einsum("euvw,su,sv,sw->se", tensor, *vectors)


def form(rng, tensor: np.ndarray, rank: int) -> CubicForm:
    basis = np.linalg.qr(rng.standard_normal((N, rank)))[0].T
    v = pair_directions(basis)
    return CubicForm(basis, slices(np.einsum("euvw,dv,dw->deu", tensor, v, v) / 2, rank))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_gradients_along_pairs_give_all_products_of_the_basis(rng, third, rank):
    found = form(rng, third, rank)
    first, second = np.triu_indices(rank)
    expected = np.einsum("euvw,dv,dw->deu", third, found.basis[first], found.basis[second])
    np.testing.assert_allclose(found.slices, expected, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_form_is_the_one_that_is_promised(rng, third, rank):
    found, x = form(rng, third, rank), rng.standard_normal((5, N))
    inside = x @ found.basis.T @ found.basis
    np.testing.assert_allclose(found.third_order(x), at(third, inside, inside, 3 * x - 2 * inside) / 6, atol=1e-12)


def test_with_a_complete_basis_it_is_exact(rng, third):
    x = rng.standard_normal((5, N))
    np.testing.assert_allclose(form(rng, third, N).third_order(x), at(third, x, x, x) / 6, atol=1e-12)


def test_it_misses_terms_of_second_order_in_what_the_basis_leaves_out(rng, third):
    found, x = form(rng, third, 2), rng.standard_normal((1, N))
    inside = x @ found.basis.T @ found.basis
    errors = []
    for step in (0.01, 0.02):
        point = inside + step * (x - inside)
        errors.append(np.abs(found.third_order(point) - at(third, point, point, point) / 6).max())
    assert errors[1] / errors[0] == pytest.approx(4, rel=0.05)


def test_its_diagonal_is_the_form_at_unit_vectors(rng, third):
    found = form(rng, third, 3)
    np.testing.assert_allclose(found.diagonal(), found.third_order(np.eye(N)), atol=1e-12)
