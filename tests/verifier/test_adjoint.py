"""Second-order estimates from reverse sweeps, on quadratic and cubic forms with known coefficients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from unlearnkit.bundle import Directions, random_directions
from unlearnkit.verifier import AdjointSketch
from unlearnkit.verifier.adjoint import averaged_term_by_gradients, low_rank_form, range_basis, residual_form

KEY = bytes(range(16))
UNITS, ELEMENTS = 7, 3
RANDOM = np.random.default_rng(0)


def hessians(rank: int = UNITS) -> np.ndarray:
    """Symmetric ``[ELEMENTS, UNITS, UNITS]`` of this rank, indefinite."""
    factors = RANDOM.standard_normal((ELEMENTS, UNITS, rank))
    signs = np.where(np.arange(rank) % 2, -1.0, 1.0)
    return np.einsum("eur,r,evr->euv", factors, signs, factors)


def sets(count: int = 5) -> np.ndarray:
    return (RANDOM.random((count, UNITS)) < 0.5).astype(float)


def form(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.einsum("su,euv,sv->se", x, h, x)


def along(h: np.ndarray, count: int, key: bytes = KEY) -> tuple[Directions, np.ndarray]:
    """Directions, and ``H psi`` for them."""
    psi = random_directions(key, 0, count, UNITS)
    return Directions(count, UNITS, key=key), np.einsum("euv,dv->deu", h, psi)


def basis_and_product(h: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    basis = range_basis(h @ RANDOM.standard_normal((UNITS, rank)))
    return basis, h @ basis


def test_the_basis_is_orthonormal_and_spans_the_range():
    h = hessians(rank=3)
    basis, _ = basis_and_product(h, 3)
    assert np.allclose(basis.transpose(0, 2, 1) @ basis, np.eye(3))
    assert np.allclose(basis @ (basis.transpose(0, 2, 1) @ h), h)


@pytest.mark.parametrize("rank", [3, 4])
def test_a_form_of_low_rank_is_exact(rank):
    h, x = hessians(rank=3), sets()
    assert np.allclose(low_rank_form(x, *basis_and_product(h, rank)), form(x, h))


def test_what_the_low_rank_leaves_out_is_the_form_of_the_part_outside():
    h, x = hessians(), sets()
    basis, product = basis_and_product(h, 2)
    for e in range(ELEMENTS):
        outside = x - x @ basis[e] @ basis[e].T
        left = np.einsum("su,uv,sv->s", outside, h[e], outside)
        assert np.allclose(low_rank_form(x, basis, product)[:, e] + left, form(x, h)[:, e])


def test_the_residual_estimate_is_unbiased_and_knows_its_error():
    """Over 20,000 directions the mean is within four standard errors, which are the spread's own."""
    h, x = hessians(), sets()
    basis, product = basis_and_product(h, 2)
    mean, error = residual_form(x, basis, *along(h, 20_000))
    left = form(x, h) - low_rank_form(x, basis, product)
    assert (np.abs(mean - left) <= 4 * error + 1e-12).all()
    few = [residual_form(x, basis, *along(h, 50, bytes([i] * 16))) for i in range(100)]
    spread = np.std([m for m, _ in few], axis=0)
    typical = np.mean([e for _, e in few], axis=0)
    assert np.allclose(typical, spread, rtol=0.35)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_estimates_from_gradients_are_unbiased(degree):
    """``W_{j,r}`` on a form of degree r with a known symmetric tensor."""
    tensor = RANDOM.standard_normal((UNITS,) * degree)
    tensor = sum(tensor.transpose(p) for p in itertools.permutations(range(degree))) / math.factorial(degree)
    count, x = 40_000, sets()
    psi = random_directions(KEY, 0, count, UNITS)
    gradient, exact = np.broadcast_to(tensor, (count, *tensor.shape)), np.broadcast_to(tensor, (len(x), *tensor.shape))
    for _ in range(degree - 1):
        gradient = np.einsum("d...u,du->d...", gradient, psi)
    for _ in range(degree):
        exact = np.einsum("s...u,su->s...", exact, x)
    source = Directions(count, UNITS, key=KEY)
    values = averaged_term_by_gradients(x, source, degree * gradient[:, None, :], degree)[:, :, 0]
    error = values.std(1, ddof=1) / math.sqrt(count)
    assert (np.abs(values.mean(1) - exact) <= 4 * error + 1e-9).all()


def sketch(h: np.ndarray, rank: int, directions: int) -> AdjointSketch:
    basis, product = basis_and_product(h, rank)
    source, residual = along(h, directions)
    return AdjointSketch(
        gradient=RANDOM.standard_normal((ELEMENTS, UNITS)),
        basis=basis,
        product=product,
        residual=residual,
        directions=source,
    )


def test_the_point_prediction_leaves_the_residual_out_and_the_unbiased_one_adds_it():
    h, x = hessians(), sets()
    found = sketch(h, 2, 3000)
    value, size = found.second_order(x)
    unbiased, error = found.second_order(x, unbiased=True)
    assert np.allclose(found.first_order(x), x @ found.gradient.T)
    assert np.allclose(value, low_rank_form(x, found.basis, found.product) / 2)
    assert (np.abs(unbiased - form(x, h) / 2) <= 4 * error + 1e-12).all()
    assert (size >= np.abs(unbiased - value) - 1e-12).all()
    assert (size >= error).all()


def test_without_residual_directions_the_error_is_unknown():
    value, error = sketch(hessians(), 2, 0).second_order(sets())
    assert np.isfinite(value).all()
    assert np.isnan(error).all()
