"""The corrected model along directions: every trained weight predicted, in a state dict that loads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.bundle.small import COUNT, KEY, TRAINED, UNITS, Small, small
from unlearnkit.bundle import Bundle, complex_numbers
from unlearnkit.bundle.tensors import parse_tensors
from unlearnkit.errors import AssumptionError, RefusedError, UnknownNameError
from unlearnkit.estimation.lattice import lattice_points

N = len(UNITS)
GONE = ["ben", "17"]
X = np.array([0.0, 1, 0, 0, 1])


def model(dtype=None) -> torch.nn.Module:
    made = torch.nn.Module()
    made.layer = torch.nn.Linear(2, 3, dtype=dtype or torch.float64)
    made.register_buffer("steps", torch.tensor(0))
    return made


def opened(tmp_path, **settings) -> tuple[Small, Bundle]:
    contents = small(tmp_path, **settings)
    return contents, Bundle.open(contents.write(tmp_path / "bundle"), pseudonym_key=KEY)


def coefficients(contents: Small, name: str) -> np.ndarray:
    """``[directions, degree, *S]``, read from the files that a training run left."""
    files = [path for _, _, path in contents.contents["weight_sketch_files"]]
    blocks = [parse_tensors(path.read_bytes(), where="")[name] for path in files]
    return complex_numbers(np.concatenate(blocks))


def by_informed(contents: Small, name: str) -> np.ndarray:
    arrays = contents.contents["informed"]
    return contents.contents["model"][name] + np.tensordot(arrays["directions"] @ X, arrays[f"weights/{name}"], axes=1)


def test_informed_directions_move_the_weights_by_their_slopes(tmp_path):
    """``theta_0 + (J Q) Q'x``."""
    contents, bundle = opened(tmp_path, informed=3, count=0)
    state = bundle.corrected_model(model(), GONE)
    for name in TRAINED:
        np.testing.assert_allclose(state[name].numpy(), by_informed(contents, name), rtol=1e-12)
        assert np.isnan(state.correction.standard_error[name]).all()
        assert state.correction.standard_error[name].shape == state[name].shape
    assert state["steps"] == 7
    assert np.isnan(state.correction.sampling_noise)
    assert "exact along 3 informed directions" in state.correction.explanation


def forms(contents: Small, name: str) -> np.ndarray:
    """The symmetric form of degree two of a weight on the span of the leading directions, ``[p, p, *S]``, by solving.

    Values of all points are linear in its entries, of which there are as many.
    """
    arrays, wanted = contents.contents["informed"], contents.manifest.informed
    points = lattice_points(wanted.leading, 2)
    rows, columns = np.triu_indices(wanted.leading)
    values = arrays[f"degree-2/weights/{name}"]
    found = np.linalg.solve(points[:, rows] * points[:, columns], values.reshape(len(points), -1))
    form = np.zeros((wanted.leading, wanted.leading, found.shape[1]))
    form[rows, columns] += found / 2
    form[columns, rows] += found / 2
    return form.reshape(*form.shape[:2], *values.shape[1:])


def test_degree_two_is_added_as_far_as_it_lies_in_the_span(tmp_path):
    contents, bundle = opened(tmp_path, informed=3, informed_degree=2, count=0)
    state = bundle.corrected_model(model(), GONE)
    inside = contents.contents["informed"]["directions"][:2] @ X
    for name in TRAINED:
        second = np.einsum("i,ij...,j->...", inside, forms(contents, name), inside)
        np.testing.assert_allclose(state[name].numpy(), by_informed(contents, name) + second, rtol=1e-11)
    first = bundle.correction(GONE, degree=1)
    for name in TRAINED:
        np.testing.assert_allclose(first.state[name], by_informed(contents, name), rtol=1e-12)
    assert "2 units together degree 2 on the span of 2 informed directions" in state.correction.explanation
    assert "Higher degrees of these are left out" in first.explanation
    assert (state.correction.convergence, first.convergence) == ("converging", "unknown")


def test_its_ratio_is_that_of_the_two_degrees_in_the_span_for_the_length_of_those_who_leave(tmp_path):
    contents, bundle = opened(tmp_path, informed=3, informed_degree=2, count=0)
    arrays = contents.contents["informed"]
    inside = arrays["directions"][:2] @ X
    inside /= np.linalg.norm(inside)
    first = [np.tensordot(inside, arrays[f"weights/{name}"][:2], axes=1) for name in TRAINED]
    second = [np.einsum("i,ij...,j->...", inside, forms(contents, name), inside) for name in TRAINED]
    sizes = [np.sqrt(sum((part**2).sum() for part in parts)) for parts in (first, second)]
    assert bundle.correction(GONE).ratio == pytest.approx(np.sqrt(2) * sizes[1] / sizes[0])


def test_where_that_ratio_is_one_or_more_it_is_refused(tmp_path):
    contents = small(tmp_path, informed=3, informed_degree=2, count=0)
    arrays = contents.contents["informed"]
    steep = {name: 50 * array if name.startswith("degree-2/weights") else array for name, array in arrays.items()}
    contents.contents["informed"] = steep
    bundle = Bundle.open(contents.write(tmp_path / "bundle"), pseudonym_key=KEY)
    with pytest.raises(AssumptionError, match="diverges without 2 units together"):
        bundle.correction(GONE)
    assert bundle.correction(GONE, degree=1).convergence == "unknown"


def test_random_directions_give_the_projection(tmp_path):
    """Six directions are twelve measurements of five slopes: least squares finds the gradient of any weight."""
    contents, bundle = opened(tmp_path)
    state = bundle.corrected_model(model(), GONE)
    psi = contents.directions.block(0, COUNT)
    a = np.concatenate([psi.real, psi.imag])
    for name in TRAINED:
        measured = coefficients(contents, name)[:, 0].reshape(COUNT, -1)
        slopes = np.linalg.lstsq(a, np.concatenate([measured.real, measured.imag]), rcond=None)[0]
        expected = contents.contents["model"][name] + (X @ slopes).reshape(contents.contents["model"][name].shape)
        np.testing.assert_allclose(state[name].numpy(), expected, rtol=1e-10)


def test_degree_two_adds_the_minimum_norm_form_or_the_average_over_the_directions(tmp_path):
    """By least squares over all 25 entries of the form: twelve measurements; the average where it stands out."""
    contents, bundle = opened(tmp_path)
    first, both = (bundle.corrected_model(model(), GONE, degree=degree) for degree in (1, 2))
    psi = contents.directions.block(0, COUNT)
    h, forms = psi.conj() @ X, np.einsum("ju,jv->juv", psi, psi).reshape(COUNT, -1)
    for name in TRAINED:
        tails = coefficients(contents, name)[:, 1]
        samples = N * (N + 1) / 2 * np.real(np.multiply.outer(h**2, np.ones(tails.shape[1:])) * tails)
        measured = np.concatenate([tails.real, tails.imag]).reshape(2 * COUNT, -1)
        form = np.linalg.lstsq(np.concatenate([forms.real, forms.imag]), measured, rcond=1e-9)[0]
        plain = (np.outer(X, X).ravel() @ form).reshape(tails.shape[1:])
        added = (both[name] - first[name]).numpy()
        assert (np.isclose(added, plain) | np.isclose(added, samples.mean(0))).all()
        assert np.isclose(added, plain).any()
    squares = sum((error**2).sum() for error in both.correction.standard_error.values())
    assert both.correction.sampling_noise == pytest.approx(squares**0.5, rel=1e-9)
    assert first.correction.sampling_noise == 0


def test_informed_directions_and_random_weights_go_together(tmp_path):
    """As `predict` does it for a probe that is a weight."""
    contents, bundle = opened(tmp_path, informed=2, weights=True)
    state = bundle.corrected_model(model(), GONE)
    for name in TRAINED:
        slopes, base = bundle.informed.weights[name], contents.contents["model"][name]
        probe = bundle.new_sketch(name, base, coefficients(contents, name), slopes)
        np.testing.assert_allclose(state[name].numpy(), probe.predict(GONE, degree=1).value, rtol=1e-12)


def test_random_directions_whose_weights_were_not_kept_are_left_alone(tmp_path):
    contents, bundle = opened(tmp_path, informed=3, weights=False)
    state = bundle.corrected_model(model(), GONE)
    for name in TRAINED:
        np.testing.assert_allclose(state[name].numpy(), by_informed(contents, name), rtol=1e-12)


def test_it_loads_in_the_precision_of_the_model(tmp_path):
    contents, bundle = opened(tmp_path, informed=3, count=0)
    m = model(torch.float32)
    before = {name: value.clone() for name, value in m.state_dict().items()}
    state = bundle.corrected_model(m, GONE)
    assert {name: value.dtype for name, value in state.items()} == {n: v.dtype for n, v in before.items()}
    assert all(torch.equal(m.state_dict()[name], value) for name, value in before.items())  # untouched until loaded
    m.load_state_dict(state)
    for name in TRAINED:
        np.testing.assert_allclose(m.state_dict()[name].numpy(), by_informed(contents, name), rtol=1e-6)


def test_bundles_without_weight_sketches_refuse(tmp_path):
    _, bundle = opened(tmp_path, weights=False)
    with pytest.raises(RefusedError, match="kept no weight sketches") as caught:
        bundle.corrected_model(model(), GONE)
    assert "Solo(keep_weights=True)" in caught.value.hint


def test_bad_questions_are_refused(tmp_path):
    _, bundle = opened(tmp_path, informed=3, count=0)
    with pytest.raises(ValueError, match="does not fit the bundle"):
        bundle.corrected_model(torch.nn.Linear(2, 3), GONE)
    with pytest.raises(ValueError, match="degree=0, expected a whole number"):
        bundle.corrected_model(model(), GONE, degree=0)
    with pytest.raises(UnknownNameError, match="no unit 'zoe'"):
        bundle.corrected_model(model(), ["zoe"])
    with pytest.raises(ValueError, match="no units were named"):
        bundle.corrected_model(model(), [])
    with pytest.raises(TypeError, match="expected a list of names"):
        bundle.corrected_model(model(), "ann")
