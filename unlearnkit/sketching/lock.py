"""Folders of unfinished work: one process at a time is in each, and nothing is taken up that was not made here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from unlearnkit.errors import RefusedError
from unlearnkit.files import PRIVATE_MODE, is_own, make_private_folder, read_bounded, write_atomic
from unlearnkit.signing.mark import is_mark, mark

_MARK = "made-here"


@contextmanager
def locked(folder: Path, *, busy: str) -> Iterator[None]:
    """Keep other processes out of ``folder``, which is made if need be.

    Raises RefusedError with ``busy`` if one is in it, and if the folder was not made here by this user, or is open to
    others: what is in it may have been delivered, to be signed as work that was done.
    """
    make_private_folder(folder)
    _require_own(folder)
    lock = filelock.FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RefusedError(busy, hint="wait for it, or write elsewhere") from None
    try:
        if not (folder / _MARK).exists():
            write_atomic(folder / _MARK, mark(_name(folder)).encode(), mode=PRIVATE_MODE)
        yield
    finally:
        lock.release()


def _require_own(folder: Path) -> None:
    status, file = folder.lstat(), folder / _MARK
    has_work = any(path.name != "lock" and not path.name.startswith(f".{_MARK}.") for path in folder.iterdir())
    is_ours = not has_work or (
        file.exists() and is_mark(read_bounded(file, 64).decode("ascii", "replace"), _name(folder))
    )
    if folder.is_symlink() or not is_own(status) or status.st_mode & 0o077 or not is_ours:
        raise RefusedError(
            f"{folder} was not made here by you: nothing in it is believed",
            hint="look where it came from, and remove it",
        )


def _name(folder: Path) -> str:
    return f"unfinished work in {folder.resolve()}"
