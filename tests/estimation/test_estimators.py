"""Estimators against brute force, and their means and errors against simulation (docs/theory.md sections 3 and 4).

z-bounds are 4 standard errors of the simulation: with a fixed seed a test either always passes or always fails.
"""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest

from tests.estimation.polynomials import Polynomial, symmetric_tensor, uniform_directions
from unlearnkit.estimation.estimators import (
    averaged_term,
    minimum_norm_error,
    projection_variance,
    squared_norm,
    symmetric_dimension,
    unbiased_error,
)


@pytest.mark.parametrize(("units", "degree"), [(1, 1), (1, 5), (2, 3), (5, 1), (5, 2), (6, 4)])
def test_the_symmetric_dimension_counts_the_monomials(units, degree):
    assert symmetric_dimension(units, degree) == len(list(combinations_with_replacement(range(units), degree)))


def test_the_symmetric_dimension_is_exact_where_doubles_are_not():
    assert symmetric_dimension(100_000, 4) == 100_000 * 100_001 * 100_002 * 100_003 // 24


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_a_direction_sees_the_squared_norm_without_bias(degree):
    rng = np.random.default_rng(degree)
    polynomial = Polynomial(np.zeros(2), [symmetric_tensor(rng, r, 4, 2) for r in range(1, degree + 1)])
    values = polynomial.term(degree, uniform_directions(rng, 20_000, 4))
    singles = np.stack([squared_norm(value[None], 4, degree) for value in values])
    true = (polynomial.tensors[-1] ** 2).reshape(2, -1).sum(1)
    z = (singles.mean(0) - true) / (singles.std(0) / np.sqrt(len(singles)))
    assert np.abs(z).max() < 4
    np.testing.assert_allclose(squared_norm(values, 4, degree), singles.mean(0), rtol=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_an_averaged_term_is_the_mean_of_z_over_the_directions(degree):
    rng = np.random.default_rng(7)
    products = rng.standard_normal((3, 11)) + 1j * rng.standard_normal((3, 11))
    coefficients = rng.standard_normal((11, 2, 5)) + 1j * rng.standard_normal((11, 2, 5))
    mean, error = averaged_term(products, coefficients, 9, degree)
    for s in range(3):
        z = symmetric_dimension(9, degree) * np.real(products[s, :, None, None] ** degree * coefficients)
        np.testing.assert_allclose(mean[s], z.mean(0), rtol=1e-12)
        np.testing.assert_allclose(error[s], z.std(0, ddof=1) / np.sqrt(11), rtol=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_mean_and_error_are_those_of_exact_rationals(degree):
    """Inputs are Gaussian integers, so the mean and the sample variance of the Z are rationals, and known exactly."""
    rng = np.random.default_rng(degree)
    h, c = (rng.integers(-9, 10, 8) + 1j * rng.integers(-9, 10, 8) for _ in range(2))
    z = []
    for base, value in zip(h, c, strict=True):
        a, b, real, imaginary = (int(part) for part in (base.real, base.imag, value.real, value.imag))
        for _ in range(degree):
            real, imaginary = real * a - imaginary * b, real * b + imaginary * a
        z.append(Fraction(symmetric_dimension(5, degree) * real))
    mean = sum(z) / 8
    variance = sum((value - mean) ** 2 for value in z) / 7 / 8
    found, error = averaged_term(h[None], c, 5, degree)
    assert found.item() == pytest.approx(float(mean), rel=1e-14)
    assert error.item() == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_one_direction_tells_nothing_of_its_error():
    mean, error = averaged_term(np.ones((1, 1), complex), np.full((1, 1), 2 + 1j), 3, 2)
    assert mean.item() == 12
    assert error.item() == np.inf


def test_a_scalar_probe_has_estimates_without_dimensions_of_its_own():
    mean, error = averaged_term(np.ones((4, 3), complex), np.ones(3, complex), 5, 2)
    assert mean.shape == error.shape == (4,)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_an_averaged_term_is_unbiased_and_knows_its_error(degree):
    rng = np.random.default_rng(10 + degree)
    polynomial = Polynomial.random(rng, units=6, elements=3, degree=degree)
    x = np.array([[1.0, 1, 0, 0, 1, 0], [0.5, 0, 0, 0.25, 0, 1]])
    runs, m = 400, 60
    psi = uniform_directions(rng, runs * m, 6).reshape(runs, m, 6)
    estimates = [averaged_term(x @ p.conj().T, polynomial.term(degree, p), 6, degree) for p in psi]
    means, errors = (np.stack(arrays) for arrays in zip(*estimates, strict=True))
    z = (means.mean(0) - polynomial.term(degree, x)) / (means.std(0) / np.sqrt(runs))
    assert np.abs(z).max() < 4
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0)), means.std(0), rtol=0.15)


def random_projections(rng, runs: int, rank: int, units: int) -> np.ndarray:
    """Orthonormal bases of uniformly random subspaces, ``[runs, units, rank]``."""
    return np.linalg.qr(rng.standard_normal((runs, units, rank)))[0]


@pytest.mark.parametrize(("rank", "units"), [(2, 9), (10, 12), (8, 30)])
@pytest.mark.parametrize("alignment", [0.0, 0.4, 1.0])
def test_the_variance_of_a_projection_follows_its_exact_law(rank, units, alignment):
    rng = np.random.default_rng(3)
    g, across = np.zeros(units), np.zeros(units)
    g[0], across[1] = 2.0, 1.0
    x = 3 * (alignment * g / 2 + np.sqrt(1 - alignment**2) * across)
    basis = random_projections(rng, 20_000, rank, units)
    estimates = units / rank * np.einsum("ri,ri->r", x @ basis, g @ basis)
    true = projection_variance(np.array(4.0), 9 * alignment**2, 9 * (1 - alignment**2), rank, units)
    deviations = (estimates - estimates.mean()) ** 2
    assert abs(estimates.mean() - x @ g) < 4 * estimates.std() / np.sqrt(len(estimates))
    assert abs(deviations.mean() - true) < 4 * deviations.std() / np.sqrt(len(deviations))


def test_the_unbiased_error_is_calibrated():
    rng = np.random.default_rng(4)
    n, p, runs = 40, 16, 4000
    g, x = rng.standard_normal(n), (np.arange(n) < 6).astype(float)
    basis = random_projections(rng, runs, p, n)
    seen = g @ basis
    values = n / p * np.einsum("ri,ri->r", x @ basis, seen)
    errors = np.stack(
        [unbiased_error(v[None], (s**2).sum(), np.array([x @ x]), p, n) for v, s in zip(values, seen, strict=True)]
    )
    assert np.sqrt((errors**2).mean()) == pytest.approx(np.sqrt(np.mean((values - x @ g) ** 2)), rel=0.05)


def test_the_minimum_norm_error_is_calibrated_when_nothing_is_known_of_the_gradient():
    rng = np.random.default_rng(5)
    n, p, runs = 40, 16, 4000
    x = (np.arange(n) < 6).astype(float)
    basis, g = random_projections(rng, runs, p, n), rng.standard_normal((runs, n))
    seen_g, seen_x = np.einsum("rn,rnp->rp", g, basis), x @ basis
    misses = g @ x - np.einsum("rp,rp->r", seen_g, seen_x)
    errors = np.stack(
        [minimum_norm_error((a**2).sum(), np.array([x @ x - b @ b]), p) for a, b in zip(seen_g, seen_x, strict=True)]
    )
    assert np.sqrt((errors**2).mean()) == pytest.approx(np.sqrt(np.mean(misses**2)), rel=0.05)
