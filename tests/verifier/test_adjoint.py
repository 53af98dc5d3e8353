"""Second-order estimates from reverse sweeps, on quadratic and cubic forms with known coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from verifier.polynomials import Fixed, Polynomial, symmetric_tensor, uniform_directions

from unlearnkit.verifier import AdjointSketch
from unlearnkit.verifier.adjoint import averaged_term_by_gradients, low_rank_form, range_basis, residual_form

UNITS, ELEMENTS = 7, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def hessians(rng, rank: int = UNITS) -> np.ndarray:
    """Symmetric ``[ELEMENTS, UNITS, UNITS]`` of this rank, indefinite."""
    factors = rng.standard_normal((ELEMENTS, UNITS, rank))
    signs = np.where(np.arange(rank) % 2, -1.0, 1.0)
    return np.einsum("eur,r,evr->euv", factors, signs, factors)


def sets(rng, count: int = 5) -> np.ndarray:
    return (rng.random((count, UNITS)) < 0.5).astype(float)


def form(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.einsum("su,euv,sv->se", x, h, x)


def along(rng, h: np.ndarray, count: int) -> tuple[Fixed, np.ndarray]:
    """Directions, and ``H psi`` for them."""
    psi = uniform_directions(rng, count, UNITS)
    return Fixed(psi), np.einsum("euv,dv->deu", h, psi)


def basis_and_product(rng, h: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    basis = range_basis(h @ rng.standard_normal((UNITS, rank)))
    return basis, h @ basis


def test_the_basis_is_orthonormal_and_spans_the_range(rng):
    h = hessians(rng, rank=3)
    basis, _ = basis_and_product(rng, h, 3)
    assert np.allclose(basis.transpose(0, 2, 1) @ basis, np.eye(3))
    assert np.allclose(basis @ (basis.transpose(0, 2, 1) @ h), h)


@pytest.mark.parametrize("rank", [3, 4])
def test_a_form_of_low_rank_is_exact(rng, rank):
    h, x = hessians(rng, rank=3), sets(rng)
    assert np.allclose(low_rank_form(x, *basis_and_product(rng, h, rank)), form(x, h))


def test_what_the_low_rank_leaves_out_is_the_form_of_the_part_outside(rng):
    h, x = hessians(rng), sets(rng)
    basis, product = basis_and_product(rng, h, 2)
    for e in range(ELEMENTS):
        outside = x - x @ basis[e] @ basis[e].T
        left = np.einsum("su,uv,sv->s", outside, h[e], outside)
        assert np.allclose(low_rank_form(x, basis, product)[:, e] + left, form(x, h)[:, e])


def test_the_residual_estimate_is_unbiased_and_knows_its_error(rng):
    """Over 20,000 directions the mean is within four standard errors, which are the spread's own."""
    h, x = hessians(rng), sets(rng)
    basis, product = basis_and_product(rng, h, 2)
    mean, error = residual_form(x, basis, *along(rng, h, 20_000))
    left = form(x, h) - low_rank_form(x, basis, product)
    assert (np.abs(mean - left) <= 4 * error + 1e-12).all()
    few = [residual_form(x, basis, *along(rng, h, 50)) for _ in range(400)]
    spread = np.std([m for m, _ in few], axis=0)
    typical = np.mean([e for _, e in few], axis=0)
    assert np.allclose(typical, spread, rtol=0.2)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_estimates_from_gradients_are_unbiased(rng, degree):
    """``W_{j,r}`` on a form of degree r with a known symmetric tensor."""
    tensor, x, count = symmetric_tensor(rng, degree, UNITS, ELEMENTS), sets(rng), 20_000
    psi = uniform_directions(rng, count, UNITS)
    gradient = degree * np.broadcast_to(tensor, (count, *tensor.shape))
    for _ in range(degree - 1):
        gradient = np.einsum("de...u,du->de...", gradient, psi)
    values = averaged_term_by_gradients(x, Fixed(psi), gradient, degree)
    exact = Polynomial(np.zeros(ELEMENTS), [tensor] * degree).term(degree, x)
    error = values.std(1, ddof=1) / math.sqrt(count)
    assert (np.abs(values.mean(1) - exact) <= 4 * error + 1e-9).all()


def sketch(rng, h: np.ndarray, rank: int, directions: int) -> AdjointSketch:
    basis, product = basis_and_product(rng, h, rank)
    source, residual = along(rng, h, directions)
    return AdjointSketch(
        gradient=rng.standard_normal((ELEMENTS, UNITS)),
        basis=basis,
        product=product,
        residual=residual,
        directions=source,
    )


def test_the_point_prediction_leaves_the_residual_out_and_the_unbiased_one_adds_it(rng):
    h, x = hessians(rng), sets(rng)
    found = sketch(rng, h, 2, 3000)
    value, size = found.second_order(x)
    unbiased, error = found.second_order(x, unbiased=True)
    assert np.allclose(found.first_order(x), x @ found.gradient.T)
    assert np.allclose(value, low_rank_form(x, found.basis, found.product) / 2)
    assert (np.abs(unbiased - form(x, h) / 2) <= 4 * error + 1e-12).all()
    assert (size >= np.abs(unbiased - value) - 1e-12).all()
    assert (size >= error).all()


def test_without_residual_directions_the_error_is_unknown(rng):
    value, error = sketch(rng, hessians(rng), 2, 0).second_order(sets(rng))
    assert np.isfinite(value).all()
    assert np.isnan(error).all()
