"""Named arrays in safetensors files: complex numbers as pairs, and nothing accepted that was not expected.

bfloat16 is an array of `unlearnkit.bundle.bfloat16.BFLOAT16`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from unlearnkit.bundle.bfloat16 import BFLOAT16, said, unsaid, wide
from unlearnkit.canonical import parse_json
from unlearnkit.errors import FormatError
from unlearnkit.names import counted

MAX_HEADER = 2**24
"""Bytes in the header of a file of arrays."""

Array = np.ndarray[Any, Any]
ShapeMap = Mapping[str, tuple[int, ...]]


def real_pairs(array: Array) -> Array:
    """Complex numbers as a last dimension of two real ones, in the same precision; few readers know complex types."""
    return np.stack([array.real, array.imag], axis=-1)


def complex_numbers(pairs: Array) -> Array:
    """The inverse of `real_pairs`, in the same precision."""
    kind = np.complex64 if pairs.dtype == np.float32 else np.complex128
    return np.ascontiguousarray(pairs).view(kind)[..., 0]


def tensor_bytes(tensors: Mapping[str, Array], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file. The same arrays give the same bytes, whatever their order."""
    dense = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    halves = [name for name, array in dense.items() if array.dtype == BFLOAT16]
    raw = safetensors.numpy.save(dense | {name: dense[name].view("<u2") for name in halves}, metadata)
    return said(bytes(raw), halves)


def parse_tensors(raw: bytes, *, where: str) -> dict[str, Array]:
    """The arrays of a safetensors file, by name (the library's own order changes from call to call).

    FormatError for anything else, also for a header that says anything twice.
    """
    _check_header(raw, where)
    raw, halves = unsaid(raw)
    try:
        arrays = safetensors.numpy.load(raw)
        return dict(sorted((arrays | {name: arrays[name].view(BFLOAT16) for name in halves}).items()))
    except (safetensors.SafetensorError, KeyError, ValueError) as err:
        raise FormatError(f"{where} is not a safetensors file with numbers that numpy knows: {err}") from err


def _check_header(raw: bytes, where: str) -> None:
    """The library passes over repeated names, and so may read other arrays than the next reader."""
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > min(MAX_HEADER, len(raw) - 8):
        raise FormatError(f"{where} is not a safetensors file: its header would have {counted(length, 'byte')}")
    header = parse_json(raw[8 : 8 + length].rstrip(b" "), where=f"{where} is not a safetensors file: its header")
    if not isinstance(header, dict):
        raise FormatError(f"{where} is not a safetensors file: its header is no object")


def read_tensors(raw: bytes, shapes: ShapeMap, dtype: str | None, *, where: str) -> dict[str, Array]:
    """`parse_tensors` that must be exactly these, finite, and of this precision (None: any); FormatError otherwise."""
    tensors = parse_tensors(raw, where=where)
    if wrong := misfit(tensors, shapes, dtype):
        raise FormatError(f"{where}: {wrong}")
    return tensors


def misfit(tensors: Mapping[str, Array], shapes: ShapeMap, dtype: str | None) -> str:
    """What is wrong with the names, shapes, precision or values of some arrays; empty when nothing is."""
    if tensors.keys() != shapes.keys():
        return f"got {sorted(tensors)}, expected {sorted(shapes)}"
    for name, array in tensors.items():
        if array.shape != tuple(shapes[name]):
            return f"{name!r} has shape {array.shape}, expected {tuple(shapes[name])}"
        if dtype is not None and array.dtype != dtype:
            return f"{name!r} is {array.dtype}, expected {dtype}"
        if wide(array).dtype.kind in "fc" and not np.isfinite(wide(array)).all():
            return f"{name!r} holds numbers that are not finite"
    return ""
