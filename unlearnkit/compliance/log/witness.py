"""A witness: cosigns a log's checkpoint when it continues the last one that it cosigned (https://c2sp.org/tlog-witness).

It takes the body of a request, and gives the body of a response, as files or over whatever line carries them. What it
cosigned is on disk before anybody has the cosignature, and one process at a time decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import Checkpoint, unverified_origin, verify_checkpoint
from unlearnkit.compliance.log.clock import Clock, utc_now
from unlearnkit.compliance.log.lock import open_locked, unlock
from unlearnkit.compliance.log.memory import Memory
from unlearnkit.compliance.log.merkle import verify_consistency
from unlearnkit.compliance.log.proof import Growth, parse_growth
from unlearnkit.errors import ConsistencyError, RefusedError, RollbackError, UnknownNameError
from unlearnkit.files import PRIVATE_MODE, make_private_folder
from unlearnkit.names import counted
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.signing.note import NoteKey, NoteKind, cosign_note, note_key, note_lines, without_signature


@dataclass(frozen=True, slots=True)
class Witness:
    """Who cosigns. name: unique among witnesses, without spaces and plus signs. state: the folder with what was
    cosigned so far.
    """

    name: str
    key: PrivateKey
    state: Path

    @property
    def public(self) -> NoteKey:
        """What others count the cosignatures with; ``public.vkey`` is the line to give them."""
        return note_key(self.name, self.key.public, kind=NoteKind.COSIGNATURE)

    def cosign(self, request: bytes, *, where: str, logs: Sequence[NoteKey], now: Clock = utc_now) -> Cosigned:
        """Cosign the checkpoint in a request, if it only grew since the last one; on return it is remembered, on disk.

        Args:
            request: What `prove_growth` gives: the size that was cosigned last, a consistency proof, the checkpoint.
            where: What to call it in errors.
            logs: The keys of the logs that are witnessed.
            now: The witness's own clock.

        Raises:
            UnknownNameError: A log that is not witnessed.
            SignatureError: It is not signed by the log's key.
            RefusedError: The request does not begin at the size that was cosigned last; the message says that size.
            RollbackError: The log is shorter than it was.
            ConsistencyError: It is no continuation: both heads are kept as evidence.
            FormatError: It is malformed.
        """
        growth = parse_growth(request, where=where)
        log = _witnessed(unverified_origin(growth.checkpoint, where=where), logs)
        found = verify_checkpoint(growth.checkpoint, where=where, log=log)
        make_private_folder(self.state)
        memory, lock = Memory(self.state), self.state / "lock"
        lock.touch(mode=PRIVATE_MODE)
        descriptor = open_locked(str(lock))
        try:
            with memory.evidence_kept():
                _require_growth(memory.last(log), found, growth)
            memory.remember(log, found)
        finally:
            unlock(descriptor)
        time = int(now().timestamp())
        bare = without_signature(growth.checkpoint, self.name)  # it may have been cosigned before, at another time
        raw = cosign_note(bare, where=where, log=log, name=self.name, signer=self.key, time=time)
        return Cosigned(found, raw)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint with the witness's line. raw: the whole note."""

    checkpoint: Checkpoint
    raw: bytes

    @property
    def response(self) -> bytes:
        """The body of the response: the witness's line alone."""
        return note_lines(self.raw)[-1]


def _witnessed(origin: str, logs: Sequence[NoteKey]) -> NoteKey:
    for key in logs:
        if key.name == origin:
            return key
    raise UnknownNameError(f"the log {origin} is not witnessed here", hint="give its key: --log")


def _require_growth(last: Checkpoint | None, found: Checkpoint, growth: Growth) -> None:
    """Raise unless ``found`` continues what was cosigned last, as the proof in the request shows."""
    size = 0 if last is None else last.size
    if growth.older != size:
        raise RefusedError(
            f"the request begins at {counted(growth.older, 'entry')}, and {size} were cosigned last",
            hint=f"`unlearnkit log prove --since {size}` makes the request that is wanted",
        )
    if found.size < size:
        raise RollbackError(f"the log was rolled back: it has {counted(found.size, 'entry')}, and {size} were cosigned")
    if last is None:
        if growth.hashes:
            raise ConsistencyError("a proof from no entries has hashes", older=b"", newer=found.raw)
        return
    if found.size == size and found.root != last.root:
        raise ConsistencyError(
            f"the log was forked: it signed two histories of {size} entries", older=last.raw, newer=found.raw
        )
    try:
        heads = {"older_size": size, "newer_size": found.size, "proof": growth.hashes}
        verify_consistency(**heads, older_root=last.root, newer_root=found.root)  # type: ignore[arg-type]
    except ConsistencyError as err:
        raise ConsistencyError(f"the log was forked: {err}", older=last.raw, newer=found.raw) from None
