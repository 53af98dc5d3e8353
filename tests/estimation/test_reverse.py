"""Second-order estimates from reverse sweeps, on quadratic and cubic forms with known coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.estimation.polynomials import Fixed, Polynomial, symmetric_tensor, uniform_directions
from unlearnkit.estimation import ReverseSketch
from unlearnkit.estimation.reverse import averaged_term_by_gradients

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


def sketch(rng, h: np.ndarray, pairs: int, directions: int) -> ReverseSketch:
    """With the true top eigenpairs, and residuals along so many directions."""
    values, vectors = np.linalg.eigh(h)
    order = np.argsort(-np.abs(values), axis=1)[:, :pairs]
    source, residual = along(rng, h, directions)
    return ReverseSketch(
        gradient=rng.standard_normal((ELEMENTS, UNITS)),
        vectors=np.take_along_axis(vectors, order[:, None], axis=2),
        values=np.take_along_axis(values, order, axis=1),
        residual=residual,
        directions=source,
    )


def low_rank(found: ReverseSketch) -> np.ndarray:
    """L, dense."""
    return np.einsum("euk,ek,evk->euv", found.vectors, found.values, found.vectors)


def test_the_first_order_is_the_gradients_own(rng):
    found, x = sketch(rng, hessians(rng), 2, 0), sets(rng)
    np.testing.assert_allclose(found.first_order(x), x @ found.gradient.T)


@pytest.mark.parametrize("pairs", [3, 5, UNITS])
def test_a_form_of_low_rank_is_exact(rng, pairs):
    """And so sure of it that the residual along any direction is nothing."""
    h, x = hessians(rng, rank=3), sets(rng)
    found = sketch(rng, h, pairs, 4)
    value, error = found.second_order(x)
    np.testing.assert_allclose(value, form(x, h) / 2, atol=1e-12)
    np.testing.assert_allclose(error, 0, atol=1e-12)
    assert found.rank == pairs


def test_residual_products_are_those_of_what_is_left_out(rng):
    h = hessians(rng)
    found = sketch(rng, h, 2, 4)
    expected = np.einsum("euv,dv->edu", h - low_rank(found), found.directions.block(0, 4))
    np.testing.assert_allclose(np.stack(list(found.residual_products())), expected, atol=1e-12)


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_the_residual_estimate_is_unbiased_and_knows_its_error(rng, pairs):
    """Over 20,000 directions the mean is within four standard errors, which are the spread's own."""
    h, x = hessians(rng), sets(rng)
    found = sketch(rng, h, pairs, 20_000)
    unbiased, error = found.second_order(x, unbiased=True)
    assert (np.abs(unbiased - form(x, h) / 2) <= 4 * error + 1e-12).all()
    few = [sketch(rng, h, pairs, 50).second_order(x, unbiased=True) for _ in range(400)]
    spread = np.std([value for value, _ in few], axis=0)
    typical = np.mean([error for _, error in few], axis=0)
    np.testing.assert_allclose(typical, spread, rtol=0.2, atol=1e-12)


def test_any_low_rank_form_keeps_the_estimate_unbiased(rng):
    """It is a control variate: one that has nothing to do with the Hessian only makes it noisier."""
    h, x = hessians(rng), sets(rng)
    good = sketch(rng, h, 3, 20_000)
    wrong = ReverseSketch(
        gradient=good.gradient,
        vectors=rng.standard_normal(good.vectors.shape),
        values=good.values,
        residual=good.residual,
        directions=good.directions,
    )
    unbiased, error = wrong.second_order(x, unbiased=True)
    assert (np.abs(unbiased - form(x, h) / 2) <= 4 * error + 1e-12).all()
    assert np.median(error / good.second_order(x, unbiased=True)[1]) > 1.5


def test_the_better_the_low_rank_the_smaller_the_error(rng):
    h, x = hessians(rng), sets(rng)
    errors = [sketch(rng, h, pairs, 3000).second_order(x, unbiased=True)[1].mean() for pairs in range(UNITS + 1)]
    assert (np.diff(errors) < 0).all()


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


def test_the_point_prediction_leaves_the_residual_out_and_the_unbiased_one_adds_it(rng):
    h, x = hessians(rng), sets(rng)
    found = sketch(rng, h, 2, 3000)
    value, size = found.second_order(x)
    unbiased, error = found.second_order(x, unbiased=True)
    np.testing.assert_allclose(value, form(x, low_rank(found)) / 2)
    assert (size >= np.abs(unbiased - value) - 1e-12).all()
    assert (size >= error).all()


def test_without_residual_directions_the_error_is_unknown(rng):
    value, error = sketch(rng, hessians(rng), 2, 0).second_order(sets(rng))
    assert np.isfinite(value).all()
    assert np.isnan(error).all()


def test_one_residual_direction_tells_nothing_of_its_error(rng):
    assert np.isinf(sketch(rng, hessians(rng), 2, 1).second_order(sets(rng))[1]).all()
