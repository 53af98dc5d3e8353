"""Reverse sweeps in a bundle: stored, checked, and asked before the forward sketch is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.bundle.small import LEFT, RANK, UNITS, Small, rewrite, small
from unlearnkit.bundle import RESIDUAL, Bundle, Directions, SoloUnits, SweptProbe, write_bundle
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import FormatError

FILE = "reverse/margins.safetensors"


@pytest.fixture
def swept(tmp_path) -> Small:
    return small(tmp_path, swept=True)


def masks() -> np.ndarray:
    return np.array([[1.0, 0, 0, 1, 0], [0, 1, 1, 1, 1]])


def test_the_manifest_lists_them_and_their_file_holds_them(tmp_path, swept):
    path = swept.write(tmp_path / "bundle")
    record = json.loads((path / "manifest.json").read_bytes())
    assert record["reverse"] == [{"name": "margins", "rank": RANK, "residual": LEFT, "cubic": 0}]
    assert FILE in [file["path"] for file in record["files"]]
    stored, arrays = load_file(path / FILE), swept.contents["reverse"]["margins"]
    assert stored.keys() == arrays.keys()
    for name in ("gradient", "vectors", "values"):
        np.testing.assert_array_equal(stored[name], arrays[name])
    np.testing.assert_array_equal(stored["residual"][..., 0] + 1j * stored["residual"][..., 1], arrays["residual"])


def test_a_probe_with_reverse_sweeps_is_answered_by_them(tmp_path, swept):
    sketch = Bundle.open(swept.write(tmp_path / "bundle")).probe("margins")
    prediction = sketch.predict(masks())
    np.testing.assert_allclose(prediction.terms[0].value, swept.polynomial.term(1, masks()), rtol=1e-12)
    methods = ["exact, by reverse sweeps", "4 eigenpairs, by reverse sweeps"]
    assert [term.method for term in prediction.terms] == methods
    arrays = swept.contents["reverse"]["margins"]
    form = np.einsum("euk,ek,evk->euv", arrays["vectors"], arrays["values"], arrays["vectors"])
    second = np.einsum("su,euv,sv->se", masks(), form, masks()) / 2
    np.testing.assert_allclose(prediction.terms[1].value, second, rtol=1e-10)
    assert (prediction.terms[1].standard_error > 0).all()
    np.testing.assert_allclose(sketch.influences(), swept.polynomial.tensors[0].T, rtol=1e-12)


def test_a_probe_without_is_answered_by_the_forward_sketch(tmp_path, swept):
    bundle = Bundle.open(swept.write(tmp_path / "bundle"))
    assert bundle.probe("test_loss").reverse is None
    assert bundle.probe("test_loss").predict(masks()).terms[0].method == "exact, by projection"


def test_their_directions_are_their_own(tmp_path, swept):
    """The residual must not read directions that anything else has read."""
    bundle = Bundle.open(swept.write(tmp_path / "bundle"))
    manifest, found = bundle.manifest, bundle.probe("margins").reverse.directions
    salt = bytes.fromhex(manifest.salt)
    own = Directions.random(manifest.recipe_digest, salt, LEFT, len(UNITS), "float64", RESIDUAL)
    np.testing.assert_array_equal(found.block(0, LEFT), own.block(0, LEFT))
    assert not np.isclose(found.block(0, LEFT), bundle.directions.block(0, LEFT)).any()


def test_they_are_stored_in_the_precision_of_the_run(tmp_path):
    path = small(tmp_path, dtype="float32", swept=True).write(tmp_path / "bundle")
    assert {array.dtype for array in load_file(path / FILE).values()} == {np.dtype(np.float32)}
    reverse = Bundle.open(path).probe("margins").reverse
    assert {array.dtype for array in (reverse.gradient, reverse.vectors, reverse.values)} == {np.dtype(np.float64)}
    assert reverse.residual.dtype == np.complex128


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("gradient", np.zeros((2, 4)), r"'gradient' has shape \(2, 4\), expected \(2, 5\)"),
        ("gradient", np.full((2, 5), np.nan), "'gradient' holds numbers that are not finite"),
        ("vectors", np.zeros((2, 5, 2)), r"'vectors' has shape \(2, 5, 2\), expected \(2, 5, 4\)"),
        ("values", np.zeros((2, 5)), r"'values' has shape \(2, 5\), expected \(2, 4\)"),
        ("residual", np.zeros((5, 1, 5), complex), r"'residual' has shape \(5, 1, 5, 2\), expected \(5, 2, 5, 2\)"),
        ("surplus", np.zeros(1), "got .*'surplus'"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(tmp_path, swept, name, array, message):
    reverse = {"margins": {**swept.contents["reverse"]["margins"], name: array}}
    with pytest.raises(ValueError, match=rf"reverse sweeps of 'margins': {message}"):
        write_bundle(tmp_path / "b", manifest=swept.manifest, **{**swept.contents, "reverse": reverse})
    assert not (tmp_path / "b").exists()


def test_only_a_pinned_probe_can_have_them(tmp_path, swept):
    reverse = {"accuracy": swept.contents["reverse"]["margins"]}
    manifest = replace(swept.manifest, reverse=(SweptProbe("accuracy", RANK, LEFT),))
    with pytest.raises(ValueError, match="reverse sweeps of 'accuracy', which is not a pinned probe"):
        write_bundle(tmp_path / "b", manifest=manifest, **{**swept.contents, "reverse": reverse})


def test_arrays_and_manifest_agree_on_whose_they_are(tmp_path, swept):
    with pytest.raises(ValueError, match=r"reverse sweeps of \[\], but the manifest has .*margins"):
        write_bundle(tmp_path / "b", manifest=swept.manifest, **{**swept.contents, "reverse": None})
    with pytest.raises(ValueError, match=r"reverse sweeps of \['margins'\], but the manifest has \(\)"):
        write_bundle(tmp_path / "b", manifest=replace(swept.manifest, reverse=()), **swept.contents)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"rank": -1}, r"reverse\[0\]\.rank must be an integer, at least 0: got -1"),
        ({"residual": -1}, r"reverse\[0\]\.residual must be an integer, at least 0: got -1"),
        ({"name": "accuracy"}, "reverse sweeps of 'accuracy', which is not a pinned probe"),
        ({"rank": 3}, r"'values' has shape \(2, 4\), expected \(2, 5\)|'vectors' has shape"),
        ({"residual": 4}, r"'residual' has shape \(5, 2, 5, 2\), expected \(4, 2, 5, 2\)"),
        ({"name": "test_loss"}, "files are"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path, swept, entry, message):
    path = swept.write(tmp_path / "bundle")
    record = json.loads((path / "manifest.json").read_bytes())
    record["reverse"][0] |= entry
    (path / "manifest.json").write_bytes(canonicalize(record))
    with pytest.raises(FormatError, match=message):
        Bundle.open(path)


def test_explicit_directions_have_none(tmp_path, swept):
    """Their own directions follow from the salt, and there is none."""
    explicit = small(tmp_path, explicit=True)
    manifest = replace(explicit.manifest, reverse=swept.manifest.reverse)
    with pytest.raises(FormatError, match="reverse sweeps of 'margins' beside explicit directions"):
        write_bundle(tmp_path / "b", manifest=manifest, **{**explicit.contents, "reverse": swept.contents["reverse"]})


@pytest.mark.parametrize(("rank", "pairs"), [(0, 0), (2, 4), (3, 5), (9, 5)])
def test_a_basis_gives_two_eigenpairs_for_each_column_but_no_more_than_units(rank, pairs):
    assert SweptProbe("margins", rank, 0).eigenpairs(5, SoloUnits()) == pairs


@pytest.mark.parametrize(
    ("solo", "pairs"),
    [(SoloUnits(2, tuple(range(40))), 16), (SoloUnits(2, (3, 5)), 16), (SoloUnits(1, tuple(range(40))), 8)],
)
def test_it_gives_four_beside_diagonals(solo, pairs):
    assert SweptProbe("margins", 4, 0).eigenpairs(40, solo) == pairs


def test_numbers_that_are_not_finite_are_refused_on_opening(tmp_path, swept):
    path = swept.write(tmp_path / "bundle")
    rewrite(path, FILE, tensor_bytes({**load_file(path / FILE), "gradient": np.full((2, 5), np.inf)}))
    with pytest.raises(FormatError, match=rf"{FILE}: 'gradient' holds numbers that are not finite"):
        Bundle.open(path)


def test_the_gradient_alone_leaves_the_second_order_to_the_forward_sketch(tmp_path, swept):
    none = {"vectors": np.zeros((2, 5, 0)), "values": np.zeros((2, 0)), "residual": np.zeros((0, 2, 5), complex)}
    reverse = {"margins": {**swept.contents["reverse"]["margins"], **none}}
    manifest = replace(swept.manifest, reverse=(SweptProbe("margins", 0, 0),))
    write_bundle(tmp_path / "b", manifest=manifest, **{**swept.contents, "reverse": reverse})
    prediction = Bundle.open(tmp_path / "b").probe("margins").predict(masks())
    assert prediction.terms[0].method == "exact, by reverse sweeps"
    assert prediction.terms[1].method.startswith(
        "minimum norm, by projection on 12 of 15 dimensions, or average over 6"
    )
    np.testing.assert_allclose(prediction.terms[0].value, swept.polynomial.term(1, masks()), rtol=1e-12)
    forward = Bundle.open(small(tmp_path).write(tmp_path / "forward")).probe("margins").predict(masks())
    np.testing.assert_array_equal(prediction.terms[1].value, forward.terms[1].value)
