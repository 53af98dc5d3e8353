"""One line of the audit log: a canonical JSON object (RFC 8785) and a newline.

The members are ``body, index, previous, schema, time, type``, in this order, which is that of their names. ``previous``
is the SHA-256 of the whole previous line with its newline, so that ``sed -n 7p log.jsonl | sha256sum`` prints what line
8 says; the first line has 64 zeros there. The same bytes, newline included, are the leaf of the Merkle tree.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

from unlearnkit.canonical import MAX_INTEGER, canonicalize, parse_canonical, sha256_hex
from unlearnkit.compliance.log.clock import format_time, parse_time
from unlearnkit.errors import ChainError, FormatError, UnknownVersionError
from unlearnkit.names import WORD, Sha256, TimeText, Word
from unlearnkit.records import ELSEWHERE, Count
from unlearnkit.shapes import As

SCHEMA: Final = "unlearnkit/log/v1"
MAX_LINE = 65_535
"""Bytes in a line with its newline: what an entry of C2SP tlog-tiles can hold."""

# Only ``body`` has an inner form; the rest has one spelling, so this pattern and a canonical body are a canonical line.
# What comes after the body cannot have its own first words in it: the last place of these is where the body ends.
_BODY, _AFTER = b'{"body":', b',"index":'
_REST = re.compile(
    rb',"index":(0|[1-9][0-9]{0,15}),"previous":"([0-9a-f]{64})",'
    rb'"schema":"([ -!#-\[\]-~]*)","time":"([0-9A-Z:-]*)","type":"(' + WORD.regex.encode() + rb')"\}\n'
)
_OVERHEAD = 300  # more than a line has beside its body and its type


@dataclass(frozen=True, slots=True)
class Position:
    """A place between lines. index: entries before it. offset: bytes before it. previous: digest of the line before."""

    index: int
    offset: int
    previous: str


START = Position(0, 0, "0" * 64)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that was read or written. ``line`` has the exact bytes, with their newline."""

    index: Count
    time: Annotated[datetime, As(TimeText, partial(parse_time, where="time"), format_time)]
    type: Word
    previous: Sha256
    body: Mapping[str, Any]
    line: Annotated[bytes, ELSEWHERE]
    schema: Literal["unlearnkit/log/v1"] = SCHEMA

    @property
    def digest(self) -> str:
        """SHA-256 of the line: what the next entry says in ``previous``."""
        return sha256_hex(self.line)


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that has no place in a log yet; made by `draft`. raw: its body as canonical JSON."""

    type: str
    body: Mapping[str, Any]
    raw: bytes

    @property
    def most_bytes(self) -> int:
        """No line that records this is longer."""
        return len(self.raw) + len(self.type) + _OVERHEAD


def draft(kind: str, body: Mapping[str, Any]) -> Draft:
    """An entry to be recorded. ValueError for a malformed type, for a body that is not JSON, and for one too long."""
    if not WORD.fits(kind):
        raise ValueError(f"not an entry type: got {kind!r}, expected lower-case letters, digits and hyphens")
    raw = canonicalize(dict(body))
    entry = Draft(kind, body, raw)
    if entry.most_bytes > MAX_LINE:
        raise ValueError(f"a {kind} entry is too long: got a body of {len(raw)} bytes, a line may have {MAX_LINE}")
    return entry


def encode_line(entry: Draft, *, position: Position, time: str) -> bytes:
    """The line that records ``entry`` at ``position``; ``time`` is from `format_time`."""
    return b'{"body":%b,"index":%d,"previous":"%b","schema":"%b","time":"%b","type":"%b"}\n' % (
        entry.raw,
        position.index,
        position.previous.encode(),
        SCHEMA.encode(),
        time.encode(),
        entry.type.encode(),
    )


def parse_line(line: bytes, *, where: str) -> Entry:
    """The entry in a line, whatever its place; FormatError for bytes that `encode_line` would not have written."""
    return Entry(*parse_members(line, where=where), line)


def parse_members(line: bytes, *, where: str) -> tuple[int, datetime, str, str, dict[str, Any]]:
    """What `parse_line` reads: index, time, type, previous and body; cheaper, for who reads many and keeps none."""
    body, index, previous, schema, time, kind = _members(line, where)
    if schema != SCHEMA.encode():
        raise UnknownVersionError(f"{where}: schema is {schema.decode()!r}, expected {SCHEMA!r}")
    value = parse_canonical(body, where=f"{where}: body")
    assert isinstance(value, dict)  # noqa: S101 - what begins and ends with braces and is JSON is an object
    at = parse_time(time.decode(), where=f"{where}: time")
    return int(index), at, kind.decode(), previous.decode(), value


def next_position(position: Position, line: bytes) -> Position:
    """The place after ``line``, which must continue the chain at ``position``; its body and its time are not read.

    Raises FormatError or ChainError.
    """
    _, index, previous, _, _, _ = _members(line, f"log entry {position.index}")
    check_link(position, int(index), previous.decode())
    return advance(position, line)


def advance(position: Position, line: bytes) -> Position:
    """The place after ``line``, unchecked: for a line that has just been written or checked."""
    return Position(position.index + 1, position.offset + len(line), hashlib.sha256(line).hexdigest())


def check_link(position: Position, index: int, previous: str) -> None:
    """Raise ChainError unless an entry with these members is the one that follows at ``position``."""
    if index != position.index:
        raise ChainError(
            f"log line {position.index + 1} has index {index}, expected {position.index}", index=position.index
        )
    if previous != position.previous:
        raise ChainError(
            f"log entry {index} follows another line than the one before it: "
            f"got previous {previous}, expected {position.previous}",
            index=index,
        )


def _members(line: bytes, where: str) -> tuple[bytes, ...]:
    if len(line) > MAX_LINE:
        raise FormatError(f"{where} is too long: more than {MAX_LINE} bytes")
    if not line.endswith(b"\n"):
        raise FormatError(f"{where} is unfinished: no newline at its end")
    cut = line.rfind(_AFTER)
    body, match = line[len(_BODY) : cut], _REST.fullmatch(line, max(cut, 0))
    is_object = len(body) > 1 and body.startswith(b"{") and body.endswith(b"}")
    if match is None or not (line.startswith(_BODY) and is_object):
        raise FormatError(f"{where} is not a canonical line: expected body, index, previous, schema, time and type")
    if int(match[1]) > MAX_INTEGER:
        raise FormatError(f"{where} has an index beyond 2^53 - 1")
    return body, *match.groups()
