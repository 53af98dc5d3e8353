"""The receipt of a request, for the person who made it: the entry that received it, and the proof that the log has it.

All in one small file, which verifies with the log's public key alone. The entry holds no name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from unlearnkit.compliance.log.checkpoint import Checkpoint, unverified_origin
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.merkle import Tree
from unlearnkit.compliance.log.proof import parse_proof, verify_proof
from unlearnkit.compliance.log.publication import prove_entries
from unlearnkit.compliance.requests.steps import Event, Received, parse_body
from unlearnkit.errors import VerificationError
from unlearnkit.records import read_json, write_json
from unlearnkit.shapes import As
from unlearnkit.signing.note import NoteKey

SCHEMA: Final = "unlearnkit/receipt/v1"

_ENDING = re.compile(rb'"schema":"unlearnkit/receipt/v[0-9]+"\}\Z')


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


def _text(line: bytes) -> str:
    return line.removesuffix(b"\n").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the file holds; nothing of it is verified.

    entry: a line of the log, its newline included. proof: a ``.tlog-proof`` of that line, with its checkpoint.
    """

    schema: Literal["unlearnkit/receipt/v1"] = SCHEMA
    entry: Annotated[bytes, As(str, _line, _text)]
    proof: Annotated[bytes, As(str, str.encode, bytes.decode)]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReceipt:
    """A request that a log has received, as its checkpoint signs it."""

    entry: Entry
    received: Received
    checkpoint: Checkpoint

    @property
    def request(self) -> str:
        """The id of the request."""
        return f"R{self.entry.index}"


def receipt_name(request: str) -> str:
    """Of the file: ``R2.receipt.json``."""
    return f"{request}.receipt.json"


def make_receipts(path: Path, entries: Sequence[Entry], *, log: NoteKey, tree: Tree | None = None) -> list[bytes]:
    """The receipts of the requests that some entries received, as files; raises as `prove_entries` does.

    Args:
        path: The log's directory.
        entries: Of requests that were received.
        log: The key that the log's checkpoint is signed with.
        tree: Of the log's entries, from somebody who has read them already.
    """
    proofs = prove_entries(path, [entry.index for entry in entries], log=log, tree=tree)
    return [write_json(Receipt(entry=item.line, proof=proof)) for item, proof in zip(entries, proofs, strict=True)]


def is_receipt(raw: bytes) -> bool:
    """Whether bytes end as a receipt does, of whatever version."""
    return _ENDING.search(raw) is not None


def receipt_origin(raw: bytes, *, where: str) -> str:
    """The log that a receipt claims to be of: to find the key that it is then verified with. FormatError."""
    proof = parse_proof(read_json(Receipt, raw, where=where).proof, where=f"{where}: proof")
    return unverified_origin(proof.checkpoint, where=f"{where}: checkpoint")


def verify_receipt(
    raw: bytes, *, where: str, log: NoteKey, witnesses: Sequence[NoteKey] = (), quorum: int = 0
) -> VerifiedReceipt:
    """The request that the receipt in ``raw`` is of.

    Args:
        raw: The file.
        where: What to call it in errors.
        log: The key that the log's checkpoints are signed with.
        witnesses: Keys of witnesses that are known.
        quorum: So many of them must have cosigned the checkpoint.

    Raises:
        FormatError: It is malformed.
        VerificationError: The log that the key signs does not have this entry, or it receives no request.
    """
    file = read_json(Receipt, raw, where=where)
    proven = verify_proof(file.proof, where=where, line=file.entry, log=log, witnesses=witnesses, quorum=quorum)
    entry = proven.entry
    if entry.type != Event.RECEIVED:
        raise VerificationError(f"{where} is no receipt: entry {entry.index} of the log is a {entry.type}")
    received = parse_body(Event.RECEIVED, entry.body, where=f"{where}: entry")
    assert isinstance(received, Received)  # noqa: S101 - what this event says
    return VerifiedReceipt(entry=entry, received=received, checkpoint=proven.checkpoint)
