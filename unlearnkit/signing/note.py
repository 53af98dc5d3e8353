"""C2SP signed notes: text with signature lines, as checkpoints of transparency logs are published.

https://c2sp.org/signed-note and https://c2sp.org/tlog-cosignature (cosignature/v1). Every byte is accounted for:
other readers disagree about carriage returns, spare base64 bits and repeated signatures, so a note with any is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum

from unlearnkit.canonical import decode_base64, encode_base64
from unlearnkit.errors import FormatError, SignatureError, ThresholdError
from unlearnkit.names import counted
from unlearnkit.signing.keys import Algorithm, PrivateKey, PublicKey
from unlearnkit.signing.validity import ALWAYS, Validity

MAX_SIGNATURES = 64
"""Signature lines in one note; readers must take at least 16."""
MAX_NOTE = 2**16
"""Bytes in a file with a note."""

_DASH = "\N{EM DASH} "
_TIME_BYTES, _SIGNATURE_BYTES = 8, 64
_LATEST = 253_402_300_799  # the end of the year 9999, the last that a datetime holds


class NoteKind(IntEnum):
    """How a key signs notes; the numbers are those of the specification. Both are Ed25519."""

    SIGNATURE = 1
    COSIGNATURE = 4


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A named public key, what a vkey line says. Made by `parse_vkey` and `note_key`.

    validity: when cosignatures by it were made that count. others: keys of that name that count as well, while one
    takes the place of the other. retired: those that did, and count only for what a key that counts has signed since.
    """

    name: str
    kind: NoteKind
    public: PublicKey
    validity: Validity = ALWAYS
    others: tuple[NoteKey, ...] = ()
    retired: tuple[NoteKey, ...] = ()

    @property
    def ever(self) -> NoteKey:
        """The same, with those that are retired: for what is held to a newer signature."""
        return replace(self, others=(*self.others, *self.retired))

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell apart the keys of one name; they prove nothing."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]

    @property
    def vkey(self) -> str:
        """``name+id+key``, the one line that a verifier needs to be given by somebody it trusts."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._typed)}"

    @property
    def _typed(self) -> bytes:
        return bytes([self.kind]) + self.public.raw


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line. value: what follows the key id; a time and a signature if it is a cosignature."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """What a note says, before anybody has checked it; `verify_note` gives what can be relied upon."""

    unverified_text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness has seen the note at ``time`` (POSIX seconds, by its own clock)."""

    witness: NoteKey
    time: int

    @property
    def seen(self) -> datetime:
        """The time, at most the last that there is a date for."""
        return datetime.fromtimestamp(min(self.time, _LATEST), UTC)

    @property
    def counts(self) -> bool:
        """Whether the witness's key did, then."""
        return self.witness.validity.covers(self.seen)


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """text: the signed text with its final newline. cosignatures: those of known witnesses, in order.

    keys: those of the log that signed it.
    """

    text: str
    cosignatures: tuple[Cosignature, ...]
    keys: tuple[PublicKey, ...]


def note_key(name: str, public: PublicKey, *, kind: NoteKind = NoteKind.SIGNATURE) -> NoteKey:
    """The Ed25519 key ``public`` under the name that it signs notes with; ValueError for other keys and bad names."""
    if not _is_name(name):
        raise ValueError(f"not a key name: got {name!r}, expected printable text without spaces and plus signs")
    if public.algorithm is not Algorithm.ED25519:
        raise ValueError(f"notes need Ed25519 keys: got {public!r}")
    return NoteKey(name, kind, public)


def parse_vkey(line: str, *, where: str) -> NoteKey:
    """The key that a vkey line names; FormatError for anything that `NoteKey.vkey` does not write."""
    name, _, rest = line.partition("+")
    key_id, _, encoded = rest.partition("+")
    typed = decode_base64(encoded, where=where)
    if not _is_name(name) or len(typed) != 33 or typed[0] not in set(NoteKind):
        raise FormatError(
            f"{where} is not a vkey of an Ed25519 key, to sign (type 1) or to cosign (type 4): got {line!r}"
        )
    key = NoteKey(name, NoteKind(typed[0]), PublicKey.from_raw(typed[1:]))
    if key_id != key.key_id.hex():
        raise FormatError(f"{where} has key id {key_id!r}, expected {key.key_id.hex()}: a part of it was changed")
    return key


def sign_note(text: str, *, name: str, signer: PrivateKey, also: Sequence[PrivateKey] = ()) -> bytes:
    """A note, signed by ``signer``, and with all the keys ``also``, under the same name.

    ValueError for text that does not end in a newline or has control characters.
    """
    if not _is_text(text):
        raise ValueError("the text of a note must end in a newline and have no other control characters")
    keys = [(note_key(name, each.public), each) for each in (signer, *also)]
    return _encode(Note(text, tuple(NoteSignature(name, key.key_id, by.sign(text.encode())) for key, by in keys)))


def cosign_note(raw: bytes, *, where: str, log: NoteKey, name: str, signer: PrivateKey, time: int) -> bytes:
    """The same note with one more line, after checking the log's: witness ``name`` saw it at ``time`` (POSIX seconds).

    The caller has checked that the log only grew. Raises as `verify_note` does; ValueError if it would be the second
    line of that witness, or for a time that does not fit 64 bits.
    """
    note, witness = parse_note(raw, where=where), note_key(name, signer.public, kind=NoteKind.COSIGNATURE)
    text = verify_note(raw, where=where, log=log).text
    if not 0 <= time < 2**64:
        raise ValueError(f"not a time in POSIX seconds: got {time}")
    value = time.to_bytes(_TIME_BYTES, "big") + signer.sign(_cosigned(text, time))
    added = NoteSignature(name, witness.key_id, value)
    if _identity(added) in {_identity(signature) for signature in note.signatures}:
        raise ValueError(f"{where} has been cosigned by {name} already")
    return _encode(Note(text, (*note.signatures, added)))


def note_lines(raw: bytes) -> list[bytes]:
    """The signature lines of a note, each with its newline."""
    return raw.rpartition(b"\n\n")[2].splitlines(keepends=True)


def without_signature(raw: bytes, name: str) -> bytes:
    """A note without the lines of one name."""
    text, separator, _ = raw.rpartition(b"\n\n")
    dashed = f"{_DASH}{name} ".encode()
    return text + separator + b"".join(line for line in note_lines(raw) if not line.startswith(dashed))


def parse_note(raw: bytes, *, where: str) -> Note:
    """A note, nothing verified; FormatError for any byte that `sign_note` and `cosign_note` would not have written."""
    try:
        document = raw.decode("utf-8")
    except UnicodeDecodeError as err:
        raise FormatError(f"{where} is not UTF-8: {err}") from err
    body, separator, block = document.rpartition("\n\n")
    text, lines = body + "\n", block.split("\n")
    if not separator or not _is_text(text):
        raise FormatError(f"{where} must be text without control characters, an empty line, and signature lines")
    if lines.pop() != "" or not 1 <= len(lines) <= MAX_SIGNATURES:
        raise FormatError(f"{where} must end in 1 to {MAX_SIGNATURES} signature lines, each with a newline")
    signatures = tuple(_parse_signature(line, f"{where}: signature line {i}") for i, line in enumerate(lines, 1))
    if len({_identity(signature) for signature in signatures}) != len(signatures):
        raise FormatError(f"{where} has two signatures with the same name and key id")
    return Note(text, signatures)


def verify_note(
    raw: bytes, *, where: str, log: NoteKey, witnesses: Sequence[NoteKey] = (), quorum: int = 0
) -> VerifiedNote:
    """The text, after checking the signature by ``log`` and those of at least ``quorum`` different ``witnesses``.

    Lines of strangers are passed over, as the specification demands. A line that names a given key but is not by it is
    a SignatureError even if the quorum would be met without it; no line by ``log`` is one too, and too few cosignatures
    are a ThresholdError. Witnesses are counted by key, not by name. ValueError for a key in the wrong role.
    """
    if log.kind is not NoteKind.SIGNATURE or any(key.kind is not NoteKind.COSIGNATURE for key in witnesses):
        raise ValueError("the log's key must be of type 1, those of witnesses of type 4")
    note = parse_note(raw, where=where)
    found = {_identity(signature): signature for signature in note.signatures}
    own = [key for key in (log, *log.others) if _identity(key) in found]
    if not own:
        ids = " or ".join(key.key_id.hex() for key in (log, *log.others))
        raise SignatureError(f"{where} has no signature by {log.name} with key id {ids}", hint=_retired(log, found))
    for key in own:
        _check(key, found[_identity(key)].value, note.unverified_text.encode(), where)
    known = {_identity(witness): witness for witness in witnesses}
    verified = [
        _verify_cosignature(known[identity], signature.value, note.unverified_text, where)
        for identity, signature in found.items()
        if identity in known
    ]
    cosignatures = tuple(item for item in verified if item.counts)
    if (count := len({cosignature.witness.public for cosignature in cosignatures})) < quorum:
        raise ThresholdError(f"{where} has too few cosignatures of known witnesses: got {count}, expected {quorum}")
    return VerifiedNote(note.unverified_text, cosignatures, tuple(key.public for key in own))


def _retired(log: NoteKey, found: Collection[tuple[str, bytes]]) -> str:
    if not any(_identity(key) in found for key in log.retired):
        return "if the log has a new key since, who keeps it gives you its vkey"
    return "it is signed with a key that has ended: such a one counts only for what its log has under a newer key"


def _verify_cosignature(witness: NoteKey, value: bytes, text: str, where: str) -> Cosignature:
    if len(value) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise FormatError(f"{where}: cosignature by {witness.name} has {counted(len(value), 'byte')}, expected 72")
    time = int.from_bytes(value[:_TIME_BYTES], "big")
    _check(witness, value[_TIME_BYTES:], _cosigned(text, time), where)
    return Cosignature(witness, time)


def _check(key: NoteKey, value: bytes, message: bytes, where: str) -> None:
    try:
        key.public.verify(value, message)
    except SignatureError:
        raise SignatureError(f"{where}: the signature of {key.name} does not verify") from None


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _encode(note: Note) -> bytes:
    lines = [f"{_DASH}{item.name} {encode_base64(item.key_id + item.value)}\n" for item in note.signatures]
    return f"{note.unverified_text}\n{''.join(lines)}".encode()


def _parse_signature(line: str, where: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not _is_name(name):
        raise FormatError(f"{where} must be an em dash, a name without plus sign, and base64: got {line!r}")
    data = decode_base64(encoded, where=where)
    if len(data) <= 4:
        raise FormatError(f"{where} has {counted(len(data), 'byte')}, expected a key id of 4 and a signature")
    return NoteSignature(name, data[:4], data[4:])


def _identity(item: NoteKey | NoteSignature) -> tuple[str, bytes]:
    return item.name, item.key_id


def _is_name(name: str) -> bool:
    return bool(name) and not any(character.isspace() or character < " " or character == "+" for character in name)


def _is_text(text: str) -> bool:
    return text.endswith("\n") and not any(character < " " and character != "\n" for character in text)
