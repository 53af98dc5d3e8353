"""The end of a log file: where the next line goes, and what a crash left there.

A commit writes at most `MAX_COMMIT` bytes and is followed by an fsync before the next one begins. Whatever a crash
damages is therefore in the last commit: finding the end reads that much of the file, whatever the length of the log,
and nothing when the file is as this process left it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from unlearnkit.compliance.entry import MAX_LINE, START, Position, next_position, parse_line
from unlearnkit.errors import ChainError, FormatError, RollbackError

MAX_COMMIT = 2**20
"""Bytes that are written before they are brought to disk."""


@dataclass(frozen=True, slots=True)
class Tail:
    """end: where the next line goes. torn: bytes after it, of a line or commit that a crash left unfinished."""

    end: Position
    torn: int


def read_tail(descriptor: int, known: Position | None = None) -> Tail:
    """The end of the log file, following the chain from ``known`` when there is one, else through the last commit.

    Raises ChainError or FormatError for lines that no crash explains, RollbackError if the file ends before ``known``.
    """
    size = os.fstat(descriptor).st_size
    if known is not None:
        if size < known.offset:
            raise RollbackError(
                f"the log has been cut: it has {size} bytes, but had {known.offset} with {known.index} entries",
                hint="restore it from a copy; `unlearnkit log verify` compares it with a checkpoint",
            )
        return _follow(descriptor, known, size)
    return _follow(descriptor, _start_of_last_commit(descriptor, size), size)


def _follow(descriptor: int, position: Position, size: int) -> Tail:
    rest = _read(descriptor, position.offset, size - position.offset)
    begin = 0
    while (end := rest.find(b"\n", begin) + 1) > 0:
        line = rest[begin:end]
        try:
            position = next_position(position, line)
        except (FormatError, ChainError):
            if b"\0" not in rest[begin:]:
                raise
            break
        begin = end
    return Tail(position, len(rest) - begin)


def _start_of_last_commit(descriptor: int, size: int) -> Position:
    """The place before a whole line that is older than the last commit, or of the first line.

    Blocks that a power failure kept from the disk read as zeros, and such a hole may be at the very end.
    """
    first = max(0, size - MAX_COMMIT - 2 * MAX_LINE)
    if first == 0:
        return START
    begin = _read(descriptor, first, MAX_LINE).find(b"\n") + 1
    line = _read(descriptor, first + begin, MAX_LINE)
    line = line[: line.find(b"\n") + 1]
    entry = parse_line(line, where="the log near its end")
    return Position(entry.index, first + begin, entry.previous)


def _read(descriptor: int, offset: int, count: int) -> bytes:
    parts = []
    while count > 0 and (part := os.pread(descriptor, count, offset)):
        parts.append(part)
        offset, count = offset + len(part), count - len(part)
    return b"".join(parts)
