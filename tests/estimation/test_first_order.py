"""Degree one with informed directions, against dense pseudo-inverses and against simulation
(docs/theory.md section 9).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import unlearnkit.estimation.projection
from tests.estimation.polynomials import Fixed, Polynomial, uniform_directions
from tests.estimation.sketches import NAMES, resolve
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import Projection, ReverseSketch, Sketch
from unlearnkit.estimation.first_order import FirstOrder

# informed directions q, random directions m, units n; where q + 2m >= n the gradient is known
UNKNOWN = [(1, 1, 12), (3, 2, 12), (5, 3, 12), (2, 4, 40)]
KNOWN = [(4, 4, 12), (3, 6, 12), (5, 7, 12), (12, 0, 12), (12, 3, 12), (11, 1, 12)]


def orthonormal(rng, units: int, count: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((units, count)))[0]


def first_order(basis: np.ndarray, psi: np.ndarray, g: np.ndarray) -> FirstOrder:
    """What a sketch would hold of gradients ``[units, *P]``."""
    slopes = np.tensordot(basis.T, g, axes=1)
    return FirstOrder(Projection(Fixed(psi), basis), np.tensordot(psi, g, axes=1), slopes)


@pytest.fixture(params=UNKNOWN + KNOWN, ids=lambda shape: "q{}-m{}-n{}".format(*shape))
def case(request):
    """Basis, directions, gradients of a probe of shape [2, 3], sets."""
    q, m, n = request.param
    rng = np.random.default_rng(q + 7 * m)
    psi = uniform_directions(rng, m, n) if m else np.zeros((0, n), complex)
    return orthonormal(rng, n, q), psi, rng.standard_normal((n, 2, 3)), rng.random((4, n))


def dense(basis, psi, g, *, unbiased: bool) -> tuple[np.ndarray, int]:
    """The gradient as it is estimated, and the rank of what the random directions add, by explicit projectors."""
    outside = np.eye(len(basis)) - basis @ basis.T
    a = np.concatenate([psi.real, psi.imag]) @ outside
    seen = np.linalg.pinv(np.where(np.abs(a) > 1e-12, a, 0), rcond=1e-9) @ a  # nothing is left where Q is complete
    rank = round(np.trace(seen))
    scale = (len(basis) - basis.shape[1]) / rank if unbiased and rank else 1
    return np.tensordot(basis @ basis.T + scale * seen, g, axes=1), rank


def spanned(basis, psi) -> np.ndarray:
    """An orthonormal basis of what is left of the random directions, ``[units, rank]``."""
    a = np.concatenate([psi.real, psi.imag]) @ (np.eye(len(basis)) - basis @ basis.T)
    _, sizes, rows = np.linalg.svd(a, full_matrices=False)
    return rows[sizes > 1e-9].T


@pytest.mark.parametrize("unbiased", [False, True])
def test_the_estimate_is_the_dense_one(case, unbiased):
    basis, psi, g, x = case
    """But where a deletion is aligned: there it is the centre of the interval."""
    value, _ = first_order(basis, psi, g).term(x, None, unbiased=unbiased)
    gradient, rank = dense(basis, psi, g, unbiased=unbiased)
    plain = np.tensordot(x, gradient, axes=1)
    if unbiased or not rank:
        np.testing.assert_allclose(value, plain, atol=1e-9)
        return
    across = x - x @ basis @ basis.T
    known, seen = np.tensordot(x @ basis @ basis.T, g, axes=1), across @ spanned(basis, psi)
    centre = known + (plain - known) * ((across**2).sum(1) / (seen**2).sum(1)).reshape(-1, 1, 1)
    assert (np.isclose(value, plain, atol=1e-9) | np.isclose(value, centre, atol=1e-9)).all()


def test_influences_are_the_gradient_as_far_as_it_is_known(case):
    basis, psi, g, _ = case
    found = first_order(basis, psi, g)
    np.testing.assert_allclose(found.influences(), dense(basis, psi, g, unbiased=False)[0], atol=1e-9)


def test_the_random_directions_are_a_projection_on_what_is_left_of_them(case):
    basis, psi, _, x = case
    (n, q), m = basis.shape, len(psi)
    projection = Projection(Fixed(psi), basis)
    assert projection.dimension == n - q
    assert projection.rank == min(2 * m, n - q)
    assert projection.is_exact == (2 * m >= n - q)
    if projection.rank:
        spanned = projection.gradient(np.eye(projection.rank))
        np.testing.assert_allclose(spanned.T @ spanned, np.eye(projection.rank), atol=1e-9)
        np.testing.assert_allclose(basis.T @ spanned, 0, atol=1e-9)
        np.testing.assert_allclose(projection.coordinates(x), x @ spanned, atol=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize(("q", "m", "n"), KNOWN)
def test_with_as_many_numbers_as_units_it_is_exact_and_knows_it(q, m, n, unbiased):
    rng = np.random.default_rng(1)
    psi = uniform_directions(rng, m, n) if m else np.zeros((0, n), complex)
    g, x = rng.standard_normal((n, 2)), rng.random((3, n))
    found = first_order(orthonormal(rng, n, q), psi, g)
    value, error = found.term(x, None, unbiased=unbiased)
    np.testing.assert_allclose(value, x @ g, atol=1e-9)
    assert not error.any()
    assert found.method(unbiased=unbiased) == "exact, by projection"


def test_a_deletion_within_the_informed_span_is_exact_whatever_the_directions():
    rng = np.random.default_rng(2)
    basis, psi, g = orthonormal(rng, 12, 4), uniform_directions(rng, 2, 12), rng.standard_normal((12, 3))
    x = rng.standard_normal((5, 4)) @ basis.T
    for unbiased in (False, True):
        value, error = first_order(basis, psi, g).term(x, None, unbiased=unbiased)
        np.testing.assert_allclose(value, x @ g, atol=1e-9)
        np.testing.assert_allclose(error, 0, atol=1e-6)


@pytest.mark.parametrize(("q", "m", "n"), UNKNOWN)
def test_the_unbiased_estimate_is_right_on_average_and_knows_its_error(q, m, n):
    """Over 3000 draws of the random directions, for one informed basis; z-bound 4."""
    rng = np.random.default_rng(3)
    basis, g, x = orthonormal(rng, n, q), rng.standard_normal((n, 2)), rng.random((1, n))
    drawn = [first_order(basis, uniform_directions(rng, m, n), g).term(x, None, unbiased=True) for _ in range(3000)]
    values, errors = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
    z = (values.mean(0) - x[0] @ g) / (values.std(0) / np.sqrt(len(values)))
    assert np.abs(z).max() < 4
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0)), values.std(0), rtol=0.15)


@pytest.mark.parametrize(("q", "m", "n"), UNKNOWN)
def test_the_error_of_the_minimum_norm_is_calibrated_over_gradients_nothing_is_known_of(q, m, n):
    rng = np.random.default_rng(4)
    basis, x = orthonormal(rng, n, q), rng.random((1, n))
    misses, errors = [], []
    for _ in range(3000):
        g = rng.standard_normal(n)
        value, error = first_order(basis, uniform_directions(rng, m, n), g).term(x, None, unbiased=False)
        misses.append(value.item() - x[0] @ g)
        errors.append(error.item())
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.sqrt(np.mean(np.square(misses))), rel=0.06)


def test_informed_directions_alone_know_their_part_and_not_how_much_is_missing():
    rng = np.random.default_rng(5)
    basis, g, x = orthonormal(rng, 12, 4), rng.standard_normal((12, 2, 3)), rng.random((5, 12))
    found = first_order(basis, np.zeros((0, 12), complex), g)
    for unbiased in (False, True):
        value, error = found.term(x, None, unbiased=unbiased)
        np.testing.assert_allclose(value, np.tensordot(x @ basis, np.tensordot(basis.T, g, axes=1), axes=1))
        assert error.shape == value.shape
        assert np.isnan(error).all()
    assert found.method(unbiased=False) == "exact along 4 informed directions"


def test_without_informed_directions_it_is_the_plain_projection():
    rng = np.random.default_rng(6)
    psi, g, x = uniform_directions(rng, 3, 12), rng.standard_normal((12, 2)), rng.random((5, 12))
    plain = FirstOrder(Projection(Fixed(psi)), psi @ g, None)
    none = first_order(np.zeros((12, 0)), psi, g)
    for unbiased in (False, True):
        for one, other in zip(*(f.term(x, None, unbiased=unbiased) for f in (plain, none)), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_allclose(plain.influences(), none.influences(), atol=1e-12)
    assert plain.method(unbiased=False) == "minimum norm, by projection on 6 of 12 dimensions"


def test_any_basis_of_the_same_span_gives_the_same():
    rng = np.random.default_rng(7)
    basis, psi, g, x = (
        orthonormal(rng, 12, 4),
        uniform_directions(rng, 2, 12),
        rng.standard_normal(12),
        rng.random((5, 12)),
    )
    turned = basis @ orthonormal(rng, 4, 4)
    one, other = (first_order(b, psi, g).term(x, None, unbiased=False) for b in (basis, turned))
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("m", [2, 9])
def test_nothing_depends_on_the_size_of_blocks(monkeypatch, m):
    rng = np.random.default_rng(8)
    basis, psi, g, x = (
        orthonormal(rng, 20, 4),
        uniform_directions(rng, m, 20),
        rng.standard_normal((20, 2)),
        rng.random((3, 20)),
    )
    whole = first_order(basis, psi, g).term(x, None, unbiased=False)
    monkeypatch.setattr(unlearnkit.estimation.projection, "_BLOCK_ELEMENTS", 40)
    np.testing.assert_allclose(first_order(basis, psi, g).term(x, None, unbiased=False), whole, atol=1e-10)


# As part of a sketch, over the twelve units with names.


def sketch(q: int, m: int, degree: int = 2, seed: int = 0) -> tuple[Polynomial, Sketch]:
    rng = np.random.default_rng(seed)
    polynomial = Polynomial.random(rng, units=12, elements=4, degree=degree, scale=0.1)
    psi = uniform_directions(rng, m, 12) if m else np.zeros((0, 12), complex)
    basis = orthonormal(rng, 12, q)
    return polynomial, Sketch(
        name="f",
        base=polynomial.base,
        coefficients=polynomial.coefficients(psi),
        projection=Projection(Fixed(psi), basis if q else None),
        resolve=resolve,
        slopes=basis.T @ polynomial.tensors[0].T if q else None,
    )


@pytest.mark.parametrize(("q", "m"), [(3, 2), (5, 4), (12, 0)])
def test_a_sketch_answers_by_its_informed_directions_first(q, m):
    polynomial, found = sketch(q, m)
    basis, psi = found.projection.informed, found.directions.block(0, m)
    gradient, _ = dense(basis, psi, polynomial.tensors[0].T, unbiased=False)
    prediction = found.predict(np.eye(12), degree=1)
    assert np.isclose(prediction.change, gradient, atol=1e-9).mean() > 0.9  # elsewhere the centre of the interval
    np.testing.assert_allclose(found.influences(), gradient, atol=1e-9)
    assert prediction.terms[0].method.startswith("exact, by projection" if q + 2 * m >= 12 else "minimum norm, by")


def test_degree_two_is_the_average_over_the_random_directions_alone():
    _, found = sketch(5, 6)
    plain = replace(found, projection=Projection(found.directions), slopes=None)
    x = np.random.default_rng(0).random((3, 12))
    one, other = (s.predict(x, degree=2).terms[1] for s in (found, plain))
    np.testing.assert_array_equal(one.value, other.value)
    np.testing.assert_array_equal(one.standard_error, other.standard_error)


def test_a_sketch_of_informed_directions_alone_has_one_degree_and_says_what_it_does_not_know():
    polynomial, found = sketch(5, 0)
    assert found.degree == 1
    prediction = found.predict(["ann", "leo"])
    x = np.isin(NAMES, ["ann", "leo"]).astype(float)
    basis = found.projection.informed
    np.testing.assert_allclose(prediction.change, polynomial.tensors[0] @ basis @ basis.T @ x)
    assert np.isnan(prediction.standard_error).all()
    assert "Degree 1 (exact along 5 informed directions): used." in prediction.explanation
    assert "NaN is not known" in prediction.explanation
    with pytest.raises(ValueError, match="degree=2: the sketch of 'f' has degrees 1 to 1"):
        found.predict(["ann"], degree=2)


def test_a_curve_goes_along_the_informed_directions_too():
    _, found = sketch(5, 3)
    weights, curve = found.curve(["ann", "leo"])
    np.testing.assert_allclose(curve.terms[0].value, np.multiply.outer(weights, curve.terms[0].value[-1]), atol=1e-12)
    assert not curve.change[0].any()


def test_a_sketch_of_nothing_is_an_error_with_a_cure():
    _, found = sketch(0, 0)
    assert found.degree == 0
    for ask in (lambda: found.predict(["ann"]), lambda: found.curve(["ann"]), found.influences):
        with pytest.raises(EstimationError, match="'f': the bundle has its base only") as caught:
            ask()
        assert "reverse= or informed=" in caught.value.hint


def test_reverse_sweeps_go_before_informed_directions():
    polynomial, found = sketch(3, 0)
    gradient = polynomial.tensors[0]
    none = np.zeros((4, 12, 0)), np.zeros((4, 0)), np.zeros((0, 4, 12), complex)
    swept = ReverseSketch(gradient, *none, directions=found.directions)
    both = replace(found, reverse=swept)
    assert both.degree == 1
    prediction = both.predict(["ann"])
    np.testing.assert_allclose(prediction.change, gradient[:, 0])
    assert prediction.terms[0].method == "exact, by reverse sweeps"
    np.testing.assert_allclose(both.influences(), gradient.T)
