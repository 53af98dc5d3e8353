"""Files that are either as they were or as they shall be, also after a crash: temporary name, fsync, rename, fsync."""

from __future__ import annotations

import codecs
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from unlearnkit.errors import FormatError, RefusedError
from unlearnkit.names import counted

PRIVATE_MODE = 0o600
"""Mode of files with secrets: nobody but the owner reads or writes them."""
PRIVATE_FOLDER = 0o700
PUBLIC_MODE = 0o644
"""Mode of files that are there to be given away."""
MAX_SETTINGS = 2**20
"""Bytes in a file that people write: a policy, a trust store, the settings of a workspace."""
MAX_DOCUMENT = 2**28
"""Bytes in a file of JSON: a manifest, a list of units, evidence, a certificate."""
_AT_ONCE = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
MAX_SECRET = 2**16
"""Bytes in a file with a key or a passphrase."""


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE_MODE) -> None:
    """Put ``data`` at ``path``, replacing what is there; on return it is on disk.

    ``mode`` holds before the first byte is written, whatever the umask. On failure (OSError) ``path`` is untouched and
    the temporary file beside it is gone; only when the last step fails, the fsync of the directory, the new file is
    there already, though perhaps not yet on disk.
    """
    with _temporary(path, data, mode) as temporary:
        temporary.replace(path)
    fsync_directory(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = PRIVATE_MODE) -> None:
    """`write_atomic` for what must never be overwritten: FileExistsError if anything has the name already."""
    with _temporary(path, data, mode) as temporary:
        _link(path, temporary)
        temporary.unlink()
    fsync_directory(path.parent)


def _link(path: Path, target: Path) -> None:
    """Another name for a file; unlike renaming it, that fails if the name is taken."""
    try:
        path.hardlink_to(target)
    except OSError as err:
        if err.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        reason = "this file system has no hard links, without which something could be replaced: use a local disk"
        raise OSError(err.errno, reason, str(path)) from err


def read_bounded(path: Path, most: int) -> bytes:
    """A regular file of at most ``most`` bytes, whose size is looked at before a byte is read.

    Raises FormatError for a longer one, and for what is no file: a FIFO would wait for ever, a device never end.
    """
    with _regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        raw = file.read(most + 1) if size <= most else b""
        if max(size, len(raw)) > most:
            raise FormatError(
                f"{path} is too long: got {counted(max(size, len(raw)), 'byte')}, expected at most {most}"
            )
        return raw


def read_blocks(path: Path, most: int, size: int) -> Iterator[bytes]:
    """`read_bounded`, ``size`` bytes at once."""
    with _regular(path) as file:
        length, read = os.fstat(file.fileno()).st_size, 0
        while length <= most and (block := file.read(size)):
            read += len(block)
            length = max(length, read)
            if length <= most:
                yield block
        if length > most:
            raise FormatError(f"{path} is too long: got {counted(length, 'byte')}, expected at most {most}")


def decode_text(raw: bytes, *, where: str) -> str:
    """The text of a file that somebody's spreadsheet or editor wrote: UTF-8, or UTF-16 with its byte-order mark.

    Raises FormatError for any other encoding, which is never guessed: a wrong guess would give people wrong names.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, cure = "utf-16", f"iconv -f UTF-16 -t UTF-8 {where}"
    elif b"\0" in raw:
        encoding, cure = "utf-8-sig", f"if it is UTF-16 without its mark: iconv -f UTF-16LE -t UTF-8 {where}"
    else:
        encoding, cure = "utf-8-sig", f"if it is Latin-1 or Windows-1252: iconv -f CP1252 -t UTF-8 {where}"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        name = encoding.removesuffix("-sig").upper()
        message = f"{where} line {line}: expected {name}, got the byte {raw[err.start]:#04x}"
        raise FormatError(message, hint=cure) from None
    if "\0" in text:
        raise FormatError(f"{where} holds NUL characters: expected text, in UTF-8", hint=cure)
    return text


def require_regular(path: Path) -> None:
    """Raise FormatError unless ``path`` is a regular file; OSError if nothing is there."""
    with _regular(path):
        pass


def read_private(path: Path, *, most: int = MAX_SECRET) -> bytes:
    """A file of at most ``most`` bytes with a secret.

    RefusedError if group or others may read or write it, or if somebody else owns it: then it is a secret no longer.
    """
    with _regular(path) as file:
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise RefusedError(
                f"{path} is open to others: its mode is {mode:04o}, expected {PRIVATE_MODE:04o}",
                hint=f"if nobody has read it: chmod 600 {path}; otherwise replace the secret",
            )
        if not is_own(status):
            raise RefusedError(
                f"{path} belongs to somebody else: got user {status.st_uid}, expected {os.geteuid()}",
                hint="make a key of your own",
            )
    return read_bounded(path, most)


def make_private_folder(path: Path) -> None:
    """Make a directory that only its owner can enter, whatever the umask; one that is there stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=PRIVATE_FOLDER)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        path.chmod(PRIVATE_FOLDER)


def share(path: Path, mode: int) -> None:
    """Let those read a file, or a folder and everything in it, whom the ``mode`` of a file lets; links are let be."""
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        with suppress(FileNotFoundError):  # a temporary file may have its name by now
            if place.is_symlink():
                continue
            place.chmod(folder_mode(mode) if place.is_dir() else mode)


def folder_mode(mode: int) -> int:
    """Who may read files of this mode may enter the folder that they are in."""
    return mode | (mode & 0o444) >> 2


def state_folder() -> Path:
    """Where what this user's programs remember is kept (XDG base directories): nothing of it is needed to go on."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    base = given if given.is_absolute() else Path(os.path.expanduser("~")) / ".local" / "state"  # noqa: PTH111  never fails
    return base / "unlearnkit"


def is_own(status: os.stat_result) -> bool:
    """Whether a file belongs to who runs this, or to the system's administrator."""
    return status.st_uid in (os.geteuid(), 0) if hasattr(os, "geteuid") else True


def publish_directory(staging: Path, final: Path, *, private: bool = True) -> None:
    """Give the finished directory ``staging`` its name ``final``, after everything in it is on disk.

    private: nobody but the owner can look into it or read its files, whatever the umask; else everybody can.
    Both must be on one file system. Raises FileExistsError if anything has the name already, and then changes nothing.
    """
    if final.exists() or final.is_symlink():
        raise FileExistsError(f"{final} exists already")
    file_mode, folder_mode = (PRIVATE_MODE, PRIVATE_FOLDER) if private else (0o644, 0o755)
    for folder, _, names in os.walk(staging, topdown=False, onerror=_fail):
        for name in names:
            Path(folder, name).chmod(file_mode)
            fsync_file(Path(folder, name))
        Path(folder).chmod(folder_mode)
        fsync_directory(Path(folder))
    staging.rename(final)  # also fails if somebody just made ``final`` and put something into it
    fsync_directory(final.parent)


@contextmanager
def founded(root: Path, names: Sequence[str]) -> Iterator[None]:
    """Make the directory ``root``; if the block fails, remove what it put there under ``names``, and what it made.

    None of the names is there before.
    """
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for name in names:
            _remove(root / name)
        for folder in missing:
            with suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Bring what was written to ``path`` to disk."""
    _fsync(path, os.O_RDONLY | os.O_NOFOLLOW)


def fsync_directory(path: Path) -> None:
    """Bring the names in the directory ``path`` to disk: which files are there, not what is in them."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def _regular(path: Path) -> Iterator[BinaryIO]:
    """An open regular file; opening never waits."""
    descriptor = os.open(path, os.O_RDONLY | _AT_ONCE)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FormatError(f"{path} is not a regular file")
        yield file


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
