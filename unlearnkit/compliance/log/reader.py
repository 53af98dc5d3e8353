"""The log file: its lines, where the next one goes, and what a crash left there.

A commit writes at most `MAX_COMMIT` bytes and is followed by an fsync before the next one begins. Whatever a crash
damages is therefore in the last commit: finding the end reads that much of the file, whatever the length of the log,
and nothing when the file is as this process left it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.compliance.log.aside import read_exactly
from unlearnkit.compliance.log.entry import (
    MAX_LINE,
    START,
    Entry,
    Position,
    advance,
    check_link,
    next_position,
    parse_line,
)
from unlearnkit.compliance.log.head import REPAIR
from unlearnkit.errors import ChainError, FormatError, RollbackError
from unlearnkit.files import PUBLIC_MODE
from unlearnkit.names import counted

LOG_FILE = "log.jsonl"
MAX_COMMIT = 2**20
"""Bytes that are written before they are brought to disk."""


_REACH = MAX_COMMIT + 2 * MAX_LINE  # so far from the end, a whole line lies before the last commit


@dataclass(frozen=True, slots=True)
class Tail:
    """end: where the next line goes. torn: bytes after it, of a line or commit that a crash left unfinished.

    last: the last line, if it was read.
    """

    end: Position
    torn: int
    last: bytes = b""


def mode_of(directory: Path) -> int:
    """The mode of what is signed of the log in ``directory``: who may read the log may read that."""
    return stat.S_IMODE((directory / LOG_FILE).stat().st_mode) & PUBLIC_MODE


def read_lines(directory: Path, offset: int = 0) -> Iterator[bytes]:
    """Lines of the log in ``directory`` from a byte offset on, newlines included, unchecked.

    A last line without newline is not given: it is being written, or a crash left it unfinished. A line that is longer
    than any entry comes in pieces, which no parser takes.
    """
    with (directory / LOG_FILE).open("rb") as file:
        file.seek(offset)
        while line := file.readline(MAX_LINE + 1):
            if line.endswith(b"\n") or len(line) > MAX_LINE:
                yield line


def read_entries(path: Path, start: Position = START) -> Iterator[Entry]:
    """Entries of the log in the directory ``path``, from ``start`` on, each checked to continue the chain.

    An unfinished last line is passed over. Raises FormatError, ChainError.
    """
    position = start
    for line in read_lines(path, start.offset):
        entry = parse_line(line, where=f"log entry {position.index}")
        check_link(position, entry.index, entry.previous)
        yield entry
        position = advance(position, line)


def read_tail(descriptor: int, size: int, known: Position | None = None) -> Tail:
    """The end of a log file of ``size`` bytes: follows the chain through the last commit, or from ``known`` if nearer.

    Raises ChainError or FormatError for what no crash explains, RollbackError if the file ends before ``known``.
    """
    if known is not None and size < known.offset:
        raise RollbackError(
            f"the log has been cut: it has {counted(size, 'byte')}, "
            f"but had {known.offset} with {counted(known.index, 'entry')}",
            hint=REPAIR,
        )
    if known is not None and size == known.offset:
        return Tail(known, 0)
    if known is None or size - known.offset > _REACH:
        known = _before_last_commit(descriptor, size)
    return _follow(known, read_exactly(descriptor, known.offset, size - known.offset))


def _follow(position: Position, rest: bytes) -> Tail:
    begin, last = 0, b""
    while (end := rest.find(b"\n", begin) + 1) > 0:
        try:
            position = next_position(position, rest[begin:end])
        except (FormatError, ChainError):
            if not _has_hole(rest[begin:]):
                raise
            break
        begin, last = end, rest[begin:end]
    if len(rest) - begin > MAX_COMMIT:
        raise FormatError(
            f"the log ends in {counted(len(rest) - begin, 'byte')} that are no entries: no crash leaves so many",
            hint=REPAIR,
        )
    return Tail(position, len(rest) - begin, last)


def _has_hole(data: bytes) -> bool:
    """Whether blocks are missing that a power failure kept from the disk: they read as zeros.

    A hole begins where the commit did or at a sector, of at least 512 bytes; one altered byte does not look like that.
    """
    return data.startswith(b"\0") or b"\0" * 512 in data


def _before_last_commit(descriptor: int, size: int) -> Position:
    """The place before some line that was on disk before the last commit began, or the start of the log."""
    if size <= _REACH:
        return START
    first = size - _REACH
    begin = first + read_exactly(descriptor, first, MAX_LINE).find(b"\n") + 1
    head = read_exactly(descriptor, begin, MAX_LINE)
    entry = parse_line(head[: head.find(b"\n") + 1], where=f"the log at byte {begin}")
    return Position(entry.index, begin, entry.previous)
