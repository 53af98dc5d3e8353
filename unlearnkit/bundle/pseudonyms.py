"""The pseudonyms of very many units: 32 bytes each, in the order of the units, found again by bisection.

``units.json`` is canonical JSON, a list of texts of 64 hexadecimal digits: every unit takes the same 67 bytes, so that
the file is read and written block by block, and no text is made for a unit that nobody asks for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from unlearnkit.bundle.manifest import UNITS
from unlearnkit.errors import FormatError
from unlearnkit.files import read_blocks
from unlearnkit.names import SHA256

Array = np.ndarray[Any, Any]

BYTES = 32
"""Of one pseudonym."""
_RECORD = 2 * BYTES + 3  # digits, quotes and what comes after them
_AT_ONCE = 1 << 14
_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_VALUES = np.full(256, 16, dtype=np.uint8)
_VALUES[_DIGITS] = np.arange(16)


class Pseudonyms(Sequence[str]):
    """Different pseudonyms in their order, as a sequence of texts. Whether one is there takes a bisection.

    Args:
        digests: uint8 ``[units, 32]``.

    """

    def __init__(self, digests: Array) -> None:
        self._digests = np.ascontiguousarray(digests, dtype=np.uint8).reshape(-1, BYTES)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Pseudonyms:
        """Of texts; ValueError for one that is no pseudonym."""
        if isinstance(texts, Pseudonyms):
            return texts
        listed = list(texts)
        if not all(SHA256.fits(text) for text in listed):  # it may be a name, which is not repeated
            raise ValueError("units: got something else than pseudonyms, 64 hexadecimal digits each")
        return cls(np.frombuffer(bytes.fromhex("".join(listed)), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(bytes(row).hex() for row in self._digests[place])
        return bytes(self._digests[place]).hex()

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self[first : first + _AT_ONCE]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Pseudonyms):
            return np.array_equal(self._digests, other._digests)
        return isinstance(other, tuple) and len(other) == len(self) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.position(text) is not None

    def position(self, text: str) -> int | None:
        """Where a pseudonym is; None for what is not there."""
        if not SHA256.fits(text):
            return None
        place = int(self.find(Pseudonyms.of([text]))[0])
        return None if place < 0 else place

    def positions(self, texts: Iterable[str]) -> list[int]:
        """Where those of some pseudonyms are that are there, increasing."""
        return sorted(place for place in map(self.position, texts) if place is not None)

    def find(self, others: Pseudonyms) -> Array:
        """Where other pseudonyms are in this list, ``[others]``; -1 for those that are not."""
        found = np.searchsorted(self._texts, others._texts, sorter=self._order)
        places = self._order[np.minimum(found, max(len(self) - 1, 0))].astype(np.int64)
        return np.where(self._texts[places] == others._texts, places, -1)

    @property
    def different(self) -> int:
        """How many different ones there are."""
        ordered = self._texts[self._order]
        return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + min(len(self), 1)

    def is_permutation_of(self, other: Pseudonyms) -> bool:
        """Whether both list the same units, in whatever order."""
        return np.array_equal(self._texts[self._order], other._texts[other._order])

    @cached_property
    def _order(self) -> Array:
        return np.argsort(self._texts, kind="stable").astype(np.uint32)

    @property
    def _texts(self) -> Array:
        """As texts of numpy, which it compares byte by byte: of one length, none is taken for another."""
        return self._digests.view(f"S{BYTES}")[:, 0]

    def to_json(self) -> Iterator[bytes]:
        """``units.json``, block by block."""
        yield b"["
        for first in range(0, len(self), _AT_ONCE):
            digests = self._digests[first : first + _AT_ONCE]
            records = np.empty((len(digests), _RECORD), dtype=np.uint8)
            records[:, 1:-2:2], records[:, 2:-2:2] = _DIGITS[digests >> 4], _DIGITS[digests & 15]
            records[:, 0] = records[:, -2] = ord('"')
            records[:, -1] = ord(",")
            raw = records.tobytes()
            yield raw if first + _AT_ONCE < len(self) else raw[:-1]
        yield b"]"


@dataclass(frozen=True, slots=True)
class ListRead:
    """What a file lists, how long it is, and its SHA-256."""

    pseudonyms: Pseudonyms
    size: int
    sha256: str


def read_list(path: Path, most: int) -> ListRead:
    """The list in a file of at most ``most`` bytes, in one pass. FormatError for what is no list of pseudonyms."""
    state, size, found, left, is_open = hashlib.sha256(), 0, [np.empty((0, BYTES), np.uint8)], b"", True
    for block in read_blocks(path, most, _RECORD * _AT_ONCE):
        state.update(block)
        _require(is_open and (size or block.startswith(b"[")))
        records = left + (block if size else block[1:])
        whole = len(records) // _RECORD * _RECORD
        digests, is_open = _parsed(np.frombuffer(records[:whole], dtype=np.uint8).reshape(-1, _RECORD))
        found.append(digests)
        size, left = size + len(block), records[whole:]
    _require(not is_open and not left)
    return ListRead(Pseudonyms(np.concatenate(found)), size, state.hexdigest())


def _parsed(records: Array) -> tuple[Array, bool]:
    """The pseudonyms in records ``[count, 67]``, and whether others may come: the last one ends with a bracket."""
    ends = records[:, -1]
    _require((records[:, 0] == ord('"')).all() and (records[:, -2] == ord('"')).all() and (ends[:-1] == ord(",")).all())
    values = _VALUES[records[:, 1:-2]]
    _require((values < 16).all())
    is_open = not len(ends) or ends[-1] == ord(",")
    _require(is_open or ends[-1] == ord("]"))
    return values[:, ::2] << 4 | values[:, 1::2], bool(is_open)


def _require(holds: object) -> None:
    if not holds:
        raise FormatError(f"{UNITS}: expected a list of pseudonyms, 64 hexadecimal digits each, in canonical JSON")
