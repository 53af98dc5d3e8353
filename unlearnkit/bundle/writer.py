"""Writing a bundle: assembled beside its final place, made durable, then renamed into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unlearnkit.bundle.integrity import SIGNATURE, sign_files
from unlearnkit.bundle.manifest import (
    EXPLICIT_DIRECTIONS,
    FILE_NAME,
    INFORMED,
    MODEL,
    SOLO,
    UNITS,
    File,
    Manifest,
    PinnedProbe,
    Shape,
    SweptProbe,
    WeightSketch,
    probe_file,
    reverse_file,
    solo_weight_file,
    weight_sketch_file,
)
from unlearnkit.bundle.pseudonyms import Pseudonyms
from unlearnkit.bundle.tensors import ShapeMap, misfit, real_pairs, tensor_bytes
from unlearnkit.canonical import file_sha256_hex
from unlearnkit.files import publish_directory, write_new
from unlearnkit.signing.keys import PrivateKey

Array = np.ndarray[Any, Any]


def write_bundle(
    final: Path,
    *,
    manifest: Manifest,
    units: Sequence[str],
    model: Mapping[str, Array],
    probes: Mapping[str, tuple[Array, Array]],
    directions: Array | None = None,
    weight_sketch_files: Sequence[tuple[int, int, Path]] = (),
    reverse: Mapping[str, Mapping[str, Array]] | None = None,
    informed: Mapping[str, Array] | None = None,
    solo: Mapping[str, Array] | None = None,
    solo_weight_files: Sequence[tuple[int, int, Path]] = (),
    signer: PrivateKey | None = None,
) -> None:
    """Write a bundle directory, all or nothing. The same contents give the same bytes.

    manifest: the lists of its other contents are filled in here. units: pseudonyms. model: the trained weights.
    probes: base ``[*P]`` and complex coefficients ``[directions, degree, *P]``, stored in the run's precision.
    directions: explicit ones, ``[directions, units]``. weight_sketch_files: first and last direction and a safetensors
    file with ``[directions, degree, *S, 2]`` for each weight; linked, not copied, where the file system can.
    reverse: of the probes that the manifest says, with E elements, ``gradient`` ``[E, units]``, ``vectors``
    ``[E, units, k]`` and ``values`` ``[E, k]``, ``residual`` complex ``[directions, E, units]``.
    informed: the arrays of `unlearnkit.bundle.informed`, as many as the manifest says.
    solo, solo_weight_files: the arrays of `unlearnkit.bundle.solo` for the units that the manifest says, and first and
    last of these and a file with the weights' series along them; linked like weight sketches.
    signer: a P-256 key; None leaves the bundle unsigned.

    Raises FileExistsError when something is at ``final`` already, ValueError for units that are no pseudonyms and for
    arrays that do not fit the manifest.
    """
    if final.exists():
        raise FileExistsError(f"{final} exists already")
    staging = final.with_name(f".{final.name}.assembling")
    shutil.rmtree(staging, ignore_errors=True)  # left over from a crash; nothing else refers to it
    reverse = reverse or {}
    listed, files = _listed(manifest, units), _contents(manifest, model, probes, directions)
    if informed:
        files[INFORMED] = _informed_bytes(manifest, informed, model, probes)
    if manifest.solo.units:
        files[SOLO] = _solo_bytes(manifest, solo or {}, probes)
    if reverse.keys() != {entry.name for entry in manifest.reverse}:
        raise ValueError(f"reverse sweeps of {sorted(reverse)}, but the manifest has {manifest.reverse}")
    files |= {reverse_file(e.name): _reverse_bytes(manifest, e, probes, reverse[e.name]) for e in manifest.reverse}
    with _place(staging / UNITS).open("wb") as file:
        file.writelines(listed.to_json())
    for name, raw in files.items():
        _place(staging / name).write_bytes(raw)
    for first, last, source in weight_sketch_files:
        _link(source, _place(staging / weight_sketch_file(first, last)))
    for first, last, source in solo_weight_files:
        _link(source, _place(staging / solo_weight_file(first, last)))
    complete = replace(
        manifest,
        probes=tuple(PinnedProbe(name, np.shape(base)) for name, (base, _) in sorted(probes.items())),
        weights=_shapes(model),
        weight_sketches=tuple(WeightSketch(weight_sketch_file(a, b), a, b) for a, b, _ in weight_sketch_files),
        solo_weights=tuple(WeightSketch(solo_weight_file(a, b), a, b) for a, b, _ in solo_weight_files),
        files=tuple(_files(staging)),
    ).to_bytes()
    Manifest.from_bytes(complete)  # nothing is published that could not be opened
    (staging / FILE_NAME).write_bytes(complete)
    if signer is not None:
        (staging / SIGNATURE).write_bytes(sign_files(complete, name=final.name, signer=signer))
    publish_directory(staging, final)


def sign_bundle(path: Path, signer: PrivateKey) -> None:
    """Sign a finished bundle that nobody has signed yet. FileExistsError for one that is signed."""
    write_new(path / SIGNATURE, sign_files((path / FILE_NAME).read_bytes(), name=path.name, signer=signer))


def _contents(
    manifest: Manifest,
    model: Mapping[str, Array],
    probes: Mapping[str, tuple[Array, Array]],
    directions: Array | None,
) -> dict[str, bytes]:
    """Files by their path in the bundle; refused here if a reader would refuse them."""
    count, n = manifest.direction_count, manifest.units
    files = {MODEL: _tensors("model", model, {name: array.shape for name, array in model.items()}, None)}
    for name, (base, coefficients) in probes.items():
        shape = np.shape(base)
        shapes = {"base": shape, "coefficients": (count, manifest.degree, *shape, 2)}
        arrays = {"base": np.asarray(base), "coefficients": real_pairs(coefficients)}
        arrays = {key: array.astype(manifest.dtype) for key, array in arrays.items()}
        files[probe_file(name)] = _tensors(f"probe {name!r}", arrays, shapes, manifest.dtype)
    if directions is not None:
        pairs = {"directions": real_pairs(directions.astype(np.complex128))}
        files[EXPLICIT_DIRECTIONS] = _tensors("directions", pairs, {"directions": (count, n, 2)}, "float64")
    return files


def _listed(manifest: Manifest, units: Sequence[str]) -> Pseudonyms:
    """The list of units, as a reader will take it."""
    listed = Pseudonyms.of(units)
    if listed.different != len(listed) or len(listed) != manifest.units:
        message = f"units: got {listed.different} different pseudonyms in {len(listed)}, expected {manifest.units}"
        raise ValueError(message)
    return listed


def _reverse_bytes(
    manifest: Manifest, entry: SweptProbe, probes: Mapping[str, tuple[Array, Array]], arrays: Mapping[str, Array]
) -> bytes:
    what = f"reverse sweeps of {entry.name!r}"
    if entry.name not in probes:
        raise ValueError(f"{what}, which is not a pinned probe")
    pairs = {**arrays, "residual": real_pairs(arrays["residual"])}
    stored = {name: array.astype(manifest.dtype) for name, array in pairs.items()}
    shapes = entry.shapes(np.size(probes[entry.name][0]), manifest.units, manifest.solo)
    return _tensors(what, stored, shapes, manifest.dtype)


def _informed_bytes(
    manifest: Manifest,
    arrays: Mapping[str, Array],
    model: Mapping[str, Array],
    probes: Mapping[str, tuple[Array, Array]],
) -> bytes:
    trained = {name: array for name, array in model.items() if f"weights/{name}" in arrays}
    bases = {name: base for name, (base, _) in probes.items()}
    shapes = manifest.informed.shapes(manifest.units, _shapes(trained), _shapes(bases))
    stored = {name: array.astype(manifest.dtype) for name, array in arrays.items()}
    return _tensors("informed directions", stored, shapes, manifest.dtype)


def _solo_bytes(manifest: Manifest, arrays: Mapping[str, Array], probes: Mapping[str, tuple[Array, Array]]) -> bytes:
    shapes = manifest.solo.shapes(_shapes({name: base for name, (base, _) in probes.items()}), manifest.own_loss)
    stored = {name: array.astype(manifest.dtype) for name, array in arrays.items()}
    return _tensors("series along units alone", stored, shapes, manifest.dtype)


def _tensors(what: str, tensors: Mapping[str, Array], shapes: ShapeMap, dtype: str | None) -> bytes:
    """A file that a reader who expects this will take."""
    if wrong := misfit(tensors, shapes, dtype):
        raise ValueError(f"{what}: {wrong}")
    return tensor_bytes(tensors)


def _shapes(arrays: Mapping[str, Array]) -> tuple[Shape, ...]:
    return tuple(Shape(name, tuple(arrays[name].shape)) for name in sorted(arrays))


def _place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _files(staging: Path) -> list[File]:
    paths = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
    return [File(path, (staging / path).stat().st_size, file_sha256_hex(staging / path)) for path in paths]
