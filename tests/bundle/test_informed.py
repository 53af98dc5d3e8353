"""Informed directions in a bundle: stored, checked, and used for the part of a gradient that they know."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.bundle.small import COUNT, KEY, UNITS, Small, rewrite, small
from unlearnkit.bundle import Bundle, InformedDirections, write_bundle
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import DigestMismatchError, EstimationError, FormatError

FILE = "sketch/informed.safetensors"
FOUND = 3


@pytest.fixture
def informed(tmp_path) -> Small:
    """Three informed directions and none that is random."""
    return small(tmp_path, informed=FOUND, count=0)


@pytest.fixture
def bundle(tmp_path, informed) -> Bundle:
    return Bundle.open(informed.write(tmp_path / "bundle"), pseudonym_key=KEY)


def masks() -> np.ndarray:
    return np.array([[1.0, 0, 0, 1, 0], [0, 1, 1, 1, 1]])


def test_the_manifest_counts_them_and_their_file_holds_them(bundle, informed):
    record = json.loads((bundle.path / "manifest.json").read_bytes())
    assert record["informed"] == {"count": FOUND, "degree": 1, "leading": 0, "power_iterations": 1}
    assert record["directions"]["count"] == 0
    assert FILE in [file["path"] for file in record["files"]]
    stored, arrays = load_file(bundle.path / FILE), informed.contents["informed"]
    assert stored.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[name], array)


def test_alone_they_answer_first_order(bundle, informed):
    q = informed.contents["informed"]["directions"]
    sketch = bundle.probe("margins")
    prediction = sketch.predict(masks())
    np.testing.assert_allclose(prediction.change, masks() @ q.T @ q @ informed.polynomial.tensors[0].T, rtol=1e-12)
    assert np.isnan(prediction.standard_error).all()
    assert [term.method for term in prediction.terms] == ["exact along 3 informed directions"]
    np.testing.assert_allclose(sketch.influences(), q.T @ q @ informed.polynomial.tensors[0].T, atol=1e-12)
    scalar = bundle.probe("test_loss").predict(["ann", "dan"])
    assert scalar.change == pytest.approx(prediction.change[0, 0], rel=1e-12)


def test_beside_random_ones_they_make_the_first_order_exact(tmp_path):
    """Three and twice one: as many as there are units."""
    contents = small(tmp_path, informed=FOUND, count=1, weights=False)
    bundle = Bundle.open(contents.write(tmp_path / "bundle"))
    prediction = bundle.probe("margins").predict(masks(), degree=1)
    np.testing.assert_allclose(prediction.change, contents.polynomial.term(1, masks()), atol=1e-12)
    assert not prediction.standard_error.any()


def test_beside_random_ones_the_second_order_is_the_average_over_those(tmp_path):
    contents = small(tmp_path, informed=FOUND)
    (tmp_path / "plain").mkdir()
    plain = Bundle.open(small(tmp_path / "plain").write(tmp_path / "without"))
    bundle = Bundle.open(contents.write(tmp_path / "bundle"))
    one, other = (b.probe("margins").predict(masks(), degree=2).terms[1].value for b in (bundle, plain))
    assert bundle.directions.count == COUNT
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.fixture
def spanned(tmp_path) -> tuple[Small, Bundle]:
    """Degree two on the span of two of three."""
    contents = small(tmp_path, informed=FOUND, informed_degree=2, count=0)
    return contents, Bundle.open(contents.write(tmp_path / "spanned"), pseudonym_key=KEY)


def test_degree_two_is_that_of_what_lies_in_the_span_of_the_leading_ones(spanned):
    contents, bundle = spanned
    leading = contents.contents["informed"]["directions"][:2]
    prediction = bundle.probe("margins").predict(masks(), degree=2)
    expected = contents.polynomial.term(2, masks() @ leading.T @ leading)
    np.testing.assert_allclose(prediction.terms[1].value, expected, rtol=1e-12)
    assert prediction.terms[1].method == "exact on the span of 2 informed directions"
    record = json.loads((bundle.path / "manifest.json").read_bytes())
    assert record["informed"] == {"count": FOUND, "degree": 2, "leading": 2, "power_iterations": 1}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("degree-2/weights/layer.bias", lambda a: a[:2], r"'degree-2/weights/layer.bias' has shape \(2, 3\), expected"),
        (
            "degree-2/probes/margins",
            lambda a: a * np.nan,
            "'degree-2/probes/margins' holds numbers that are not finite",
        ),
        ("degree-3/probes/margins", lambda _: np.zeros((4, 2)), "got .*'degree-3/probes/margins'"),
        ("degree-2/probes/margins", None, "got .*, expected .*'degree-2/probes/margins'"),
    ],
)
def test_forms_that_make_no_sense_are_refused(spanned, name, change, message):
    _, bundle = spanned
    arrays = load_file(bundle.path / FILE)
    changed = {n: array for n, array in arrays.items() if n != name}
    changed |= {} if change is None else {name: change(arrays.get(name))}
    rewrite(bundle.path, FILE, tensor_bytes(changed))
    with pytest.raises(FormatError, match=rf"{FILE}: {message}"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("stated", [{"degree": 1, "leading": 0}, {"degree": 3}, {"leading": 3}])
def test_a_manifest_that_says_something_else_of_their_degree_is_refused(spanned, stated):
    _, bundle = spanned
    record = json.loads((bundle.path / "manifest.json").read_bytes())
    record["informed"] |= stated
    (bundle.path / "manifest.json").write_bytes(canonicalize(record))
    with pytest.raises(FormatError, match=r"has shape|got .*, expected"):
        Bundle.open(bundle.path)


def test_in_single_precision_their_basis_is_orthonormal_nonetheless(tmp_path):
    contents = small(tmp_path, dtype="float32", informed=FOUND, count=0)
    bundle = Bundle.open(contents.write(tmp_path / "bundle"))
    assert {array.dtype for array in load_file(bundle.path / FILE).values()} == {np.dtype(np.float32)}
    basis = bundle.informed.basis
    assert np.abs(basis.T @ basis - np.eye(FOUND)).max() < 1e-14
    q = contents.contents["informed"]["directions"]
    expected = masks() @ q.T @ q @ contents.polynomial.tensors[0].T
    np.testing.assert_allclose(bundle.probe("margins").predict(masks()).change, expected, rtol=1e-5)


def test_slopes_follow_the_basis_when_the_directions_are_not_quite_orthonormal(bundle, informed):
    """``directions' = Q R``: what is linear in a direction is known along Q, whatever R."""
    found, arrays = bundle.informed, informed.contents["informed"]
    bent = np.eye(FOUND) + 1e-5 * np.random.default_rng(0).standard_normal((FOUND, FOUND))
    other = type(found)(bent @ found.directions, found.weights, found.probes)
    gradient = informed.polynomial.tensors[0].T
    slopes = other.in_basis(other.directions @ gradient)
    np.testing.assert_allclose(slopes, other.basis.T @ gradient, atol=1e-13)
    np.testing.assert_allclose(
        found.basis @ found.in_basis(arrays["probes/margins"]),
        arrays["directions"].T @ arrays["probes/margins"],
        atol=1e-13,
    )


def test_a_bundle_with_any_kind_of_weight_sketch_can_answer_new_probes(tmp_path, bundle):
    assert bundle.keeps_weights
    assert list(bundle.weight_sketches()) == []
    (tmp_path / "none").mkdir()
    without = small(tmp_path / "none", weights=False)
    assert not Bundle.open(without.write(tmp_path / "without")).keeps_weights


def test_without_any_direction_there_is_no_answer(tmp_path):
    bundle = Bundle.open(small(tmp_path, count=0, swept=True).write(tmp_path / "bundle"))
    assert bundle.probe("margins").predict(masks()).terms[0].method == "exact, by reverse sweeps"
    with pytest.raises(EstimationError, match="'test_loss': the bundle has its base only"):
        bundle.probe("test_loss").predict(masks())


def test_every_altered_byte_is_refused(bundle):
    file = bundle.path / FILE
    raw = file.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    for at in (*range(header), *range(header, len(raw), 5), len(raw) - 1):
        file.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        with pytest.raises(DigestMismatchError, match=rf"{FILE} has SHA-256"):
            Bundle.open(bundle.path)
    file.unlink()
    with pytest.raises(FormatError, match=f"files of the bundle are missing: '{FILE}'"):
        Bundle.open(bundle.path)


def bent(array: np.ndarray) -> np.ndarray:
    return array + 1e-3 * np.eye(*array.shape)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("directions", bent, "the directions are not orthonormal"),
        ("directions", lambda a: 2 * a, "the directions are not orthonormal"),
        ("directions", lambda a: a[[0, 0, 1]], "the directions are not orthonormal"),
        ("directions", lambda a: a[:2], r"'directions' has shape \(2, 5\), expected \(3, 5\)"),
        ("directions", lambda a: a * np.nan, "'directions' holds numbers that are not finite"),
        ("probes/margins", lambda a: a * np.inf, "'probes/margins' holds numbers that are not finite"),
        ("probes/margins", lambda a: a[:, :1], r"'probes/margins' has shape \(3, 1\), expected \(3, 2\)"),
        ("weights/layer.bias", lambda a: a[:2], r"'weights/layer.bias' has shape \(2, 3\), expected \(3, 3\)"),
        ("weights/layer.bias", lambda a: a.astype(np.float32), "'weights/layer.bias' is float32, expected float64"),
        ("weights/other", lambda _: np.zeros(3), "got .*'weights/other'"),
        ("probes/other", lambda _: np.zeros(3), "got .*'probes/other'"),
    ],
)
def test_contents_that_make_no_sense_are_refused(bundle, name, change, message):
    arrays = load_file(bundle.path / FILE)
    rewrite(bundle.path, FILE, tensor_bytes({**arrays, name: change(arrays.get(name))}))
    with pytest.raises(FormatError, match=rf"{FILE}: {message}"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("lacking", ["directions", "probes/margins"])
def test_an_array_that_is_missing_is_refused(bundle, lacking):
    arrays = load_file(bundle.path / FILE)
    del arrays[lacking]
    rewrite(bundle.path, FILE, tensor_bytes(arrays))
    with pytest.raises(FormatError, match=rf"{FILE}: got .*, expected .*'{lacking}'"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize("count", [2, 4])
def test_a_manifest_that_says_something_else_is_refused(bundle, count):
    record = json.loads((bundle.path / "manifest.json").read_bytes())
    record["informed"]["count"] = count
    (bundle.path / "manifest.json").write_bytes(canonicalize(record))
    with pytest.raises(FormatError, match="has shape"):
        Bundle.open(bundle.path)


def test_what_a_reader_would_refuse_is_not_written(tmp_path, informed):
    arrays = informed.contents["informed"]
    wrong = {"directions": arrays["directions"][:2], "probes/margins": arrays["probes/margins"] * np.nan}
    for name, array in wrong.items():
        changed = {**informed.contents, "informed": {**arrays, name: array}}
        with pytest.raises(ValueError, match=f"informed directions: '{name}'"):
            write_bundle(tmp_path / "b", manifest=informed.manifest, **changed)
    with pytest.raises(FormatError, match="files are"):
        write_bundle(tmp_path / "b", manifest=informed.manifest, **{**informed.contents, "informed": None})
    none = replace(informed.manifest, informed=InformedDirections())
    with pytest.raises(ValueError, match="informed directions: 'directions' has shape"):
        write_bundle(tmp_path / "b", manifest=none, **informed.contents)
    assert not (tmp_path / "b").exists()


def test_as_many_as_there_are_units_know_everything(tmp_path):
    contents = small(tmp_path, informed=len(UNITS), count=0)
    prediction = Bundle.open(contents.write(tmp_path / "bundle")).probe("margins").predict(masks())
    np.testing.assert_allclose(prediction.change, contents.polynomial.term(1, masks()), atol=1e-12)
    assert not prediction.standard_error.any()
    assert prediction.terms[0].method == "exact, by projection"
