"""When a log had so many entries, by authorities of time (RFC 3161): tokens over the text of its checkpoints.

A token says that the entries under that checkpoint were there then; ``timestamps/SIZE.tsr`` in the log's folder has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import checkpoint_text
from unlearnkit.compliance.log.reader import mode_of
from unlearnkit.compliance.log.verification import required_checkpoint
from unlearnkit.files import make_private_folder, read_bounded, write_atomic
from unlearnkit.signing.note import NoteKey
from unlearnkit.signing.timestamp import MAX_RESPONSE, Authority, timestamp_request, verify_timestamp

FOLDER = "timestamps"


@dataclass(frozen=True, slots=True)
class Stamp:
    """The log had its first ``size`` entries at ``time``."""

    size: int
    time: datetime


def request_stamp(path: Path, *, log: NoteKey) -> bytes:
    """What to send to an authority, for the checkpoint of the log in the directory ``path``."""
    head = required_checkpoint(path, log=log)
    return timestamp_request(_stamped(head.origin, head.size, head.root))


def keep_stamp(path: Path, raw: bytes, *, log: NoteKey, where: str, authority: Authority) -> Stamp:
    """Keep an authority's response for the present checkpoint of the log, once it verifies; on return it is on disk.

    Raises as `verify_timestamp` does.
    """
    head = required_checkpoint(path, log=log)
    data = _stamped(head.origin, head.size, head.root)
    stamp = Stamp(head.size, verify_timestamp(raw, data=data, where=where, authority=authority))
    make_private_folder(path / FOLDER)
    write_atomic(path / FOLDER / f"{head.size}.tsr", raw, mode=mode_of(path))
    return stamp


def stamps(
    path: Path, *, origin: str, most: int, root: Callable[[int], bytes], authority: Authority
) -> tuple[Stamp, ...]:
    """The times that are kept with a log, verified against it: the smallest size first.

    Args:
        path: Its directory.
        origin: Its name.
        most: Entries that are signed: tokens of more are left out.
        root: Its Merkle root at each size, recomputed.
        authority: Whose time counts.

    Raises:
        SignatureError: A token is about another log, or by nobody known.
        FormatError: A file is no token.
    """
    found = []
    for size in sorted(int(file.stem) for file in (path / FOLDER).glob("*.tsr") if file.stem.isdecimal()):
        if size <= most:
            raw, data = read_bounded(path / FOLDER / f"{size}.tsr", MAX_RESPONSE), _stamped(origin, size, root(size))
            time = verify_timestamp(raw, data=data, where=f"{path / FOLDER}/{size}.tsr", authority=authority)
            found.append(Stamp(size, time))
    return tuple(found)


def _stamped(origin: str, size: int, root: bytes) -> bytes:
    return checkpoint_text(origin, size, root).encode()
