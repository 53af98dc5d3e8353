"""Keys over years, as entries of the log: one takes the place of another, and from some time on one counts no more.

What takes a key's place is signed with that key, so that whoever trusts the one may go on to the other. From when on a
revoked key does not count is a time of the log: what the log recorded before stays valid, what comes after does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.policy.trust import Moment, Signer, TrustStore
from unlearnkit.errors import UnlearnkitError, VerificationError
from unlearnkit.names import Sha256, Word
from unlearnkit.records import from_json, to_json
from unlearnkit.signing.dsse import parse_envelope, sign_envelope, verify_envelope
from unlearnkit.signing.keys import PrivateKey, PublicKey, parse_public_key
from unlearnkit.signing.note import NoteKey, note_key
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement
from unlearnkit.signing.validity import Validity

KEY_ROTATED, KEY_REVOKED = "key-rotated", "key-revoked"
"""Types of the entries."""
ROTATION_TYPE = "https://unlearnkit.dev/key-rotation/v1"
"""Predicate type of the statement that a key signs about the one that takes its place."""

Reason = Literal["superseded", "lost", "compromised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotated:
    """A key takes the place of another. key, successor: digests. statement: a DSSE envelope, signed by ``key``."""

    key: Sha256
    successor: Sha256
    statement: str
    by: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked:
    """What ``key`` signed counts only if it was recorded before ``since``. by: who says so, a word of the policy."""

    key: Sha256
    since: Moment
    reason: Reason
    by: Word


KEY_BODIES: Mapping[str, type] = {KEY_ROTATED: KeyRotated, KEY_REVOKED: KeyRevoked}
"""What each kind of entry says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """What a key says of the one that takes its place. log: the name of the log that it is for. Both keys as PEM."""

    log: str
    key: str
    successor: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key took the place of another. log: the name of the log that says so, at ``time`` in the entry ``index``."""

    log: str
    key: PublicKey
    successor: PublicKey
    index: int
    time: datetime


@dataclass(frozen=True, slots=True)
class Revocation:
    """The key with the digest ``key`` ended at ``since``, as the entry ``index`` says."""

    key: str
    since: datetime
    index: int


def rotated(key: PrivateKey, successor: PublicKey, *, origin: str, by: str) -> KeyRotated:
    """The entry that says, signed with ``key``, that ``successor`` takes its place. origin: the name of the log."""
    said = Succession(log=origin, key=key.public.pem.decode(), successor=successor.pem.decode())
    payload = encode_statement(Statement({"successor": successor.key_id}, ROTATION_TYPE, to_json(said)))
    statement = sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=[key]).decode()
    return KeyRotated(key=key.public.key_id, successor=successor.key_id, statement=statement, by=by)


class Keyring:
    """What a log says of keys, in order."""

    def __init__(self) -> None:
        self.rotations: list[Rotation] = []
        self.revocations: list[Revocation] = []

    def replay(self, entry: Entry) -> None:
        """Take in an entry; those about other things are let by.

        Raises FormatError for a malformed body, VerificationError for a step that should not have been recorded.
        """
        where = f"log entry {entry.index}"
        if entry.type == KEY_ROTATED:
            self.rotations.append(_rotation(from_json(KeyRotated, entry.body, where=where), entry, where))
        elif entry.type == KEY_REVOKED:
            said = from_json(KeyRevoked, entry.body, where=where)
            if said.since > entry.time:
                raise VerificationError(f"{where} is not a legal step: it revokes a key from {said.since} on, later")
            self.revocations.append(Revocation(said.key, said.since, entry.index))

    def revoked(self, *, before: int | None = None) -> Mapping[str, datetime]:
        """From when on keys do not count, by digest. before: only what the log held before this entry."""
        ends: dict[str, datetime] = {}
        for item in self.revocations:
            if before is None or item.index < before:
                ends[item.key] = min(item.since, ends.get(item.key, item.since))
        return ends

    def applied(self, store: TrustStore, *, before: int | None = None) -> TrustStore:
        """The store, with what the log says of its keys: which ones took their place, and from when on they end.

        Who takes the place of a key has its name and its roles, if the key still counted then. before: only what the
        log held before this entry.
        """
        ends = self.revoked(before=before)
        signers = [replace(item, validity=_ended(item.validity, ends.get(item.key.key_id))) for item in store.signers]
        logs = [replace(item, validity=_ended(item.validity, ends.get(item.public.key_id))) for item in store.logs]
        for item in self.rotations:
            if before is None or item.index < before:
                until = ends.get(item.successor.key_id)
                signers += _signers(item, signers, until)
                logs += _logs(item, logs, until)
        return replace(store, signers=tuple(signers), logs=tuple(logs))


def _ended(validity: Validity, at: datetime | None) -> Validity:
    return validity if at is None else validity.ended(at)


def _signers(item: Rotation, known: Sequence[Signer], until: datetime | None) -> list[Signer]:
    """Those whom the new key stands for, unless it is known already."""
    if item.successor in [signer.key for signer in known]:
        return []
    before = [signer for signer in known if signer.key == item.key and signer.validity.covers(item.time)]
    return [replace(signer, key=item.successor, validity=Validity(item.time, until)) for signer in before]


def _logs(item: Rotation, known: Sequence[NoteKey], until: datetime | None) -> list[NoteKey]:
    """The new key of a log, unless it is known already."""
    if item.successor in [key.public for key in known]:
        return []
    before = [key for key in known if (key.name, key.public) == (item.log, item.key)]
    return [
        replace(note_key(key.name, item.successor), validity=Validity(None, until))
        for key in before
        if key.validity.covers(item.time)
    ]


def _rotation(said: KeyRotated, entry: Entry, where: str) -> Rotation:
    """What an entry says, once the key that it is about was seen to say so."""
    raw, about = said.statement.encode(), f"{where}: statement"
    try:
        unverified = _succession(raw, about)
        key = parse_public_key(unverified.key.encode(), where=about)
        verify_envelope(raw, where=about, payload_type=PAYLOAD_TYPE, keys=[key])
        successor = parse_public_key(unverified.successor.encode(), where=about)
    except UnlearnkitError as err:
        raise VerificationError(f"{where} is not a legal step: {err}") from None
    if (key.key_id, successor.key_id) != (said.key, said.successor) or key.algorithm is not successor.algorithm:
        raise VerificationError(f"{where} is not a legal step: its statement is about other keys")
    return Rotation(unverified.log, key, successor, entry.index, entry.time)


def _succession(raw: bytes, where: str) -> Succession:
    payload = parse_envelope(raw, where=where).unverified_payload
    statement = parse_statement(payload, where=where, predicate_type=ROTATION_TYPE)
    return from_json(Succession, dict(statement.predicate), where=where)
