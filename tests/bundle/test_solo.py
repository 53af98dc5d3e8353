"""Series along units alone in a bundle: what is stored, what is refused, what they answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.bundle.small import DEGREE, KEY, TRAINED, UNITS, rewrite, small
from unlearnkit.bundle import Bundle, Manifest, SoloUnits, write_bundle
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError

LISTED = (0, 2, 3)
SHAPES = {"layer.weight": (3, 2), "layer.bias": (3,)}


def alone(folder: Path, **settings: Any) -> tuple[Manifest, dict[str, Any]]:
    """The manifest and contents of a small bundle with series along three units, of own losses too."""
    made, rng = small(folder, swept=True, **settings), np.random.default_rng(3)
    margins = made.polynomial.coefficients(np.eye(len(UNITS))[list(LISTED)])
    solo = {
        "probes/margins": margins,
        "probes/test_loss": margins[..., 0],
        "probes/own": rng.standard_normal((3, DEGREE)),
    }
    files = []
    for first, last in ((0, 2), (2, 3)):
        path = folder / f"solo-{first}"
        arrays = {name: rng.standard_normal((last - first, DEGREE, *SHAPES[name])) for name in TRAINED}
        path.write_bytes(tensor_bytes(arrays))
        files.append((first, last, path))
    base, coefficients = np.zeros(len(UNITS)), np.zeros((made.directions.count, DEGREE, len(UNITS)), complex)
    contents = {**made.contents, "probes": {**made.contents["probes"], "own": (base, coefficients)}}
    kept = made.contents["reverse"]["margins"]
    missing = len(UNITS) - kept["values"].shape[1]  # beside diagonals so many more are kept, missing ones as zeros
    padded = {
        name: np.pad(kept[name], [(0, 0)] * (kept[name].ndim - 1) + [(0, missing)]) for name in ("vectors", "values")
    }
    contents |= {"solo": solo, "solo_weight_files": files, "reverse": {"margins": kept | padded}}
    return replace(made.manifest, solo=SoloUnits(DEGREE, LISTED), own_loss="own"), contents


def write(folder: Path) -> Path:
    manifest, contents = alone(folder)
    write_bundle(folder / "bundle", manifest=manifest, **contents)
    return folder / "bundle"


def opened(folder: Path) -> Bundle:
    return Bundle.open(write(folder), pseudonym_key=KEY)


def test_the_manifest_lists_the_units_and_the_file_holds_every_probe(tmp_path):
    path = write(tmp_path)
    record = json.loads((path / "manifest.json").read_bytes())
    assert record["solo"] == {"degree": DEGREE, "units": list(LISTED)}
    assert record["own_loss"] == "own"
    assert [entry["path"] for entry in record["solo_weights"]] == [
        "sketch/solo-00000-00002.safetensors",
        "sketch/solo-00002-00003.safetensors",
    ]
    stored = load_file(path / "solo.safetensors")
    assert {name: array.shape for name, array in stored.items()} == {
        "probes/margins": (3, DEGREE, 2),
        "probes/test_loss": (3, DEGREE),
        "probes/own": (3, DEGREE),
    }


def test_a_listed_unit_is_answered_exactly_and_another_by_what_else_is_known(tmp_path):
    manifest, contents = alone(tmp_path)
    write_bundle(tmp_path / "bundle", manifest=manifest, **contents)
    sketch = Bundle.open(tmp_path / "bundle", pseudonym_key=KEY).probe("margins")
    for place, name in ((0, "ann"), (3, "dan")):
        found = sketch.predict([name], degree=DEGREE)
        series = contents["solo"]["probes/margins"][LISTED.index(place)]
        np.testing.assert_allclose([term.value for term in found.terms], series, rtol=1e-10)
        assert not found.standard_error.any()
    assert sketch.predict(["ben"], degree=DEGREE).standard_error.all()


def test_own_losses_answer_for_those_who_are_named_in_their_order(tmp_path):
    manifest, contents = alone(tmp_path)
    write_bundle(tmp_path / "bundle", manifest=manifest, **contents)
    bundle = Bundle.open(tmp_path / "bundle", pseudonym_key=KEY)
    own = contents["solo"]["probes/own"]
    np.testing.assert_allclose(bundle.own_loss(["cat"]).terms[0].value, [own[1, 0]], rtol=1e-10)
    both = bundle.own_loss(["dan", "ann"])
    np.testing.assert_allclose(both.terms[0].value, [own[2, 0], own[0, 0]], rtol=1e-10)
    with pytest.raises(UnknownNameError, match="nobody"):
        bundle.own_loss(["nobody"])


def test_a_bundle_without_own_losses_says_how_to_get_them(tmp_path):
    bundle = Bundle.open(small(tmp_path).write(tmp_path / "bundle"), pseudonym_key=KEY)
    with pytest.raises(RefusedError, match="no own losses") as caught:
        bundle.own_loss(["ann"])
    assert "OwnLoss()" in str(caught.value.hint)


def test_the_weights_of_some_units_come_in_their_order(tmp_path):
    bundle = opened(tmp_path)
    assert bundle.solo.keeps_weights
    blocks = [load_file(bundle.path / f"sketch/solo-0000{a}-0000{b}.safetensors") for a, b in ((0, 2), (2, 3))]
    found = bundle.solo.weights(np.array([3, 0, 2]))
    for name in TRAINED:
        stored = np.concatenate([block[name] for block in blocks])
        np.testing.assert_array_equal(found[name], stored[[2, 0, 1]])
    with pytest.raises(RefusedError, match="no series along 1 of these units alone"):
        bundle.solo.weights(np.array([1]))


def test_weights_that_were_not_kept_are_refused(tmp_path):
    manifest, contents = alone(tmp_path)
    write_bundle(tmp_path / "bundle", manifest=manifest, **{**contents, "solo_weight_files": ()})
    with pytest.raises(RefusedError, match="kept no series of the weights"):
        Bundle.open(tmp_path / "bundle").solo.weights(np.array([0]))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("probes/margins", np.zeros((3, DEGREE)), r"'probes/margins' has shape \(3, 2\), expected \(3, 2, 2\)"),
        ("probes/own", np.zeros((3, DEGREE, 5)), r"'probes/own' has shape \(3, 2, 5\), expected \(3, 2\)"),
        ("probes/own", np.full((3, DEGREE), np.inf), "'probes/own' holds numbers that are not finite"),
        ("surplus", np.zeros(1), "got .*'surplus'"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(tmp_path, name, array, message):
    manifest, contents = alone(tmp_path)
    with pytest.raises(ValueError, match=f"series along units alone: {message}"):
        write_bundle(tmp_path / "b", manifest=manifest, **{**contents, "solo": {**contents["solo"], name: array}})
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solo": {"degree": 0, "units": [0, 2, 3]}}, "solo: degree 0 along 3 units"),
        ({"solo": {"degree": 2, "units": []}}, "solo: degree 2 along 0 units"),
        ({"solo": {"degree": 2, "units": [0, 2, 5]}}, "a position is not below 5"),
        ({"solo": {"degree": 2, "units": [2, 0, 3]}}, "solo.units must be an array in order"),
        ({"solo": {"degree": 2, "units": [0, 2]}}, "weight sketch.* end at|weight sketches end"),
        ({"solo": {"degree": 1, "units": [0, 2, 3]}}, r"'probes/margins' has shape|expected \(2, 1"),
        ({"own_loss": "margins"}, "own_loss: 'margins' is no probe with one element a unit"),
        ({"own_loss": "other"}, "own_loss: 'other' is no probe"),
        ({"own_loss": ""}, r"'probes/own' has shape \(3, 2\), expected \(3, 2, 5\)"),
        ({"solo_weights": []}, "files are"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path, change, message):
    path = write(tmp_path)
    record = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_bytes(canonicalize(record | change))
    with pytest.raises(FormatError, match=message):
        Bundle.open(path)


def test_weights_of_another_shape_are_refused_on_opening(tmp_path):
    path = write(tmp_path)
    name = "sketch/solo-00002-00003.safetensors"
    rewrite(path, name, tensor_bytes({"layer.bias": np.zeros((1, DEGREE, 4))}))
    with pytest.raises(FormatError, match=rf"{name}: 'layer.bias' has shape \(1, 2, 4\), expected \(1, 2, 3\)"):
        Bundle.open(path)
