"""The manifest: one encoding, strictly parsed."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundle.small import DIGEST, small
from unlearnkit.bundle import Manifest
from unlearnkit.bundle.manifest import (
    ExplicitDirections,
    File,
    InformedDirections,
    Piecewise,
    PinnedProbe,
    RandomDirections,
    RecipeText,
    Shape,
    SweptProbe,
    WeightSketch,
    probe_file,
    reverse_file,
    weight_sketch_file,
)
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import FormatError, UnknownVersionError


@pytest.fixture
def record(path) -> dict:
    """The manifest of the small bundle, as a JSON object."""
    return json.loads((path / "manifest.json").read_bytes())


def test_the_manifest_is_canonical_json_and_comes_back(path):
    raw = (path / "manifest.json").read_bytes()
    manifest = Manifest.from_bytes(raw)
    assert manifest.to_bytes() == raw
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


NAMES = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,8}", fullmatch=True)
SHAPES = st.lists(st.integers(0, 2**53 - 1), max_size=3).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)


def informed_directions(count: int, degree: int, leading: int, rounds: int) -> InformedDirections:
    """Such that they hold together."""
    if not count:
        return InformedDirections()
    return InformedDirections(count, degree + 1, min(leading + 1, count) if degree else 0, rounds)


@st.composite
def manifests(draw) -> Manifest:
    """Any manifest that holds together."""
    count, units, explicit = draw(st.integers(0, 99_999)), draw(st.integers(1, 2**22)), draw(st.booleans())
    probes = draw(st.dictionaries(NAMES, SHAPES, max_size=3))
    swept = [] if explicit else [name for name in sorted(probes) if draw(st.booleans())]
    keeps = count > 0 and draw(st.booleans())
    cuts = sorted(draw(st.sets(st.integers(1, count), max_size=3)) | {count}) if keeps else []
    informed = 0 if explicit else draw(st.integers(0, min(units, 999)))
    sketches = [WeightSketch(weight_sketch_file(a, b), a, b) for a, b in pairwise([0, *cuts])]
    paths = ["units.json", "model.safetensors", *map(probe_file, probes), *map(reverse_file, swept)]
    paths += [sketch.path for sketch in sketches] + ["sketch/directions.safetensors"] * explicit
    paths += ["sketch/informed.safetensors"] * bool(informed)
    return Manifest(
        recipe=RecipeText(draw(DIGESTS), draw(st.dictionaries(st.text(), JSON, max_size=3))),
        counterfactual=draw(st.text()),
        units=units,
        pseudonym_key=draw(DIGESTS)[:16],
        degree=draw(st.integers(1, 9)),
        directions=ExplicitDirections(count=count)
        if explicit
        else RandomDirections(count=count, salt=draw(DIGESTS), key=draw(DIGESTS)[:32]),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        piecewise=tuple(Piecewise(draw(st.text()), "", "") for _ in range(draw(st.integers(0, 2)))),
        versions=draw(st.dictionaries(st.text(), st.text(), max_size=2)),
        informed=draw(st.builds(informed_directions, st.just(informed), *[st.integers(0, 9)] * 3)),
        probes=tuple(PinnedProbe(name, shape) for name, shape in sorted(probes.items())),
        reverse=tuple(SweptProbe(name, draw(st.integers(0, 9)), draw(st.integers(0, 9))) for name in swept),
        weights=tuple(Shape(n, s) for n, s in sorted(draw(st.dictionaries(st.text(), SHAPES, max_size=3)).items())),
        weight_sketches=tuple(sketches),
        files=tuple(File(path, draw(st.integers(0, 2**53 - 1)), draw(DIGESTS)) for path in sorted(paths)),
    )


@given(manifests())
def test_any_manifest_comes_back_with_the_same_bytes(manifest):
    raw = manifest.to_bytes()
    back = Manifest.from_bytes(raw)
    assert back == manifest
    assert back.to_bytes() == raw
    assert back.is_explicit == (json.loads(raw)["directions"]["kind"] == "explicit")


def test_the_manifest_says_what_was_computed(record):
    assert record["schema"] == "unlearnkit/bundle/v1"
    description = {"name": "small", "optimizer": {"lr": 0.05}}
    assert record["recipe"] == {"digest": DIGEST, "description": description}
    assert record["directions"].keys() == {"kind", "count", "salt", "salt_from", "key"}
    assert record["directions"]["salt_from"] == {"kind": "chosen"}
    assert record["directions"]["kind"] == "random"
    assert (record["units"], record["degree"], record["directions"]["count"], record["dtype"]) == (5, 2, 6, "float64")
    assert record["probes"] == [{"name": "margins", "shape": [2]}, {"name": "test_loss", "shape": []}]
    assert record["weights"] == [
        {"name": "layer.bias", "shape": [3]},
        {"name": "layer.weight", "shape": [3, 2]},
        {"name": "steps", "shape": []},
    ]
    assert [sketch["path"] for sketch in record["weight_sketches"]] == [
        "sketch/directions-00000-00004.safetensors",
        "sketch/directions-00004-00006.safetensors",
    ]


def test_every_field_is_required(record):
    for name in record:
        shorter = {key: value for key, value in record.items() if key != name}
        with pytest.raises(FormatError, match=f"lacks '{name}'|schema is None"):
            Manifest.from_bytes(canonicalize(shorter))


def test_a_field_that_nobody_knows_is_refused(record):
    with pytest.raises(FormatError, match="unknown fields: got 'extra'"):
        Manifest.from_bytes(canonicalize({**record, "extra": 1}))


def test_another_schema_is_another_version(record):
    with pytest.raises(UnknownVersionError, match="schema is 'unlearnkit/bundle/v2', expected 'unlearnkit/bundle/v1'"):
        Manifest.from_bytes(canonicalize({**record, "schema": "unlearnkit/bundle/v2"}))


def test_another_encoding_of_the_same_manifest_is_refused(record):
    with pytest.raises(FormatError, match="not canonical JSON"):
        Manifest.from_bytes(json.dumps(record).encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b'"text"'])
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(FormatError, match=r"manifest\.json"):
        Manifest.from_bytes(raw)


LONG = "f" * 64
SLOPES = {"count": 2, "degree": 1, "leading": 0, "power_iterations": 1}
CHANGES = [
    (("recipe", "digest"), "AB" * 32, "recipe.digest must be 64 lower-case hexadecimal digits: got"),
    (("recipe", "digest"), DIGEST + "\n", "recipe.digest must be 64 lower-case hexadecimal digits: got"),
    (("recipe", "description"), [], "recipe.description must be an object: got an array"),
    (("counterfactual",), None, "counterfactual must be a string: got null"),
    (("units",), 0, "units must be an integer, at least 1: got 0"),
    (("units",), True, "units must be an integer: got true"),
    (("units",), 5.5, "units must be an integer: got 5.5"),
    (("degree",), -1, "degree must be an integer, at least 1: got -1"),
    (("dtype",), "float16", "dtype must be 'float32' or 'float64': got 'float16'"),
    (("directions", "count"), -1, "directions.count must be an integer, at least 0: got -1"),
    (("directions", "kind"), "chosen", "directions.kind must be 'random' or 'explicit': got 'chosen'"),
    (("directions", "kind"), "explicit", "directions has unknown fields: got 'salt_from'"),
    (("directions",), {"kind": "explicit", "count": 6, "salt": "0" * 64, "key": ""}, "directions.salt must be '': got"),
    (("directions", "salt"), "", "directions.salt must be 64 lower-case hexadecimal digits: got ''"),
    (("directions", "key"), "00", "directions.key must be 32 lower-case hexadecimal digits: got '00'"),
    (("informed", "count"), -1, "informed.count must be an integer, at least 0: got -1"),
    (("informed", "power_iterations"), -1, "informed.power_iterations must be an integer, at least 0: got -1"),
    (("informed", "power_iterations"), 1, "power iterations of no directions"),
    (("informed", "count"), 6, "there are more informed directions than units"),
    (("informed", "count"), 2, "degree 0 of 2 directions"),
    (("informed", "degree"), 1, "degree 1 of 0 directions"),
    (("informed", "leading"), 1, "degree 0 of 1 leading"),
    (("informed",), SLOPES, "files are"),
    (("informed",), SLOPES | {"degree": 2}, "degree 2 of 0 leading"),
    (("informed",), SLOPES | {"leading": 2}, "degree 1 of 2 leading"),
    (("informed",), SLOPES | {"degree": 2, "leading": 3}, "there are more leading directions than informed ones"),
    (("informed",), {"count": 2}, "informed lacks 'degree', 'leading', 'power_iterations'"),
    (("versions", "numpy"), 2, "versions.numpy must be a string: got 2"),
    (("piecewise", 0), {"operation": "relu"}, r"piecewise\[0\] lacks"),
    (("probes", 0, "name"), "../up", r"probes\[0\].name must be 1 to 64 of a-z.*: got '\.\./up'"),
    (("probes", 0, "shape"), [2.5], r"probes\[0\].shape\[0\] must be an integer: got 2\.5"),
    (("probes", 0, "shape"), [2, -1], r"probes\[0\].shape\[1\] must be an integer, at least 0: got -1"),
    (("probes", 0, "shape"), [True], r"probes\[0\].shape\[0\] must be an integer: got true"),
    (("probes", 1, "name"), "margins", r"names are not sorted, each once: \['margins', 'margins'\]"),
    (("weights", 2, "name"), "layer.bias", "names are not sorted, each once"),
    (("weight_sketches", 1, "first"), 3, "weight sketch '.*' does not continue at direction 4"),
    (("weight_sketches", 1, "last"), 4, "weight sketch '.*' does not continue at direction 4"),
    (("weight_sketches", 1, "last"), 7, "weight sketch at 'sketch/directions-00004-00006.safetensors'"),
    (("directions", "count"), 0, "weight sketches end at direction 6 of 0"),
    (("directions", "count"), 7, "weight sketches end at direction 6 of 7"),
    (("files", 0, "path"), "model.sig", "files are"),
    (("files", 0, "path"), "../model.safetensors", "files are"),
    (("files", 0, "size"), -1, r"files\[0\].size must be an integer, at least 0: got -1"),
    (("files", 0, "sha256"), "x" * 64, r"files\[0\].sha256 must be 64 lower-case hexadecimal digits"),
    (("files", 0), {"path": "units.json", "size": 1, "sha256": LONG}, "files are"),
]


@pytest.mark.parametrize(("where", "value", "message"), CHANGES)
def test_a_wrong_value_is_refused_and_named(record, where, value, message):
    changed = copy.deepcopy(record)
    place = changed
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    with pytest.raises(FormatError, match=rf"manifest\.json.*{message}"):
        Manifest.from_bytes(canonicalize(changed))


def test_files_in_another_order_or_too_few_or_too_many_are_refused(path):
    manifest = Manifest.from_bytes((path / "manifest.json").read_bytes())
    units, own = manifest.files[-1], File("manifest.json", 0, LONG)
    for files in (
        manifest.files[::-1],
        manifest.files[1:],
        (*manifest.files, File("z", 0, LONG)),
        (*manifest.files, units),
        tuple(sorted((*manifest.files, own), key=lambda file: file.path)),
    ):
        with pytest.raises(FormatError, match="files are"):
            Manifest.from_bytes(replace(manifest, files=files).to_bytes())


def test_explicit_directions_have_no_informed_ones_beside_them(tmp_path):
    manifest = small(tmp_path, explicit=True).manifest
    with pytest.raises(FormatError, match="informed directions beside explicit ones"):
        Manifest.from_bytes(replace(manifest, informed=InformedDirections(2, 1, 0, 1)).to_bytes())


def test_weight_sketches_without_files_are_refused(path):
    manifest = Manifest.from_bytes((path / "manifest.json").read_bytes())
    whole = WeightSketch("sketch/directions-00000-00006.safetensors", 0, 6)
    with pytest.raises(FormatError, match="files are"):
        Manifest.from_bytes(replace(manifest, weight_sketches=(whole,)).to_bytes())


@pytest.mark.parametrize("name", ["a", "test_loss", "0", "_x", "a.b-c", "a" * 64, "a..b"])
def test_a_probe_name_that_is_a_plain_file_name_is_taken(name):
    assert probe_file(name) == f"probes/{name}.safetensors"


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\\b", "A", "a b", "-a", "a" * 65, "é", "a\0", "a\n"])
def test_a_probe_name_that_is_a_path_or_not_portable_is_refused(name):
    with pytest.raises(ValueError, match="probe name"):
        probe_file(name)
