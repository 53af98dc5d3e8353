"""What was signed last, kept beside the log's folder: whatever happens in the folder, nothing below it is written over.

``audit.signed`` beside ``audit`` holds the checkpoint that was signed last, and where in the file its entries end, so
that a writer can tell in one read whether the log is still the one that was signed.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearnkit.canonical import parse_canonical
from unlearnkit.compliance.log.checkpoint import unverified_size
from unlearnkit.compliance.log.entry import MAX_LINE, Position
from unlearnkit.errors import ConsistencyError, RollbackError
from unlearnkit.files import read_bounded, write_atomic
from unlearnkit.names import Sha256
from unlearnkit.records import Count, from_json, write_json
from unlearnkit.signing.note import MAX_NOTE

CHECKPOINT_FILE = "checkpoint"
REPAIR = "`unlearnkit log repair` says what is damaged, and restores it from a copy; nothing was changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """checkpoint: the signed note. offset: bytes of the entries under it. previous: digest of the last of them."""

    schema: Literal["unlearnkit/signed-head/v1"] = "unlearnkit/signed-head/v1"
    checkpoint: str
    offset: Count
    previous: Sha256


@dataclass(frozen=True, slots=True)
class Floor:
    """What must not be cut off a log. size: entries that are signed. end: where they end, if they were signed here.

    raw: the checkpoint that says so.
    """

    size: int = 0
    end: Position | None = None
    raw: bytes = b""

    def hold(self, descriptor: int, found: int) -> None:
        """Check that a log file with ``found`` whole entries has all that are signed, the last of them at its place.

        Raises RollbackError if there are fewer, ConsistencyError if another line is there.
        """
        if found < self.size:
            raise RollbackError(
                f"the log was truncated or damaged: whole entries end after {found}, and {self.size} are signed",
                hint=REPAIR,
            )
        if self.end is None or not self.end.index:
            return
        first = max(0, self.end.offset - MAX_LINE - 1)
        before = os.pread(descriptor, self.end.offset - first, first)
        line = before[before.rfind(b"\n", 0, -1) + 1 :]
        if first + len(before) != self.end.offset or hashlib.sha256(line).hexdigest() != self.end.previous:
            raise ConsistencyError(
                f"the log was rewritten or damaged: entry {self.end.index - 1} is not the one that was signed",
                older=self.raw,
                newer=line,
                hint=REPAIR,
            )


def head_file(path: Path) -> Path:
    """Where the head of the log in the directory ``path`` is kept."""
    folder = os.path.realpath(path)
    return Path(f"{folder}.signed")


def read_head(path: Path) -> SignedHead | None:
    """The head of the log in the directory ``path``, not verified; None where nothing was signed here. FormatError."""
    file = head_file(path)
    try:
        raw = read_bounded(file, MAX_NOTE + 1024)
    except FileNotFoundError:
        return None
    return from_json(SignedHead, parse_canonical(raw, where=str(file)), where=str(file))


def write_head(path: Path, checkpoint: bytes, end: Position, *, mode: int) -> None:
    """Remember that ``checkpoint`` was signed, and that its entries end at ``end``; on return it is on disk."""
    head = SignedHead(checkpoint=checkpoint.decode(), offset=end.offset, previous=end.previous)
    write_atomic(head_file(path), write_json(head), mode=mode)


def read_floor(path: Path) -> Floor:
    """What must not be cut off the log in the directory ``path``: what its head signs, or a checkpoint in it.

    Nothing is verified: a forged checkpoint stops writing, and lets nothing through. Raises FormatError.
    """
    head, file = read_head(path), path / CHECKPOINT_FILE
    floor = Floor()
    if head is not None:
        raw = head.checkpoint.encode()
        size = unverified_size(raw, where=str(head_file(path)))
        floor = Floor(size, Position(size, head.offset, head.previous), raw)
    elif file.exists():
        raw = read_bounded(file, MAX_NOTE)
        floor = Floor(unverified_size(raw, where=str(file)), None, raw)
    return floor
