"""The audit log: a file of chained lines to which any number of threads and processes append.

An entry is acknowledged, by returning it, when it is on disk. Each commit is one write and one fsync, for all the
threads that wait; what a commit costs does not depend on the length of the log. A commit that fails is taken back; one
that a crash cut short is set aside by the next writer, who records that. A log without all that was signed of it is not
written to. Needs a file system with working `flock` and `fsync`: local
ones, and not every network file system.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from unlearnkit.compliance.log.checkpoint import Checkpoint, LogKey
from unlearnkit.compliance.log.clock import Clock, utc_now
from unlearnkit.compliance.log.entry import START, Draft, Entry, Position, draft
from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint
from unlearnkit.compliance.log.reader import LOG_FILE, read_entries
from unlearnkit.compliance.log.writer import Known, Writer
from unlearnkit.errors import UnknownNameError
from unlearnkit.files import PRIVATE_MODE, fsync_directory, make_private_folder


class _Waiting:
    """Entries that wait for a commit, and then its outcome."""

    __slots__ = ("done", "drafts", "entries", "error")

    def __init__(self, drafts: Iterable[Draft]) -> None:
        self.drafts = list(drafts)
        self.entries: list[Entry] = []
        self.error: BaseException | None = None
        self.done = Lock()
        self.done.acquire()  # released by whoever commits


class AuditLog:
    """A log, for recording. Threads may share one; it keeps no file open between calls.

    Made without `open`, it changes nothing before the first entry is recorded.

    Args:
        path: its directory.
        key: needed to sign and prove only.
        now: where the time of entries comes from.

    Example:
        >>> log = uk.AuditLog.create(folder / "log")
        >>> entry = log.record("note-taken", {"number": 1})
        >>> entry.index, [entry.type for entry in uk.AuditLog.open(folder / "log").entries()]
        (0, ['note-taken'])

    """

    def __init__(self, path: Path, *, key: LogKey | None = None, now: Clock = utc_now) -> None:
        self.path = path
        self._key = key
        self.now = now
        self._known: Known | None = None
        self._one_writer = Lock()  # held while committing
        self._queue: list[_Waiting] = []
        self._queue_lock = Lock()

    @classmethod
    def create(cls, path: Path | str, *, key: LogKey | None = None, now: Clock = utc_now) -> AuditLog:
        """A new, empty log on disk.

        Args:
            path: its directory, made if it is not there.
            key: needed to sign and prove only.
            now: where the time of entries comes from.

        Raises:
            FileExistsError: there is a log already.

        """
        path = Path(path)
        make_private_folder(path)
        descriptor = os.open(path / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
        os.close(descriptor)
        fsync_directory(path)
        fsync_directory(path.resolve().parent)
        return cls.open(path, key=key, now=now)

    @classmethod
    def open(cls, path: Path | str, *, key: LogKey | None = None, now: Clock = utc_now) -> AuditLog:
        """The log in a directory, ready for recording: what a crash left at its end is set aside.

        Args:
            path: its directory.
            key: needed to sign and prove only.
            now: where the time of entries comes from.

        Raises:
            UnknownNameError: there is none.
            ChainError: its last entries are not a chain.
            FormatError: they are not entries.
            RollbackError: not all entries are there that were signed.
            ConsistencyError: others are in their place.

        """
        log = cls(Path(path), key=key, now=now)
        if not (log.path / LOG_FILE).is_file():
            raise UnknownNameError(f"no audit log at {path}", hint="`unlearnkit init` makes a workspace with one")
        with log.exclusive():
            return log

    def record(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append one entry; on return it is on disk. Threads that wait here share one write and one fsync.

        Args:
            kind: type of the entry, such as "request-received".
            body: JSON; no personal data, for a log forgets nothing.

        Returns:
            The entry, with its index and its exact bytes.

        Raises:
            ValueError: this cannot be an entry.
            OSError: it could not be brought to disk.

        """
        return self.record_many([draft(kind, body)])[0]

    def record_many(self, drafts: Iterable[Draft]) -> list[Entry]:
        """Append entries in order and next to each other; on return they are on disk, with one fsync for each MiB."""
        waiting = _Waiting(drafts)
        with self._queue_lock:
            is_first = not self._queue
            self._queue.append(waiting)
        if is_first:  # who comes to an empty queue commits for all who come until it is its turn
            with self._one_writer:
                self._commit_queue()
        waiting.done.acquire()
        if waiting.error is not None:
            raise waiting.error
        return waiting.entries

    @contextmanager
    def exclusive(self) -> Iterator[Writer]:
        """Keep all other writers out: for entries that depend on what the log says so far."""
        with self._one_writer, Writer(self.path, now=self.now, known=self._known) as writer:
            try:
                yield writer
            finally:
                self._known = writer.known

    def entries(self, start: Position = START) -> Iterator[Entry]:
        """Entries from ``start`` on, each checked to continue the chain. Raises FormatError, ChainError."""
        return read_entries(self.path, start)

    def checkpoint(self) -> Checkpoint:
        """Verify the log and sign what it holds now: `publish_checkpoint`. ValueError if opened without key.

        What entries mean is not looked at: `Workspace.checkpoint` refuses to sign a step that was not legal.
        """
        return publish_checkpoint(self, self._required_key())

    def prove(self, index: int) -> bytes:
        """That entry ``index`` is under the checkpoint: `prove_entry`. ValueError if opened without key."""
        return prove_entry(self.path, index, log=self._required_key().public)

    def _required_key(self) -> LogKey:
        if self._key is None:
            raise ValueError(f"the log {self.path} was opened without its key: AuditLog.open(path, key=...)")
        return self._key

    def _commit_queue(self) -> None:
        with self._queue_lock:
            queue, self._queue = self._queue, []
        try:
            self._commit(queue)
        except BaseException as err:
            stopped = InterruptedError(errno.EINTR, "interrupted while recording: the log may hold it", str(self.path))
            for waiting in queue:
                waiting.error = err if isinstance(err, Exception) else stopped
            raise
        finally:
            for waiting in queue:
                waiting.done.release()

    def _commit(self, queue: list[_Waiting]) -> None:
        with Writer(self.path, now=self.now, known=self._known) as writer:
            entries = iter(writer.record_many([item for waiting in queue for item in waiting.drafts]))
            self._known = writer.known
        for waiting in queue:
            waiting.entries = [next(entries) for _ in waiting.drafts]
