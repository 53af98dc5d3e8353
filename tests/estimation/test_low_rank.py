"""Low-rank forms of symmetric matrices against numpy's own eigenpairs and explicit dense products."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnkit.estimation.low_rank import eigenpairs, quadratic_form, shared_basis

UNITS = 9


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def symmetric(rng, rank: int = UNITS) -> np.ndarray:
    """Symmetric ``[UNITS, UNITS]`` of this rank, indefinite, with spread eigenvalues."""
    vectors = np.linalg.qr(rng.standard_normal((UNITS, rank)))[0]
    values = np.where(np.arange(rank) % 2, -1.0, 1.0) * 0.7 ** np.arange(rank)
    return (vectors * values) @ vectors.T


def found(h: np.ndarray, basis: np.ndarray, start: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    return eigenpairs(basis, h @ basis, start, h @ start, count)


def ranged(rng, h: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """A basis from products with random vectors, as a sketch makes it, and those vectors."""
    start = rng.standard_normal((UNITS, rank))
    return shared_basis((h @ start)[None], rank), start


def top(h: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(h)
    order = np.argsort(-np.abs(values))[:count]
    return vectors[:, order], values[order]


def dense(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (vectors * values) @ vectors.T


def largest_angle(one: np.ndarray, other: np.ndarray) -> float:
    """Between two subspaces, from their orthonormal bases, as the norm of the difference of the projectors."""
    return float(np.linalg.norm(one @ one.T - other @ other.T, 2))


@pytest.mark.parametrize("rank", [3, 4, 6])
def test_a_matrix_of_no_higher_rank_comes_back_whole(rng, rank):
    h = symmetric(rng, rank=3)
    vectors, values = found(h, *ranged(rng, h, rank), count=2 * rank)
    np.testing.assert_allclose(dense(vectors, values), h, atol=1e-12)
    np.testing.assert_allclose(values[:3], top(h, 3)[1], atol=1e-12)
    np.testing.assert_allclose(values[3:], 0, atol=1e-12)


@pytest.mark.parametrize("count", [1, 4, UNITS])
def test_a_complete_basis_gives_the_top_eigenpairs(rng, count):
    h = symmetric(rng)
    basis = np.linalg.qr(rng.standard_normal((UNITS, UNITS)))[0]
    vectors, values = found(h, basis, rng.standard_normal((UNITS, UNITS)), count)
    expected_vectors, expected = top(h, count)
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(dense(vectors, values), dense(expected_vectors, expected), atol=1e-12)


def test_eigenvectors_are_orthonormal_and_the_largest_come_first(rng):
    h = symmetric(rng)
    vectors, values = found(h, *ranged(rng, h, 4), count=8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(8), atol=1e-12)
    assert (np.diff(np.abs(values)) <= 1e-15).all()


def test_all_eigenpairs_together_are_the_form_that_is_promised(rng):
    """``Q Q' H + H Q Q' - Q Q' H Q Q'`` and Nystrom's form of the rest, from dense projectors and a pseudo-inverse."""
    h, start = symmetric(rng), rng.standard_normal((UNITS, 2))
    basis = np.linalg.qr(rng.standard_normal((UNITS, 2)))[0]
    inside = basis @ basis.T
    outside = np.eye(UNITS) - inside
    rest = outside @ h @ outside
    factor = rest @ start
    core = start.T @ factor
    values, vectors = np.linalg.eigh(core)
    inverse = np.where(np.abs(values) > 0.1 * np.abs(values).max(), 1 / values, 0)
    expected = inside @ h + h @ inside - inside @ h @ inside + factor @ dense(vectors, inverse) @ factor.T
    np.testing.assert_allclose(dense(*found(h, basis, start, UNITS)), expected, atol=1e-12)


def test_either_side_in_the_span_of_the_basis_makes_the_form_exact(rng):
    h = symmetric(rng)
    basis, start = ranged(rng, h, 3)
    form = dense(*found(h, basis, start, UNITS))
    np.testing.assert_allclose(form @ basis, h @ basis, atol=1e-12)


def test_what_nystrom_adds_helps_and_does_no_harm_to_few_eigenpairs(rng):
    """Against the same form without it, over positive matrices, where Nystrom's is known to lie below the matrix."""
    better = []
    for _ in range(50):
        root = symmetric(rng)
        h = root @ root
        basis, start = ranged(rng, h, 2)
        inside = basis @ basis.T
        without = inside @ h + h @ inside - inside @ h @ inside
        error = np.linalg.norm(h - dense(*found(h, basis, start, UNITS)))
        better.append(error / np.linalg.norm(h - without))
    assert np.median(better) < 0.9


def test_zero_has_no_eigenvalues(rng):
    h = np.zeros((UNITS, UNITS))
    vectors, values = found(h, *ranged(rng, h, 3), count=6)
    assert not values.any()
    assert np.isfinite(vectors).all()
    assert vectors.shape == (UNITS, 6)


def test_eigenpairs_that_are_missing_are_zero(rng):
    """One column of a basis, and one random vector, give three eigenpairs at most."""
    h = symmetric(rng)
    vectors, values = found(h, *ranged(rng, h, 1), count=7)
    assert np.count_nonzero(values) == 3
    assert not vectors[:, 3:].any()


def test_single_precision_products_are_worked_on_in_double(rng):
    h = symmetric(rng, rank=3)
    basis, start = ranged(rng, h, 4)
    single = (array.astype(np.float32) for array in (basis, h @ basis, start, h @ start))
    vectors, values = eigenpairs(*single, 6)
    assert vectors.dtype == values.dtype == np.float64
    np.testing.assert_allclose(dense(vectors, values), h, atol=1e-5)


def test_the_shared_basis_is_orthonormal_and_spans_every_range(rng):
    hessians = np.stack([symmetric(rng, rank=2) for _ in range(3)])
    basis = shared_basis(hessians @ rng.standard_normal((UNITS, 4)), 6)
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(basis @ (basis.T @ hessians), hessians, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1e9, -3.0])
def test_the_shared_basis_does_not_change_with_the_size_of_an_element(rng, scale):
    products = rng.standard_normal((3, UNITS, 4))
    basis = shared_basis(products, 5)
    products[1] *= scale
    assert largest_angle(shared_basis(products, 5), basis) < 1e-12


def test_an_element_without_curvature_leaves_the_shared_basis_to_the_others(rng):
    products = rng.standard_normal((2, UNITS, 4))
    with_nothing = np.concatenate([products, np.zeros((1, UNITS, 4))])
    assert largest_angle(shared_basis(with_nothing, 4), shared_basis(products, 4)) < 1e-12
    assert np.isfinite(shared_basis(np.zeros((2, UNITS, 4)), 4)).all()


def test_the_shared_basis_keeps_what_most_of_the_products_have_in_common(rng):
    """No other basis of that size leaves less of them: Eckart, Young and Mirsky."""
    products = rng.standard_normal((3, UNITS, 4))
    beside = np.concatenate([p / np.linalg.norm(p) for p in products], axis=1)
    singular = np.linalg.svd(beside, compute_uv=False)
    basis = shared_basis(products, 5)
    assert np.linalg.norm(beside - basis @ basis.T @ beside) == pytest.approx(np.linalg.norm(singular[5:]), rel=1e-10)


def test_a_quadratic_form_is_the_dense_one(rng):
    hessians = np.stack([symmetric(rng) for _ in range(3)])
    vectors, values = (np.stack(arrays) for arrays in zip(*(top(h, UNITS) for h in hessians), strict=True))
    x = rng.standard_normal((5, UNITS))
    np.testing.assert_allclose(quadratic_form(x, vectors, values), np.einsum("su,euv,sv->se", x, hessians, x))
    assert not quadratic_form(x, vectors[:, :, :0], values[:, :0]).any()
