"""Whether a model file is the model of a bundle: byte for byte, or tensor by tensor where only its metadata differs.

A safetensors file begins with a length and a JSON object of names, types, shapes and places; the rest is numbers. They
are compared as they lie there, whatever their precision, and nothing is loaded.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.canonical import file_sha256_hex, parse_json, sha256_hex
from unlearnkit.errors import DigestMismatchError, FormatError, UnknownNameError
from unlearnkit.records import Count, from_json
from unlearnkit.verifier.checks import Checklist

_MOST_HEADER = 100_000_000  # what the safetensors library itself reads
_METADATA = "__metadata__"
_CHUNK = 1 << 20
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor as the header has it."""

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in a file: its type, its shape, and the SHA-256 of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


def verify_served(served: Path, bundle: Bundle) -> str:
    """Check that a model file is the bundle's model; in words, how it is. Raises as `verify_weights` does."""
    return verify_weights(served, (bundle.path / MODEL).read_bytes(), what="the bundle's model")


def verify_weights(served: Path, weights: bytes, *, what: str) -> str:
    """Check that a model file has these weights, a safetensors file; in words, how it does. what: to call them.

    Raises:
        DigestMismatchError: It is another model; which tensors differ.
        FormatError: It is no safetensors file.
        UnknownNameError: It is not there.
    """
    if not served.is_file():
        raise UnknownNameError(f"no model file {served}")
    if file_sha256_hex(served) == sha256_hex(weights):
        return f"{served} is {what}, byte for byte"
    ours = _tensors(BytesIO(weights), len(weights), what)
    theirs = stored_tensors(served)
    if different := sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)):
        told = "; ".join(_difference(name, ours.get(name), theirs.get(name)) for name in different[:_SHOWN])
        more = f"; and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise DigestMismatchError(
            f"{served} is not {what}: {len(different)} of {len({*ours, *theirs})} tensors differ: {told}{more}"
        )
    return f"{served} has the very {len(ours)} tensors of {what}; the files differ in metadata or order"


def verify_in_use(served: Path | None, bundle: Bundle, checks: Checklist) -> None:
    """Check the model in use, or say that nobody did; raises as `verify_served` does."""
    if served is None:
        checks.leave_out("whether the model in use is this one: --model says which file it is")
    else:
        checks.add("model in use", verify_served(served, bundle))


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors in a safetensors file, by name; FormatError for any other file."""
    with path.open("rb") as file:
        return _tensors(file, path.stat().st_size, str(path))


def _tensors(file: BinaryIO, size: int, where: str) -> dict[str, StoredTensor]:
    length = int.from_bytes(file.read(8), "little")
    begin = 8 + length
    if size < 8 or length > min(size - 8, _MOST_HEADER):
        raise FormatError(f"{where} is no safetensors file: it says that its header has {length} bytes")
    header = parse_json(file.read(length), where=f"{where}: header")
    if not isinstance(header, dict):
        raise FormatError(f"{where} is no safetensors file: its header is no object")
    places = {
        name: from_json(_Place, place, where=f"{where}: {name}") for name, place in header.items() if name != _METADATA
    }
    return {name: _stored(file, place, begin, size, f"{where}: {name}") for name, place in places.items()}


def _stored(file: BinaryIO, place: _Place, begin: int, size: int, where: str) -> StoredTensor:
    first, last = place.data_offsets if len(place.data_offsets) == 2 else (1, 0)
    if not first <= last <= size - begin:
        raise FormatError(f"{where} lies at {list(place.data_offsets)} of {size - begin} bytes")
    file.seek(begin + first)
    state, left = hashlib.sha256(), last - first
    while left:
        part = file.read(min(left, _CHUNK))
        if not part:
            raise FormatError(f"{where} is cut short")
        state.update(part)
        left -= len(part)
    return StoredTensor(place.dtype, place.shape, state.hexdigest())


def _difference(name: str, ours: StoredTensor | None, theirs: StoredTensor | None) -> str:
    if ours is None or theirs is None:
        return f"{name!r} is only in {'the model in use' if ours is None else 'the bundle'}"
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{name!r} is {theirs}, in the bundle {ours}"
    count = math.prod(ours.shape)
    return f"{name!r} has other numbers ({count} of them)" if count != 1 else f"{name!r} is another number"
