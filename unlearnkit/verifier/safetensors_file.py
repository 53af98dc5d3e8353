"""The tensors of a safetensors file: a length, a JSON object of names, types, shapes and places, and then numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from unlearnkit.canonical import parse_json
from unlearnkit.errors import FormatError
from unlearnkit.names import counted
from unlearnkit.records import Count, from_json
from unlearnkit.verifier.stored import StoredTensor, digest_of

_MOST_HEADER = 100_000_000  # what the safetensors library itself reads
_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor as the header has it."""

    dtype: str
    shape: tuple[Count, ...]
    data_offsets: tuple[Count, ...]


def safetensors(file: BinaryIO, size: int, where: str) -> dict[str, StoredTensor]:
    """The tensors, by name; FormatError for any other file. size: of the file. where: what to call it."""
    length = int.from_bytes(file.read(8), "little")
    begin = 8 + length
    if size < 8 or length > min(size - 8, _MOST_HEADER):
        raise FormatError(f"{where} is no safetensors file: it says that its header has {counted(length, 'byte')}")
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
        raise FormatError(f"{where} lies at {list(place.data_offsets)} of {counted(size - begin, 'byte')}")
    return StoredTensor(place.dtype, place.shape, digest_of(file, begin + first, last - first, where))
