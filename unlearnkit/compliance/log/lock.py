"""The lock of a log is on the log file itself: a lock file could be deleted, and two writers would hold two locks.

Who got the lock looks again whether the file still has its name: `log repair` puts another in its place.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from threading import Timer

from unlearnkit.errors import RefusedError

_logger = logging.getLogger(__name__)

SAID_AFTER = 1.0
"""Seconds of waiting before somebody is told of it."""


def open_locked(path: str) -> int:
    """The file at ``path``, open for reading and appending, and locked against every other writer. OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            _wait(descriptor, path)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):  # noqa: PTH116  the hot path
                return descriptor
        except BaseException:
            unlock(descriptor)
            raise
        unlock(descriptor)


def unlock(descriptor: int) -> None:
    """Unlock and close. Errors do not count: what matters has been brought to disk by fsync."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a file whose closing fails must not stay locked
    with suppress(OSError):
        os.close(descriptor)


def require_locks(folder: Path) -> None:
    """RefusedError where a lock does not keep others out: a log there could be torn by two writers."""
    file = folder / ".lock-test"
    try:
        with file.open("wb") as first, file.open("wb") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError as err:
        raise _useless(folder, err.strerror or str(err)) from None
    finally:
        file.unlink(missing_ok=True)
    raise _useless(folder, "two held the same lock at once")


def _useless(folder: Path, reason: str) -> RefusedError:
    return RefusedError(
        f"locks do nothing on the file system of {folder.parent}: {reason}",
        hint="two writers could tear a log there: put it on a local disk",
    )


def _wait(descriptor: int, path: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        timer = Timer(SAID_AFTER, _logger.warning, ["waiting for another writer of %s", path])
        timer.daemon = True
        timer.start()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            timer.cancel()
