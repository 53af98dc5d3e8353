"""DSSE v1.0.2 envelopes: bytes of a stated type, signed as they are.

https://github.com/secure-systems-lab/dsse. Stricter than the specification where it leaves room, so that one envelope
has one meaning and (but for the two base64 alphabets that it demands) one spelling: canonical JSON, no unknown fields,
a key id in every signature, none twice. A key id proves nothing, but a wrong one is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from unlearnkit.canonical import encode_base64, parse_json
from unlearnkit.errors import FormatError, SignatureError, ThresholdError, VerificationError
from unlearnkit.names import counted
from unlearnkit.records import from_json, write_json
from unlearnkit.signing.keys import PrivateKey, PublicKey

MAX_SIGNATURES = 16
"""Signatures in one file; each is tried with each trusted key."""


@dataclass(frozen=True, slots=True)
class Signature:
    """key_id: `PublicKey.key_id`, unauthenticated. value: as `PrivateKey.sign` makes it."""

    key_id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an envelope says, before anybody has checked it; `verify_envelope` gives what can be relied upon."""

    unverified_payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class SignatureText:
    """A signature as it is written: base64."""

    keyid: str
    sig: str


@dataclass(frozen=True, slots=True)
class EnvelopeFile:
    """An envelope as it is written. payload: base64."""

    payload: str
    payloadType: str  # noqa: N815  the specification's name
    signatures: tuple[SignatureText, ...]


@dataclass(frozen=True, slots=True)
class VerifiedPayload:
    """payload: the signed bytes. keys: the trusted keys that signed them, in the order of the signatures."""

    payload: bytes
    keys: tuple[PublicKey, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding. Lengths count bytes, not characters (DSSE protocol.md)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload: bytes, *, payload_type: str, signers: Sequence[PrivateKey]) -> bytes:
    """The envelope with one signature by each of ``signers`` (distinct keys, at least one), as bytes for a file."""
    signatures = sign_payload(payload, payload_type=payload_type, signers=signers)
    return _encode(Envelope(payload, payload_type, signatures), encode_base64)


def countersign_envelope(raw: bytes, *, where: str, signer: PrivateKey) -> bytes:
    """The envelope with one more signature, the others as they were; ValueError if ``signer`` has signed it already.

    Nothing is verified: who signs has done so.
    """
    envelope = parse_envelope(raw, where=where)
    (added,) = sign_payload(envelope.unverified_payload, payload_type=envelope.payload_type, signers=[signer])
    signatures = (*envelope.signatures, added)
    try:
        require_distinct(signatures, where=where)
    except FormatError as err:
        raise ValueError(str(err)) from err
    return _encode(Envelope(envelope.unverified_payload, envelope.payload_type, signatures), encode_base64)


def parse_envelope(raw: bytes, *, where: str) -> Envelope:
    """An envelope as `sign_envelope` writes it, or the same in the URL-safe base64 alphabet; otherwise FormatError.

    Nothing is verified.
    """
    found = from_json(EnvelopeFile, parse_json(raw, where=where), where=where)
    signatures = tuple(
        Signature(item.keyid, _decode(item.sig, f"{where}: signatures[{i}].sig"))
        for i, item in enumerate(found.signatures)
    )
    require_distinct(signatures, where=where)
    envelope = Envelope(_decode(found.payload, f"{where}: payload"), found.payloadType, signatures)
    if raw not in (_encode(envelope, encode_base64), _encode(envelope, _encode_url_safe)):
        raise FormatError(f"{where} is not written canonically (RFC 8785 JSON, one padded base64 alphabet)")
    return envelope


def verify_envelope(
    raw: bytes, *, where: str, payload_type: str, keys: Iterable[PublicKey], threshold: int = 1
) -> VerifiedPayload:
    """The payload, after checking its type and that at least ``threshold`` different ``keys`` signed it.

    Raises FormatError for a malformed envelope, VerificationError for another type, and as `verify_signatures` does.
    """
    envelope = parse_envelope(raw, where=where)
    if envelope.payload_type != payload_type:
        raise VerificationError(f"{where} has payload type {envelope.payload_type!r}, expected {payload_type!r}")
    signed = pae(payload_type, envelope.unverified_payload)
    accepted = verify_signatures(signed, envelope.signatures, where=where, keys=keys, threshold=threshold)
    return VerifiedPayload(envelope.unverified_payload, accepted)


def sign_payload(payload: bytes, *, payload_type: str, signers: Sequence[PrivateKey]) -> tuple[Signature, ...]:
    """The signatures of an envelope. ValueError for no signer, too many, or one twice."""
    ids = [signer.public.key_id for signer in signers]
    if not 1 <= len(set(ids)) == len(ids) <= MAX_SIGNATURES:
        raise ValueError(
            f"an envelope has 1 to {MAX_SIGNATURES} different signers: got {len(ids)}, {len(set(ids))} different"
        )
    message = pae(payload_type, payload)
    return tuple(Signature(key_id, signer.sign(message)) for key_id, signer in zip(ids, signers, strict=True))


def verify_signatures(
    message: bytes, signatures: Sequence[Signature], *, where: str, keys: Iterable[PublicKey], threshold: int
) -> tuple[PublicKey, ...]:
    """The ``keys`` that signed ``message``: at least ``threshold`` different ones, or ThresholdError.

    Signatures by strangers are passed over. One that names a trusted key but is not by it, or is by a trusted key but
    names another, is a SignatureError even if the threshold would be met without it. No keys verify nothing.
    """
    if threshold < 1:
        raise ValueError(f"threshold must be at least 1: got {threshold}")
    trusted = tuple(dict.fromkeys(keys))
    accepted = [key for signature in signatures for key in trusted if _signed_by(key, signature, message, where)]
    distinct = tuple(dict.fromkeys(accepted))
    if len(distinct) < threshold:
        raise ThresholdError(
            f"{where} has too few trusted signatures: got {len(distinct)}, expected {threshold} "
            f"(it names {[signature.key_id for signature in signatures]}; "
            f"{counted(len(trusted), 'key', 'are')} trusted)",
            hint="trust a key only if you got it from its owner, not with the file",
        )
    return distinct


def require_distinct(signatures: Sequence[Signature], *, where: str) -> None:
    """FormatError unless there are 1 to ``MAX_SIGNATURES`` signatures, with key ids that are present and differ."""
    ids = [signature.key_id for signature in signatures]
    if not 1 <= len(ids) <= MAX_SIGNATURES:
        raise FormatError(f"{where} must have 1 to {MAX_SIGNATURES} signatures: got {len(ids)}")
    if "" in ids or len(set(ids)) != len(ids):
        raise FormatError(f"{where} must have a key id with every signature, none of them twice: got {ids}")


def _signed_by(key: PublicKey, signature: Signature, message: bytes, where: str) -> bool:
    named = signature.key_id == key.key_id
    try:
        key.verify(signature.value, message)
    except SignatureError as err:
        if named:
            raise SignatureError(f"{where}: {err}") from None
        return False
    if not named:
        raise SignatureError(f"{where}: a signature by {key.key_id} claims to be by {signature.key_id!r}")
    return True


def _encode(envelope: Envelope, spelled: Callable[[bytes], str]) -> bytes:
    signatures = tuple(SignatureText(item.key_id, spelled(item.value)) for item in envelope.signatures)
    return write_json(EnvelopeFile(spelled(envelope.unverified_payload), envelope.payload_type, signatures))


def _encode_url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")


def _decode(text: str, where: str) -> bytes:
    """Either alphabet, as DSSE demands of readers; comparing the whole envelope afterwards settles which one it was."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError as err:
        raise FormatError(f"{where} is not base64: {err}") from err
