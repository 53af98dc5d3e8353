"""Series along units alone, on polynomials with known coefficients: exact alone, exact diagonals together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.estimation.polynomials import Fixed, Polynomial, uniform_directions
from tests.estimation.sketches import NAMES, mask, resolve
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import CubicForm, Projection, ReverseSketch, Sketch, SoloSeries
from unlearnkit.estimation.cubic import pair_directions, slices

N, E, DEGREE = len(NAMES), 4, 3
EVERYBODY = np.arange(N)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture
def polynomial(rng) -> Polynomial:
    return Polynomial.random(rng, units=N, elements=E, degree=DEGREE, scale=0.1)


def series(polynomial: Polynomial, units=EVERYBODY) -> SoloSeries:
    return SoloSeries(np.asarray(units), polynomial.coefficients(np.eye(N)[units]))


def own_series(polynomial: Polynomial) -> SoloSeries:
    """Of a polynomial whose element e belongs to unit e: of the first E units only their own element."""
    found = polynomial.coefficients(np.eye(N)[:E])
    return SoloSeries(np.arange(E), np.stack([found[e, :, e] for e in range(E)]), np.arange(E))


def swept(rng, polynomial: Polynomial, pairs: int, *, solo=None, cubic: int = 0, residual: int = 0) -> ReverseSketch:
    """Exact sweeps: the gradient, the largest eigenpairs of each Hessian, the third derivative along a few vectors."""
    hessian = 2 * polynomial.tensors[1]
    values, vectors = np.linalg.eigh(hessian)
    order = np.argsort(-np.abs(values), axis=1)[:, :pairs]
    psi = uniform_directions(rng, residual, N)
    found = ReverseSketch(
        gradient=polynomial.tensors[0],
        vectors=np.take_along_axis(vectors, order[:, None], axis=2),
        values=np.take_along_axis(values, order, axis=1),
        residual=np.einsum("euv,dv->deu", hessian, psi),
        directions=Fixed(psi),
        solo=solo,
    )
    return replace(found, cubic=cubic_form(rng, polynomial, cubic)) if cubic else found


def cubic_form(rng, polynomial: Polynomial, rank: int) -> CubicForm:
    """As degree-two sweeps find it: ``grad f_3`` along a random orthonormal basis and its pairs."""
    basis = np.linalg.qr(rng.standard_normal((N, rank)))[0].T
    gradients = 3 * np.einsum("euvw,dv,dw->deu", polynomial.tensors[2], *[pair_directions(basis)] * 2)
    return CubicForm(basis, slices(gradients, rank))


def sketch(polynomial: Polynomial, **known) -> Sketch:
    """Without any forward direction."""
    return Sketch(
        name="f",
        base=polynomial.base,
        coefficients=np.zeros((0, 1, E), dtype=complex),
        projection=Projection(Fixed(np.zeros((0, N)))),
        resolve=resolve,
        **known,
    )


def pair() -> np.ndarray:
    return mask("ann", "dan")


def off_diagonal(tensor: np.ndarray) -> np.ndarray:
    return tensor * (1 - np.eye(N))


def test_of_a_single_unit_every_degree_is_exact_and_certain(polynomial):
    prediction = sketch(polynomial, solo=series(polynomial)).predict(["cat"], degree=DEGREE)
    np.testing.assert_allclose(prediction.change, polynomial.change(mask("cat"))[0], rtol=1e-12)
    assert not prediction.standard_error.any()
    assert {term.method for term in prediction.terms} == {"exact, by series along units alone"}


def test_in_part_too(polynomial):
    found = sketch(polynomial, solo=series(polynomial)).predict(["cat"], degree=DEGREE, weight=0.3)
    np.testing.assert_allclose(found.change, polynomial.change(0.3 * mask("cat"))[0], rtol=1e-12)


def test_the_gradient_is_exact(polynomial):
    found = sketch(polynomial, solo=series(polynomial))
    np.testing.assert_allclose(found.influences(), polynomial.tensors[0].T, rtol=1e-12)


def test_of_several_units_alone_cross_terms_are_missing_and_the_error_is_unknown(polynomial):
    prediction = sketch(polynomial, solo=series(polynomial)).predict(pair(), degree=DEGREE)
    np.testing.assert_allclose(prediction.terms[0].value, polynomial.term(1, pair()), rtol=1e-12)
    assert not prediction.terms[0].standard_error.any()
    for r in (2, 3):
        alone = polynomial.term(r, mask("ann")) + polynomial.term(r, mask("dan"))
        np.testing.assert_allclose(prediction.terms[r - 1].value, alone, rtol=1e-12)
        assert np.isnan(prediction.terms[r - 1].standard_error).all()
        assert prediction.terms[r - 1].method == "series along units alone, nothing between units"
    assert np.isnan(prediction.standard_error).all()


@pytest.mark.parametrize("pairs", [1, 3])
def test_a_low_rank_keeps_its_cross_terms_and_gets_the_exact_diagonal(rng, polynomial, pairs):
    solo = series(polynomial)
    reverse = swept(rng, polynomial, pairs, solo=solo)
    low_rank = np.einsum("euk,ek,evk->euv", reverse.vectors, reverse.values, reverse.vectors)
    hessian = 2 * polynomial.tensors[1]
    form = off_diagonal(low_rank) + hessian * np.eye(N)
    expected = np.einsum("su,euv,sv->se", pair(), form, pair()) / 2
    term = sketch(polynomial, solo=solo, reverse=reverse).predict(pair()).terms[1]
    np.testing.assert_allclose(term.value, expected, rtol=1e-10)
    assert term.method == f"{pairs} eigenpairs, by reverse sweeps, diagonal by series along units alone"


def test_what_is_left_out_then_has_no_diagonal(rng, polynomial):
    solo = series(polynomial, [0, 3, 4])
    reverse = swept(rng, polynomial, 2, solo=solo, residual=5)
    low_rank = np.einsum("euk,ek,evk->euv", reverse.vectors, reverse.values, reverse.vectors)
    left = 2 * polynomial.tensors[1] - low_rank
    left[:, solo.units, solo.units] = 0
    expected = np.einsum("euv,dv->edu", left, reverse.directions.block(0, 5))
    np.testing.assert_allclose(np.stack(list(reverse.residual_products())), expected, atol=1e-12)


def test_the_estimate_with_the_rest_stays_unbiased(rng, polynomial):
    """Over 20,000 directions it is within four of its own standard errors, which are smaller on average."""
    solo, x = series(polynomial), rng.random((3, N))
    exact = polynomial.term(2, x)
    plain, sharp = (swept(rng, polynomial, 2, solo=s, residual=20_000) for s in (None, solo))
    value, error = sharp.second_order(x, unbiased=True)
    assert (np.abs(value - exact) <= 4 * error).all()
    assert (error**2).mean() < (plain.second_order(x, unbiased=True)[1] ** 2).mean()


def test_the_certified_interval_of_a_low_rank_holds_with_the_diagonal_too(rng, polynomial):
    """Independent of the law's own code: how often the truth is outside, over draws of the residual directions."""
    solo, x, outside = series(polynomial), mask("ann", "dan", "eve"), 0
    truth = polynomial.base + polynomial.change(x, 2)
    for _ in range(300):
        found = sketch(polynomial, solo=solo, reverse=swept(rng, polynomial, 2, solo=solo, residual=3))
        bound = found.bound(x, 0.2, family="each", degree=2)
        outside += int((np.abs(truth - bound.estimate) > bound.epsilon)[0, 0])
    # Each side is wrong with chance 0.2: 120 of 300 expected; four standard deviations are 34.
    assert 120 - 34 < outside < 120 + 34


def test_a_bound_of_a_single_unit_is_exact(rng, polynomial):
    solo = series(polynomial)
    bound = sketch(polynomial, solo=solo, reverse=swept(rng, polynomial, 2, solo=solo, residual=3)).bound(["eve"], 0.1)
    np.testing.assert_allclose(bound.estimate, polynomial.base + polynomial.change(mask("eve"), 2)[0], rtol=1e-10)
    assert (bound.epsilon < 1e-6).all()


def test_no_bound_covers_what_nobody_measured(rng, polynomial):
    solo = series(polynomial)
    with pytest.raises(EstimationError, match="degree 2 has no certified bound: nothing is known of what units do"):
        sketch(polynomial, solo=solo).bound(["ann", "dan"], 0.1, degree=2)
    cubic = swept(rng, polynomial, 3, cubic=2, residual=3)
    with pytest.raises(EstimationError, match="degree 3 has no certified bound"):
        sketch(polynomial, reverse=cubic).bound(["ann"], 0.1, degree=3)
    assert sketch(polynomial, reverse=cubic).bound(["ann"], 0.1).degree == 2


def test_the_cubic_form_gets_the_exact_diagonal(rng, polynomial):
    solo = series(polynomial)
    plain = swept(rng, polynomial, 3, cubic=2)
    sharp = replace(plain, solo=solo)
    for name in NAMES:
        np.testing.assert_allclose(sharp.third_order(mask(name))[0], polynomial.term(3, mask(name)), rtol=1e-10)
    x = pair()
    beside = [polynomial.term(3, mask(n)) - plain.third_order(mask(n))[0] for n in ("ann", "dan")]
    np.testing.assert_allclose(sharp.third_order(x)[0], plain.third_order(x)[0] + sum(beside), rtol=1e-10)
    assert np.isnan(sharp.third_order(x)[1]).all()
    assert not sharp.third_order(mask("ann"))[1].any()


def test_units_without_series_keep_what_else_is_known(rng, polynomial):
    listed = series(polynomial, resolve(["ann", "cat"]))
    reverse = swept(rng, polynomial, 0)
    prediction = sketch(polynomial, solo=listed, reverse=reverse).predict(np.concatenate([mask("cat"), pair()]))
    np.testing.assert_allclose(prediction.terms[0].value, polynomial.term(1, np.concatenate([mask("cat"), pair()])))
    np.testing.assert_array_equal(prediction.terms[1].used, [[True] * E, [False] * E])
    np.testing.assert_allclose(prediction.change[1], polynomial.term(1, pair())[0], rtol=1e-12)


def test_units_that_nothing_is_known_of_are_refused(polynomial):
    listed = series(polynomial, resolve(["ann", "cat"]))
    with pytest.raises(EstimationError, match="series along 2 units alone, and nothing of others"):
        sketch(polynomial, solo=listed).predict(["ann", "dan"])


def test_a_gradient_that_is_partly_known_is_made_exact_where_it_can_be(rng, polynomial):
    """Few forward directions: the minimum norm answers for units without series."""
    psi, listed = uniform_directions(rng, 3, N), series(polynomial, [0, 2])
    forward = Sketch(
        name="f",
        base=polynomial.base,
        coefficients=polynomial.coefficients(psi)[:, :1],
        projection=Projection(Fixed(psi)),
        resolve=resolve,
    )
    sharp = replace(forward, solo=listed)
    known = sharp.influences()
    np.testing.assert_allclose(known[[0, 2]], polynomial.tensors[0].T[[0, 2]], rtol=1e-10)
    np.testing.assert_allclose(np.delete(known, [0, 2], 0), np.delete(forward.influences(), [0, 2], 0))
    x = mask("ann", "dan")
    first = sharp.predict(x, degree=1)
    expected = polynomial.tensors[0].T[0] + forward.influences()[3]
    rest = forward.predict(x, degree=1).terms[0].value - (forward.influences()[0] + forward.influences()[3])
    np.testing.assert_allclose(first.terms[0].value, expected + rest, rtol=1e-10)
    assert (first.terms[0].standard_error > 0).all()
    assert not sharp.predict(mask("ann", "cat"), degree=1).standard_error.any()


def test_of_own_losses_each_unit_alone_is_exact(polynomial):
    found = sketch(polynomial, solo=own_series(polynomial))
    for e, name in enumerate(NAMES[:E]):
        prediction = found.predict([name], degree=DEGREE)
        np.testing.assert_allclose(prediction.change[e], polynomial.change(mask(name))[0, e], rtol=1e-12)
        assert prediction.standard_error[e] == 0
        assert (
            not np.delete(prediction.terms[0].used, e).any() or np.isnan(np.delete(prediction.standard_error, e)).all()
        )


def test_of_own_losses_of_several_the_others_act_by_the_gradient(rng, polynomial):
    solo = own_series(polynomial)
    found = sketch(polynomial, solo=solo, reverse=swept(rng, polynomial, 0, solo=solo)).of(np.array([3, 0]))
    prediction = found.predict(["ann", "dan"], degree=DEGREE)
    for place, e in enumerate((3, 0)):
        expected = polynomial.term(1, pair())[0, e]
        expected += sum(polynomial.term(r, mask(NAMES[e]))[0, e] for r in (2, 3))
        np.testing.assert_allclose(prediction.change[place], expected, rtol=1e-12)


def test_some_elements_of_a_sketch_are_the_same_numbers(rng, polynomial):
    solo = series(polynomial)
    whole = sketch(polynomial, solo=solo, reverse=swept(rng, polynomial, 2, solo=solo, cubic=2, residual=3))
    order = np.array([2, 0])
    one, other = whole.predict(pair()), whole.of(order).predict(pair())
    np.testing.assert_allclose(other.change, one.change[:, order], rtol=1e-12)
    for mine, theirs in zip(other.terms, one.terms, strict=True):
        np.testing.assert_allclose(mine.standard_error, theirs.standard_error[:, order], rtol=1e-12)
