"""Proofs as files that need nothing else.

That an entry is in a log: https://c2sp.org/tlog-proof, version 1. That a log only grew: the body of a request to a
witness, https://c2sp.org/tlog-witness.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unlearnkit.canonical import decode_base64, encode_base64
from unlearnkit.compliance.log.checkpoint import Checkpoint, verify_checkpoint
from unlearnkit.compliance.log.entry import Entry, parse_line
from unlearnkit.compliance.log.merkle import leaf_hash, verify_inclusion
from unlearnkit.errors import FormatError, InclusionError
from unlearnkit.signing.note import MAX_NOTE, NoteKey

HEADER = "c2sp.org/tlog-proof@v1"

MAX_REQUEST = 2 * MAX_NOTE
"""Bytes in a proof with its checkpoint."""
MAX_HASHES = 63
"""In a consistency proof (https://c2sp.org/tlog-witness)."""
_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})")
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that nobody has checked yet. hashes: from the leaf to the root. checkpoint: a signed note."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """An entry that is in the log that signed ``checkpoint``."""

    entry: Entry
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Growth:
    """A consistency proof that nobody has checked yet, from a tree of ``older`` entries to the one that is signed."""

    older: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes


def encode_proof(proof: Proof) -> bytes:
    """The proof as a ``.tlog-proof`` file."""
    return _encode([HEADER, f"index {proof.index}"], proof.hashes, proof.checkpoint)


def encode_growth(growth: Growth) -> bytes:
    """The proof as a request to a witness."""
    return _encode([f"old {growth.older}"], growth.hashes, growth.checkpoint)


def parse_growth(raw: bytes, *, where: str) -> Growth:
    """What `encode_growth` writes, and nothing else."""
    lines, checkpoint = _split(raw, where)
    older = _OLD.fullmatch(lines[0])
    if older is None or len(lines) > 1 + MAX_HASHES:
        raise FormatError(f"{where} must begin with 'old' and a size, and have at most {MAX_HASHES} hashes")
    return Growth(int(older[1]), _hashes(lines, 1, where), checkpoint)


def parse_proof(raw: bytes, *, where: str) -> Proof:
    """What `encode_proof` writes, and nothing else: extra data, which nothing signs, is refused."""
    lines, checkpoint = _split(raw, where)
    if lines[0] != HEADER or len(lines) < 2 or (index := _INDEX.fullmatch(lines[1])) is None:
        raise FormatError(f"{where} must begin with {HEADER!r} and the index: got {lines[:2]}")
    return Proof(int(index[1]), _hashes(lines, 2, where), checkpoint)


def verify_proof(
    raw: bytes, *, where: str, line: bytes, log: NoteKey, witnesses: Sequence[NoteKey] = (), quorum: int = 0
) -> Proven:
    """The entry in ``line``, its newline included, after checking that it is in the log signed with the key ``log``.

    Raises as `verify_checkpoint` does, and InclusionError.
    """
    proof = parse_proof(raw, where=where)
    checkpoint = verify_checkpoint(
        proof.checkpoint, where=f"{where}: checkpoint", log=log, witnesses=witnesses, quorum=quorum
    )
    leaf, hashes = leaf_hash(line), proof.hashes
    verify_inclusion(leaf=leaf, index=proof.index, size=checkpoint.size, proof=hashes, root=checkpoint.root)
    entry = parse_line(line, where=f"{where}: entry")
    if entry.index != proof.index:
        raise InclusionError(f"{where}: the entry says it is number {entry.index}, but it is at {proof.index}")
    return Proven(entry, checkpoint)


def _encode(head: list[str], hashes: Sequence[bytes], checkpoint: bytes) -> bytes:
    return "\n".join([*head, *map(encode_base64, hashes)]).encode() + b"\n\n" + checkpoint


def _split(raw: bytes, where: str) -> tuple[list[str], bytes]:
    head, separator, checkpoint = raw.partition(b"\n\n")
    if not separator or not head.isascii():
        raise FormatError(f"{where} must be lines of a proof, an empty line, and a checkpoint")
    return head.decode().split("\n"), checkpoint


def _hashes(lines: list[str], begin: int, where: str) -> tuple[bytes, ...]:
    return tuple(decode_base64(line, where=f"{where}: line {n}") for n, line in enumerate(lines[begin:], begin + 1))
