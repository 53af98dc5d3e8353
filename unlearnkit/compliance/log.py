"""The audit log: a file of chained lines to which any number of threads and processes append.

An entry is acknowledged, by returning it, when it is on disk. Writers exclude each other with `flock` on a file of its
own. Each commit is one write and one fsync, for all the threads that wait; what a commit costs does not depend on the
length of the log. A commit that fails is taken back; one that a crash cut short is taken back by the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from unlearnkit.compliance.clock import Clock, utc_now
from unlearnkit.compliance.entry import START, Draft, Entry, Position, advance, check_link, draft, parse_line
from unlearnkit.compliance.logfile import LOG_FILE, opened, read_lines
from unlearnkit.compliance.writer import Writer
from unlearnkit.errors import UnknownNameError
from unlearnkit.files import fsync_directory

_LOCK_FILE = "lock"


class AuditLog:
    """An open log, for recording. Threads may share one; it keeps no file open between calls."""

    def __init__(self, path: Path, *, now: Clock = utc_now) -> None:
        self.path = path
        self._now = now
        self._known: tuple[tuple[int, int], Position] | None = None  # the file (device, inode), and its end
        self._queue: deque[tuple[list[Draft], Future[list[Entry]]]] = deque()
        self._one_writer = Lock()

    @classmethod
    def create(cls, path: Path | str, *, now: Clock = utc_now) -> AuditLog:
        """A new, empty log in the directory ``path``, on disk. FileExistsError if there is one already."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        with opened(path / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
            fsync_directory(path)
            fsync_directory(path.resolve().parent)
        return cls.open(path, now=now)

    @classmethod
    def open(cls, path: Path | str, *, now: Clock = utc_now) -> AuditLog:
        """The log in the directory ``path``, ready for recording: what a crash left at its end is cut off.

        Raises UnknownNameError if there is none; ChainError or FormatError if its last entries are not a chain.
        """
        log = cls(Path(path), now=now)
        if not (log.path / LOG_FILE).is_file():
            raise UnknownNameError(f"no audit log at {path}", hint="`unlearnkit init` makes a workspace with one")
        with log.exclusive():
            return log

    def record(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append one entry; on return it is on disk. Threads that wait here share one write and one fsync.

        Raises ValueError for what cannot be an entry, OSError if it could not be brought to disk.
        """
        return self.record_many([draft(kind, body)])[0]

    def record_many(self, drafts: Iterable[Draft]) -> list[Entry]:
        """Append entries in order and next to each other; on return they are on disk, with one fsync for each MiB."""
        waiting = (list(drafts), Future[list[Entry]]())
        self._queue.append(waiting)
        with self._one_writer:
            if not waiting[1].done():
                self._commit_queue()
        return waiting[1].result()

    @contextmanager
    def exclusive(self) -> Iterator[Writer]:
        """Keep all other writers out: for entries that depend on what the log says so far."""
        with self._one_writer, self._writer() as writer:
            yield writer

    def entries(self, start: Position = START) -> Iterator[Entry]:
        """Entries from ``start`` on, each checked to continue the chain. Raises FormatError, ChainError."""
        return read_entries(self.path, start)

    def _commit_queue(self) -> None:
        """Record everything that waits, for all who wait."""
        queue = [self._queue.popleft() for _ in range(len(self._queue))]  # only this thread takes from it
        try:
            with self._writer() as writer:
                entries = iter(writer.record_many([entry for drafts, _ in queue for entry in drafts]))
        except BaseException as err:
            stopped = InterruptedError(
                errno.EINTR, "interrupted: the entry may or may not be in the log", str(self.path)
            )
            for _, future in queue:
                future.set_exception(err if isinstance(err, Exception) else stopped)
            raise
        for drafts, future in queue:
            future.set_result([next(entries) for _ in drafts])

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        with _locked(self.path / _LOCK_FILE), opened(self.path / LOG_FILE, os.O_RDWR | os.O_APPEND) as descriptor:
            status = os.fstat(descriptor)
            file = (status.st_dev, status.st_ino)
            known = self._known[1] if self._known is not None and self._known[0] == file else None
            writer = Writer(self.path, descriptor, known=known, now=self._now)
            try:
                yield writer
            finally:
                self._known = (file, writer.end)


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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; opened anew each time, because `flock` knows descriptors, not threads or processes."""
    with opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
