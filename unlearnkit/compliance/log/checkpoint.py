"""Checkpoints: the log's key signs how many entries there are and their Merkle root (https://c2sp.org/tlog-checkpoint).

The text has three lines, origin, size and root, and is signed as a C2SP note; witnesses may add their cosignatures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from unlearnkit.canonical import decode_base64, encode_base64
from unlearnkit.compliance.log.merkle import HASH_BYTES
from unlearnkit.errors import ConsistencyError, FormatError
from unlearnkit.names import counted
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.signing.note import Cosignature, NoteKey, note_key, parse_note, sign_note, verify_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_SEPARATOR = b"\n\n"


@dataclass(frozen=True, slots=True)
class LogKey:
    """What a log signs with. origin: the name of the log, unique among all logs, without spaces and plus signs.

    also: keys before this one, with which it signs as well. others, retired: public ones, as `NoteKey` has them.
    """

    origin: str
    private: PrivateKey
    also: tuple[PrivateKey, ...] = ()
    others: tuple[NoteKey, ...] = ()
    retired: tuple[NoteKey, ...] = ()

    @property
    def public(self) -> NoteKey:
        """What others verify with; ``public.vkey`` is the line to give them."""
        return replace(note_key(self.origin, self.private.public), others=self.others, retired=self.retired)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint. root: Merkle root of the first ``size`` lines. raw: the whole signed note.

    keys: those of the log that signed it.
    """

    origin: str
    size: int
    root: bytes
    cosignatures: tuple[Cosignature, ...]
    raw: bytes
    keys: tuple[PublicKey, ...]

    @property
    def is_cosigned(self) -> bool:
        """Whether anybody but the log signed it, known or not."""
        return any(item.name != self.origin for item in parse_note(self.raw, where="checkpoint").signatures)


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that is signed."""
    return f"{origin}\n{size}\n{encode_base64(root)}\n"


def sign_checkpoint(key: LogKey, *, size: int, root: bytes) -> bytes:
    """The note for a tree of ``size`` lines; the caller has checked that it continues every earlier one."""
    return sign_note(checkpoint_text(key.origin, size, root), name=key.origin, signer=key.private, also=key.also)


def verify_checkpoint(
    raw: bytes, *, where: str, log: NoteKey, witnesses: Sequence[NoteKey] = (), quorum: int = 0
) -> Checkpoint:
    """What the checkpoint says, after checking the log's signature and those of at least ``quorum`` witnesses.

    Stricter than the specification: the origin is the name of the log's key, and there are no extension lines.
    Raises FormatError, SignatureError, ThresholdError; ConsistencyError for the checkpoint of another log.
    """
    note = verify_note(raw, where=where, log=log, witnesses=witnesses, quorum=quorum)
    origin, *rest = note.text.removesuffix("\n").split("\n")
    if len(rest) != 2 or not _SIZE.fullmatch(rest[0]):
        raise FormatError(f"{where} must have three lines, origin, size and root: got {note.text!r}")
    if origin != log.name:
        expected = f"a checkpoint of {log.name}"
        raise ConsistencyError(f"{where} is of another log: got {origin}", older=expected.encode(), newer=raw)
    root = decode_base64(rest[1], where=f"{where}: root")
    if len(root) != HASH_BYTES:
        raise FormatError(f"{where}: root has {counted(len(root), 'byte')}, expected {HASH_BYTES}")
    return Checkpoint(origin, int(rest[0]), root, note.cosignatures, raw, note.keys)


def unverified_origin(raw: bytes, *, where: str) -> str:
    """The log that a checkpoint claims to be of: to find the key that it is then verified with. FormatError."""
    return parse_note(raw, where=where).unverified_text.split("\n", 1)[0]


def unverified_size(raw: bytes, *, where: str) -> int:
    """The size that a checkpoint claims: what must not be cut before it is known who signed it. FormatError."""
    _, _, rest = parse_note(raw, where=where).unverified_text.partition("\n")
    size = rest.partition("\n")[0]
    if not _SIZE.fullmatch(size):
        raise FormatError(f"{where} is not a checkpoint: its size is {size!r}")
    return int(size)


def merge_cosignatures(raw: bytes, cosigned: Checkpoint) -> bytes:
    """The note ``raw`` with those verified cosignatures that it lacks; both must have the same text."""
    text, _, lines = raw.rpartition(_SEPARATOR)
    other, _, candidates = cosigned.raw.rpartition(_SEPARATOR)
    if text != other:
        raise ValueError("cosignatures are of another checkpoint")
    present = {(item.name, item.key_id) for item in parse_note(raw, where="checkpoint").signatures}
    wanted = {(item.witness.name, item.witness.key_id) for item in cosigned.cosignatures} - present
    signatures = parse_note(cosigned.raw, where="checkpoint").signatures
    added = [
        line
        for line, item in zip(candidates.splitlines(keepends=True), signatures, strict=True)
        if (item.name, item.key_id) in wanted
    ]
    return text + _SEPARATOR + lines + b"".join(added)
