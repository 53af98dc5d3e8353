"""What a verifier or a witness remembers of logs: the last checkpoint that it saw of each, and every split view.

A log that only ever shows honest pieces to each can still show different ones to different people. Who remembers the
last checkpoint holds the next one to it; two that no history explains are kept as evidence, each in a file of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.checkpoint import Checkpoint, verify_checkpoint
from unlearnkit.errors import ConsistencyError
from unlearnkit.files import PRIVATE_MODE, make_private_folder, read_bounded, write_atomic
from unlearnkit.signing.note import MAX_NOTE, NoteKey

_SPLIT = "split-view"


@dataclass(frozen=True, slots=True)
class Memory:
    """The last checkpoints, in files of a private folder that is made when there is something to remember.

    folder: None remembers nothing.
    """

    folder: Path | None

    def last(self, log: NoteKey) -> Checkpoint | None:
        """The last checkpoint that was seen of a log, under whichever of its keys, verified again; None for none."""
        if self.folder is None:
            return None
        files = [_file(self.folder, key) for key in (log, *log.ever.others)]
        found = [
            verify_checkpoint(read_bounded(file, MAX_NOTE), where=str(file), log=log.ever)
            for file in files
            if file.exists()
        ]
        return max(found, key=lambda head: head.size, default=None)

    def remember(self, log: NoteKey, seen: Checkpoint) -> None:
        """Keep a verified checkpoint that continues the last one; one that is older is not kept. On disk on return."""
        last = self.last(log)
        if self.folder is not None and (last is None or seen.size > last.size):
            make_private_folder(self.folder)
            write_atomic(_file(self.folder, log), seen.raw, mode=PRIVATE_MODE)

    @contextmanager
    def evidence_kept(self) -> Iterator[None]:
        """Keep both heads of whatever ConsistencyError comes out of the block: a split view is not to be denied."""
        try:
            yield
        except ConsistencyError as err:
            if self.folder is None:
                raise
            make_private_folder(self.folder)
            place = self.folder / f"{_SPLIT}-{sha256_hex(err.older + err.newer)[:16]}"
            write_atomic(place, err.older + b"\n" + err.newer, mode=PRIVATE_MODE)
            err.hint = err.hint or f"both heads are kept as evidence in {place}"
            raise


def _file(folder: Path, log: NoteKey) -> Path:
    return folder / f"seen-{hashlib.sha256(log.vkey.encode()).hexdigest()[:32]}"
