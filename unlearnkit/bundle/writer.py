"""Writing a bundle: assembled beside its final place, made durable, then renamed into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from unlearnkit.bundle.manifest import FILE_NAME, File, Manifest, Shape, WeightSketch
from unlearnkit.canonical import canonicalize, file_sha256_hex
from unlearnkit.files import publish_directory

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
) -> None:
    """Write a bundle directory, all or nothing. The same contents give the same bytes.

    manifest: its lists of contents are filled in here. units: pseudonyms. probes: base ``[*P]`` and complex coefficients
    ``[directions, degree, *P]``. directions: explicit ones. weight_sketch_files: first, last, and a safetensors file with
    ``[directions, degree, *S, 2]`` for each weight; linked, not copied, where the file system can.
    Raises FileExistsError when something is at ``final`` already.
    """
    if final.exists():
        raise FileExistsError(f"{final} exists already")
    staging = final.with_name(f".{final.name}.assembling")
    shutil.rmtree(staging, ignore_errors=True)  # left over from a crash; nothing else refers to it
    (staging / "probes").mkdir(parents=True)
    (staging / "units.json").write_bytes(canonicalize(list(units)))
    _save(staging / "model.safetensors", model)
    for name, (base, coefficients) in probes.items():
        _save(staging / "probes" / f"{name}.safetensors", {"base": base, "coefficients": real_pairs(coefficients)})
    if directions is not None or weight_sketch_files:
        (staging / "sketch").mkdir()
    if directions is not None:
        _save(staging / "sketch" / "directions.safetensors", {"directions": real_pairs(directions)})
    sketches = [_link(staging, *entry) for entry in weight_sketch_files]
    complete = manifest.with_contents(
        probes=tuple(Shape(name, base.shape) for name, (base, _) in sorted(probes.items())),
        weights=tuple(Shape(name, array.shape) for name, array in sorted(model.items())),
        weight_sketches=tuple(sketches),
        files=tuple(_files(staging)),
    )
    (staging / FILE_NAME).write_bytes(complete.to_bytes())
    publish_directory(staging, final)


def real_pairs(array: Array) -> Array:
    """Complex numbers as a last dimension of two real ones; safetensors files are read by more than one program."""
    return np.ascontiguousarray(np.stack([array.real, array.imag], axis=-1))


def complex_numbers(pairs: Array) -> Array:
    """The inverse of ``real_pairs``, in the same precision."""
    return np.ascontiguousarray(pairs).view(np.complex64 if pairs.dtype == np.float32 else np.complex128)[..., 0]


def _save(path: Path, tensors: Mapping[str, Array]) -> None:
    path.write_bytes(safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def _link(staging: Path, first: int, last: int, source: Path) -> WeightSketch:
    name = f"sketch/directions-{first:05d}-{last:05d}.safetensors"
    try:
        os.link(source, staging / name)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, staging / name)
    return WeightSketch(name, first, last)


def _files(staging: Path) -> list[File]:
    paths = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
    return [File(path, (staging / path).stat().st_size, file_sha256_hex(staging / path)) for path in paths]
