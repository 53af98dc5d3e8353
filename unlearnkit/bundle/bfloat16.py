"""bfloat16, which numpy lacks: its bits in a type of their own, and what safetensors files say of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""The upper half of the bits of a float32."""


def wide(array: Array) -> Array:
    """The numbers of an array to compute with: of bfloat16 in float32, others as they are."""
    if array.dtype != BFLOAT16:
        return array
    return (array.view("<u2").astype(np.uint32) << 16).view(np.float32)


def rounded(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Finite numbers in a precision, to the nearest as torch rounds them."""
    if dtype != BFLOAT16:
        return numbers.astype(dtype)
    bits = np.atleast_1d(numbers.astype(np.float32)).view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return nearest.astype("<u2").view(BFLOAT16).reshape(numbers.shape)


def said(raw: bytes, names: Collection[str]) -> bytes:
    """A safetensors file that says of these arrays, their bits as whole numbers, that they are bfloat16."""
    return _with_types(raw, dict.fromkeys(names, "BF16")) if names else raw


def unsaid(raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The inverse of `said`: a file that numpy reads, and which of its arrays are bfloat16."""
    names = tuple(n for n, entry in _header(raw).items() if isinstance(entry, dict) and entry.get("dtype") == "BF16")
    return (_with_types(raw, dict.fromkeys(names, "U16")) if names else raw), names


def _header(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return found


def _with_types(raw: bytes, types: dict[str, str]) -> bytes:
    """The file with other types of some arrays; its header is as long as a multiple of eight bytes."""
    header, begin = _header(raw), 8 + int.from_bytes(raw[:8], "little")
    for name, kind in types.items():
        header[name]["dtype"] = kind
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + raw[begin:]
