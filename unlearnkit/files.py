"""Files that are either as they were or as they shall be, also after a crash: temporary name, fsync, rename, fsync."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from unlearnkit.errors import RefusedError

PRIVATE_MODE = 0o600
"""Mode of files with secrets: nobody but the owner reads or writes them."""


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put ``data`` at ``path``, replacing what is there; on return it is on disk.

    ``mode`` holds before the first byte is written, whatever the umask. On failure (OSError) ``path`` is untouched and
    the temporary file beside it is gone; only when the last step fails, the fsync of the directory, the new file is
    there already, though perhaps not yet on disk.
    """
    with _temporary(path, data, mode) as temporary:
        temporary.replace(path)
    fsync_directory(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """`write_atomic` for what must never be overwritten: FileExistsError if anything has the name already."""
    with _temporary(path, data, mode) as temporary:
        path.hardlink_to(temporary)  # unlike rename, fails if the name is taken
        temporary.unlink()
    fsync_directory(path.parent)


def read_private(path: Path) -> bytes:
    """A file with a secret. RefusedError if group or others may read or write it: then it is a secret no longer."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise RefusedError(
                f"{path} is open to others: its mode is {mode:04o}, expected {PRIVATE_MODE:04o}",
                hint=f"if nobody has read it: chmod 600 {path}; otherwise replace the secret",
            )
        return file.read()


def publish_directory(staging: Path, final: Path) -> None:
    """Give the finished directory ``staging`` its name ``final``, after everything in it is on disk.

    Both must be on one file system. Raises FileExistsError if anything has the name already, and then changes nothing.
    """
    if final.exists() or final.is_symlink():
        raise FileExistsError(f"{final} exists already")
    for folder, _, names in os.walk(staging, topdown=False, onerror=_fail):
        for name in names:
            fsync_file(Path(folder, name))
        fsync_directory(Path(folder))
    staging.rename(final)  # also fails if somebody just made ``final`` and put something into it
    fsync_directory(final.parent)


def fsync_file(path: Path) -> None:
    """Bring what was written to ``path`` to disk."""
    _fsync(path, os.O_RDONLY | os.O_NOFOLLOW)


def fsync_directory(path: Path) -> None:
    """Bring the names in the directory ``path`` to disk: which files are there, not what is in them."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """A file beside ``path`` with ``data`` on disk; removed if writing it, or what the caller does with it, fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _fail(err: OSError) -> NoReturn:
    raise err
