"""Writing a bundle: all or nothing, and the same bytes for the same contents."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import unlearnkit.bundle.writer
from tests.bundle.small import small
from unlearnkit.bundle import Bundle, write_bundle
from unlearnkit.bundle.manifest import RecipeText


def tree(path) -> dict[str, bytes]:
    """All files below a path."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_bundle_has_the_files_of_the_design(path):
    assert sorted(tree(path)) == [
        "manifest.json",
        "model.safetensors",
        "probes/margins.safetensors",
        "probes/test_loss.safetensors",
        "sketch/directions-00000-00004.safetensors",
        "sketch/directions-00004-00006.safetensors",
        "units.json",
    ]


def test_the_manifest_lists_every_other_file_with_its_digest(path):
    manifest, files = json.loads((path / "manifest.json").read_bytes()), tree(path)
    del files["manifest.json"]
    assert manifest["files"] == [
        {"path": name, "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        for name, raw in sorted(files.items())
    ]


def test_a_probe_computed_in_another_precision_is_stored_in_that_of_the_run(tmp_path):
    contents = small(tmp_path, dtype="float32")
    wider = {n: (base.astype(np.float64), c.astype(complex)) for n, (base, c) in contents.contents["probes"].items()}
    write_bundle(tmp_path / "wider", manifest=contents.manifest, **{**contents.contents, "probes": wider})
    assert tree(tmp_path / "wider") == tree(contents.write(tmp_path / "bundle"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probes_are_stored_in_the_precision_of_the_run(tmp_path, dtype):
    contents = small(tmp_path, dtype=dtype)
    path = contents.write(tmp_path / "bundle")
    for name, (base, coefficients) in contents.contents["probes"].items():
        stored = load_file(path / "probes" / f"{name}.safetensors")
        assert stored["base"].dtype == stored["coefficients"].dtype == dtype
        np.testing.assert_array_equal(stored["base"], base)
        np.testing.assert_array_equal(stored["coefficients"][..., 0], coefficients.real)
        np.testing.assert_array_equal(stored["coefficients"][..., 1], coefficients.imag)
        assert stored["coefficients"].shape == (6, 2, *base.shape, 2)


def test_the_model_and_the_units_are_stored_as_they_are(path, contents):
    stored = load_file(path / "model.safetensors")
    for name, array in contents.contents["model"].items():
        assert stored[name].dtype == array.dtype
        np.testing.assert_array_equal(stored[name], array)
    assert json.loads((path / "units.json").read_bytes()) == contents.contents["units"]


def test_explicit_directions_are_stored_and_random_ones_are_not(tmp_path):
    contents = small(tmp_path, dtype="float32", explicit=True)
    stored = load_file(contents.write(tmp_path / "bundle") / "sketch" / "directions.safetensors")["directions"]
    assert stored.dtype == np.float64
    np.testing.assert_array_equal(stored[..., 0] + 1j * stored[..., 1], contents.directions.array)


def test_the_same_contents_give_the_same_bytes(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    contents = small(tmp_path)
    first = tree(contents.write(tmp_path / "first"))
    backwards = {name: dict(reversed(contents.contents[name].items())) for name in ("model", "probes")}
    write_bundle(tmp_path / "elsewhere" / "b", manifest=contents.manifest, **{**contents.contents, **backwards})
    assert tree(tmp_path / "elsewhere" / "b") == first


def test_weight_sketches_are_linked_not_copied(path, contents):
    (_, _, source), _ = contents.contents["weight_sketch_files"]
    assert (path / "sketch" / "directions-00000-00004.safetensors").samefile(source)


def test_weight_sketches_are_copied_where_links_are_not_to_be_had(tmp_path, monkeypatch):
    contents = small(tmp_path)

    def refuse(*_):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    path = contents.write(tmp_path / "bundle")
    for first, last, source in contents.contents["weight_sketch_files"]:
        copy = path / "sketch" / f"directions-{first:05d}-{last:05d}.safetensors"
        assert copy.read_bytes() == source.read_bytes()
        assert not copy.samefile(source)


def test_a_bundle_is_never_overwritten(path, contents):
    before = tree(path)
    with pytest.raises(FileExistsError, match="bundle exists already"):
        contents.write(path)
    assert tree(path) == before


@pytest.mark.parametrize("step", ["_files", "publish_directory"])
def test_a_crash_leaves_no_bundle_and_the_next_call_writes_it(tmp_path, monkeypatch, step):
    contents, final = small(tmp_path), tmp_path / "out" / "bundle"
    final.parent.mkdir()

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(unlearnkit.bundle.writer, step, crash)
        with pytest.raises(KeyboardInterrupt):
            contents.write(final)
    assert not final.exists()
    (final.parent / ".bundle.assembling" / "stray").write_text("left over")
    contents.write(final)
    assert [path.name for path in final.parent.iterdir()] == ["bundle"]
    Bundle.open(final)


def fail(*_) -> None:
    raise OSError("No space left on device")


def count_fsyncs(monkeypatch, failing: int | None = None) -> list[int]:
    """Counts calls of fsync; the one with the given number fails."""
    calls, fsync = [], os.fsync

    def counted(descriptor):
        calls.append(descriptor)
        if len(calls) - 1 == failing:
            fail()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    return calls


def test_whatever_step_of_publishing_fails_there_is_no_bundle_or_a_whole_one(tmp_path, monkeypatch):
    contents = small(tmp_path)
    with monkeypatch.context() as patch:
        calls = count_fsyncs(patch)
        contents.write(tmp_path / "whole")
    assert len(calls) == 7 + 3 + 1  # files, folders, and the folder around
    for failing in range(len(calls)):
        final = tmp_path / f"bundle-{failing}"
        with monkeypatch.context() as patch:
            count_fsyncs(patch, failing)
            with pytest.raises(OSError, match="No space left"):
                contents.write(final)
        assert final.exists() == (failing == len(calls) - 1)  # only its name may still be lost by then
        if not final.exists():
            contents.write(final)
        Bundle.open(final)


@pytest.mark.parametrize("step", ["rename", "write_bytes"])
def test_a_disk_that_fails_leaves_no_bundle_and_the_next_call_writes_it(tmp_path, monkeypatch, step):
    contents, final = small(tmp_path), tmp_path / "bundle"
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, fail)
        with pytest.raises(OSError, match="No space left"):
            contents.write(final)
    assert not final.exists()
    Bundle.open(contents.write(final))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda base, c: (base, c[:-1]), r"'coefficients' has shape \(5, 2, 2, 2\), expected \(6, 2, 2, 2\)"),
        (lambda base, c: (base[:1], c), r"'coefficients' has shape \(6, 2, 2, 2\), expected \(6, 2, 1, 2\)"),
        (lambda base, c: (base, c * np.nan), "'coefficients' holds numbers that are not finite"),
    ],
)
def test_a_probe_that_does_not_fit_the_manifest_is_refused(tmp_path, contents, change, message):
    probes = {"margins": change(*contents.contents["probes"]["margins"])}
    with pytest.raises(ValueError, match=rf"probe 'margins': {message}"):
        write_bundle(tmp_path / "b", manifest=contents.manifest, **{**contents.contents, "probes": probes})
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": ["a" * 64] * 5}, "units: got 1 different pseudonyms in 5, expected 5"),
        ({"units": ["a" * 64]}, "units: got 1 different pseudonyms in 1, expected 5"),
        ({"units": ["ann", "ben", "cat", "dan", "17"]}, "units: got something else than pseudonyms"),
        ({"model": {"w": np.array([np.inf])}}, "model: 'w' holds numbers that are not finite"),
        ({"directions": np.ones((6, 4))}, r"directions: 'directions' has shape \(6, 4, 2\), expected \(6, 5, 2\)"),
    ],
)
def test_contents_that_do_not_fit_the_manifest_are_refused(tmp_path, contents, changes, message):
    with pytest.raises(ValueError, match=message):
        write_bundle(tmp_path / "b", manifest=contents.manifest, **{**contents.contents, **changes})
    assert not (tmp_path / "b").exists()


def test_a_probe_name_cannot_leave_the_bundle(tmp_path, contents):
    probes = {"../../escaped": contents.contents["probes"]["margins"]}
    with pytest.raises(ValueError, match="probe name"):
        write_bundle(tmp_path / "b", manifest=contents.manifest, **{**contents.contents, "probes": probes})
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_manifest_that_could_not_be_read_is_not_published(tmp_path, contents):
    with pytest.raises(ValueError, match=r"Manifest: recipe\.digest must be 64 lower-case hexadecimal digits: got 'x'"):
        write_bundle(
            tmp_path / "b", manifest=replace(contents.manifest, recipe=RecipeText("x", {})), **contents.contents
        )
    assert not (tmp_path / "b").exists()
