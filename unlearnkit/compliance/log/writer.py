"""The one writer that a log has at a time: finds the end, takes off what a crash left torn, and appends.

What was signed is never cut: where whole entries end before it, or others are in its place, nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from unlearnkit.compliance.log.aside import read_exactly, set_aside
from unlearnkit.compliance.log.clock import Clock, format_time
from unlearnkit.compliance.log.entry import START, Draft, Entry, Position, advance, encode_line, parse_line
from unlearnkit.compliance.log.head import REPAIR, read_floor
from unlearnkit.compliance.log.lock import open_locked, unlock
from unlearnkit.compliance.log.reader import LOG_FILE, MAX_COMMIT, read_tail
from unlearnkit.errors import ChainError, FormatError
from unlearnkit.names import counted


@dataclass(frozen=True, slots=True)
class Known:
    """What a writer knows of a log when it is done. file: device and inode. time: of the last entry; None: of none."""

    file: tuple[int, int]
    end: Position
    time: datetime | None


class Writer:
    """Appends to the log in ``directory``; while in its ``with`` block, no other writer does, in whatever process.

    The file is opened anew for each block: `flock` belongs to an open file, which threads and forks would share.
    ``torn`` counts the bytes of an unfinished commit that were set aside; an entry says so.
    """

    def __init__(self, directory: Path, *, now: Clock, known: Known | None = None) -> None:
        self._directory, self._log = directory, f"{directory}/{LOG_FILE}"
        self._now = now
        self._before = known
        self.known = Known((0, 0), START, None)
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Wait for the lock, find the end. Raises OSError, and what `read_tail` and `Floor` raise."""
        try:
            self._descriptor = open_locked(self._log)
            self._find_end(self._descriptor)
        except BaseException as err:
            self._close()
            if isinstance(err, OSError) and err.filename is None:
                raise OSError(err.errno, err.strerror, self._log) from err
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        """Let the next writer in."""
        self._close()

    @property
    def end(self) -> Position:
        """Where the next entry goes."""
        return self.known.end

    def now(self) -> datetime:
        """The present, to the second; the time of the last entry while the clock is behind it: times never decrease."""
        present = self._now().astimezone(UTC).replace(microsecond=0)
        return present if self.known.time is None else max(present, self.known.time)

    def begin_second(self) -> datetime:
        """The time that the next entry gets, which no entry has yet: everything recorded before is earlier."""
        known = self.known
        if known.time is not None and self.now() == known.time:
            self.known = Known(known.file, known.end, known.time + timedelta(seconds=1))
        return self.now()

    def record_many(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Append entries; on return they are on disk. OSError says how many of them were recorded nevertheless."""
        entries: list[Entry] = []
        for batch in _commits(drafts):
            try:
                entries += self._commit(batch)
            except OSError as err:
                done = f"{len(entries)} of {counted(len(drafts), 'entry')} recorded"
                raise OSError(err.errno, f"{err.strerror}: {done}", self._log) from err
        return entries

    def _close(self) -> None:
        if self._descriptor >= 0:
            unlock(self._descriptor)
        self._descriptor = -1

    def _find_end(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        file = (status.st_dev, status.st_ino)
        before = self._before.end if self._before is not None and self._before.file == file else None
        floor = read_floor(self._directory)
        try:
            tail = read_tail(descriptor, status.st_size, before)
        except (ChainError, FormatError) as err:
            err.hint = err.hint or REPAIR
            raise
        if before is None or before.index < floor.size:
            floor.hold(descriptor, tail.end.index)
        time = self._before.time if self._before is not None and before is not None else None
        time = parse_line(tail.last, where="the last log entry").time if tail.last else time
        self.known, self.torn = Known(file, tail.end, time), tail.torn
        if tail.torn:
            self._take_off(descriptor, tail.torn)

    def _take_off(self, descriptor: int, torn: int) -> None:
        """Keep the unfinished end in a file before it is cut off, and record that it was."""
        kept = set_aside(self._directory, read_exactly(descriptor, self.end.offset, torn), offset=self.end.offset)
        os.ftruncate(descriptor, self.end.offset)
        os.fsync(descriptor)
        self._commit([kept.entry])

    def _commit(self, drafts: Sequence[Draft]) -> list[Entry]:
        time = self.now()
        text, position, entries = format_time(time), self.end, []
        for item in drafts:
            line = encode_line(item, position=position, time=text)
            entries.append(Entry(position.index, time, item.type, position.previous, item.body, line))
            position = advance(position, line)
        self._append(b"".join([entry.line for entry in entries]))
        self.known = Known(self.known.file, position, time)
        return entries

    def _append(self, data: bytes) -> None:
        descriptor, rest = self._descriptor, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            # Nobody was told that these lines are there, so they go. If that fails too, the next writer finds either
            # whole lines, which it keeps, or a torn one, which it cuts.
            with suppress(OSError):
                os.ftruncate(descriptor, self.end.offset)
            raise


def _commits(drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    """Runs of drafts whose lines stay below `MAX_COMMIT` bytes together."""
    begin = size = 0
    for index, item in enumerate(drafts):
        size += item.most_bytes
        if size > MAX_COMMIT:
            yield drafts[begin:index]
            begin, size = index, item.most_bytes
    if drafts:
        yield drafts[begin:]
