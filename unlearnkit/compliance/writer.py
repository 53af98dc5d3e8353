"""The one writer that a log has at a time: finds the end, repairs it if a crash left it torn, and appends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path

from unlearnkit.compliance.clock import Clock, format_time
from unlearnkit.compliance.entry import Draft, Entry, Position, advance, encode_line
from unlearnkit.compliance.logfile import LOG_FILE, MAX_COMMIT, read_tail


class Writer:
    """Appends to the log in the directory ``path``; whoever makes one holds the log's lock.

    end: where the next entry goes. torn: bytes of an unfinished commit that were cut off.
    """

    def __init__(self, path: Path, descriptor: int, *, known: Position | None, now: Clock) -> None:
        self._path = path / LOG_FILE
        self._descriptor = descriptor
        self._now = now
        tail = read_tail(descriptor, known)
        self.end, self.torn = tail.end, tail.torn
        if tail.torn:
            os.ftruncate(descriptor, tail.end.offset)
            os.fsync(descriptor)

    def record_many(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Append entries; on return they are on disk. OSError says how many of them were recorded nevertheless."""
        entries: list[Entry] = []
        for batch in _commits(drafts):
            try:
                entries += self._commit(batch)
            except OSError as err:
                done = f"{len(entries)} of {len(drafts)} entries were recorded"
                raise OSError(err.errno, f"{err.strerror}: {done}", str(self._path)) from err
        return entries

    def _commit(self, drafts: Sequence[Draft]) -> list[Entry]:
        time = self._now().astimezone(UTC).replace(microsecond=0)
        text, position, entries = format_time(time), self.end, []
        for item in drafts:
            line = encode_line(item, position=position, time=text)
            entry = Entry(
                index=position.index,
                time=time,
                type=item.type,
                previous=position.previous,
                body=item.body,
                line=line,
            )
            entries.append(entry)
            position = advance(position, line)
        self._append(b"".join(entry.line for entry in entries))
        self.end = position
        return entries

    def _append(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError:
            # Nobody was told that these lines are there, so they go. If that fails too, the next writer finds either
            # whole lines, which it keeps, or a torn one, which it cuts.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.end.offset)
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
