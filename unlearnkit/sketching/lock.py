"""One process at a time in a folder of unfinished work, on every system that torch runs on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from unlearnkit.errors import RefusedError


@contextmanager
def locked(folder: Path, *, busy: str) -> Iterator[None]:
    """Keep other processes out of ``folder``, which is made if need be. RefusedError with ``busy`` if one is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RefusedError(busy, hint="wait for it, or write elsewhere") from None
    try:
        yield
    finally:
        lock.release()
