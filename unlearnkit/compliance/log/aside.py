"""Bytes that are taken out of a log, by a writer after a crash or by a repair: kept in a file, and recorded."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.entry import Draft, draft
from unlearnkit.files import PRIVATE_MODE, fsync_directory, make_private_folder, write_new
from unlearnkit.names import Sha256
from unlearnkit.records import Count, to_json

_logger = logging.getLogger(__name__)

FOLDER = "set-aside"
TAIL_SET_ASIDE = "log-tail-set-aside"
"""Type of the entry that says that an unfinished, unsigned end was taken off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Bytes that stood in the log file from ``offset`` on, and are in ``set-aside/`` now, named after their digest."""

    offset: Count
    bytes: Count
    sha256: Sha256

    @property
    def file(self) -> str:
        """Their file, from the log's folder."""
        return f"{FOLDER}/{self.offset}-{self.sha256[:16]}"

    @property
    def entry(self) -> Draft:
        """What is recorded of them where they were the end of the log."""
        return draft(TAIL_SET_ASIDE, to_json(self))


def set_aside(log: Path, data: bytes, *, offset: int) -> SetAside:
    """Keep bytes that stood in the log in the directory ``log`` from ``offset`` on; on return they are on disk."""
    kept = SetAside(offset=offset, bytes=len(data), sha256=sha256_hex(data))
    file = log / kept.file
    if not file.parent.is_dir():
        make_private_folder(file.parent)
        fsync_directory(log)
    if not file.exists():
        write_new(file, data, mode=PRIVATE_MODE)
    _logger.error(
        "%s: %d bytes from byte %d on were taken out of the log; they are kept in %s",
        log,
        len(data),
        offset,
        file,
    )
    return kept


def read_exactly(descriptor: int, offset: int, count: int) -> bytes:
    """The bytes of a file from ``offset`` on, fewer only where it ends."""
    parts = []
    while count > 0 and (part := os.pread(descriptor, count, offset)):
        parts.append(part)
        offset, count = offset + len(part), count - len(part)
    return b"".join(parts)
