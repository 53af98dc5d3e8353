"""The one writer that a log has at a time: finds the end, repairs it if a crash left it torn, and appends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from types import TracebackType
from typing import Self

from unlearnkit.compliance.log.clock import Clock, format_time
from unlearnkit.compliance.log.entry import Draft, Entry, Position, advance, encode_line
from unlearnkit.compliance.log.reader import LOG_FILE, MAX_COMMIT, read_tail

_LOCK_FILE = "lock"


@dataclass(frozen=True, slots=True)
class Known:
    """What a writer knows of a log when it is done. file: device and inode."""

    file: tuple[int, int]
    end: Position


class Writer:
    """Appends to the log in ``directory``; while in its ``with`` block, no other writer does, in whatever process.

    The files are opened anew for each block: `flock` belongs to an open file, which threads and forks would share.
    ``torn`` counts the bytes of an unfinished commit that were cut off.
    """

    def __init__(self, directory: Path, *, now: Clock, known: Known | None = None) -> None:
        folder = str(directory)
        self._log, self._lock = f"{folder}/{LOG_FILE}", f"{folder}/{_LOCK_FILE}"  # strings: this is the hot path
        self._now = now
        self._before = known
        self._descriptors: list[int] = []

    def __enter__(self) -> Self:
        """Wait for the lock, find the end. Raises OSError, and what `read_tail` raises."""
        try:
            self._open(self._lock, os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._descriptors[0], fcntl.LOCK_EX)
            self._open(self._log, os.O_RDWR | os.O_APPEND)
            self._find_end(self._descriptors[1])
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

    def record_many(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Append entries; on return they are on disk. OSError says how many of them were recorded nevertheless."""
        entries: list[Entry] = []
        for batch in _commits(drafts):
            try:
                entries += self._commit(batch)
            except OSError as err:
                done = f"{len(entries)} of {len(drafts)} entries were recorded"
                raise OSError(err.errno, f"{err.strerror}: {done}", self._log) from err
        return entries

    def _open(self, path: str, flags: int) -> None:
        self._descriptors.append(os.open(path, flags | os.O_CLOEXEC, 0o644))

    def _close(self) -> None:
        """Unlock and close. Errors do not count: what matters has been brought to disk by fsync."""
        for descriptor in reversed(self._descriptors):
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a file whose closing fails must not stay locked
            with suppress(OSError):
                os.close(descriptor)
        self._descriptors = []

    def _find_end(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        file = (status.st_dev, status.st_ino)
        is_same = self._before is not None and self._before.file == file
        tail = read_tail(descriptor, status.st_size, self._before.end if self._before and is_same else None)
        self.known, self.torn = Known(file, tail.end), tail.torn
        if tail.torn:
            os.ftruncate(descriptor, tail.end.offset)
            os.fsync(descriptor)

    def _commit(self, drafts: Sequence[Draft]) -> list[Entry]:
        time = self._now().astimezone(UTC).replace(microsecond=0)
        text, position, entries = format_time(time), self.end, []
        for item in drafts:
            line = encode_line(item, position=position, time=text)
            entries.append(Entry(position.index, time, item.type, position.previous, item.body, line))
            position = advance(position, line)
        self._append(b"".join([entry.line for entry in entries]))
        self.known = Known(self.known.file, position)
        return entries

    def _append(self, data: bytes) -> None:
        descriptor, rest = self._descriptors[1], memoryview(data)
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
