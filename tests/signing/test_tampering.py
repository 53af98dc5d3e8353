"""Every change of one byte, anywhere in a signed file, is malformed or false: none passes, nothing else is raised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from unlearnkit.errors import FormatError, VerificationError
from unlearnkit.signing.dsse import sign_envelope, verify_envelope
from unlearnkit.signing.model_signature import sign_listing, verify_listing
from unlearnkit.signing.note import NoteKind, cosign_note, note_key, sign_note, verify_note

KIND = "application/vnd.in-toto+json"
INSERTED = b"\x00\n\r \"'+-/09=AZ_az{}[],:\\\x7f\x80\xff"


@dataclass(frozen=True)
class Artefact:
    """A signed file, how it is verified, and what that gives."""

    raw: bytes
    verify: Callable[[bytes], object]
    value: object


@pytest.fixture(scope="module")
def artefacts(signer, second_signer, log_key, witness_key) -> dict[str, Artefact]:
    keys = [signer.public, second_signer.public]
    signers = [signer, second_signer]
    log = note_key("example.com/log", log_key.public)
    witness = note_key("example.com/w", witness_key.public, kind=NoteKind.COSIGNATURE)
    note = sign_note("example.com/log\n7\nAAAA\n", name=log.name, signer=log_key)
    cosigned = cosign_note(note, where="x", log=log, name=witness.name, signer=witness_key, time=1_800_000_000)

    def envelope(raw: bytes) -> object:
        return verify_envelope(raw, where="x", payload_type=KIND, keys=keys).payload

    def listing(raw: bytes) -> object:
        return dict(verify_listing(raw, where="x", keys=keys).digests)

    digests = {"a": "0" * 64, "b/c": "1" * 64}
    return {
        # Base64 with several "+" and "/": no one byte can turn all of it into the URL-safe alphabet.
        "envelope": Artefact(
            sign_envelope(b"\xfb\xef\xbe\xff\xff\xff", payload_type=KIND, signers=signers),
            envelope,
            b"\xfb\xef\xbe\xff\xff\xff",
        ),
        "listing": Artefact(sign_listing(digests, name="bundle", signers=signers), listing, digests),
        "note": Artefact(
            cosigned,
            lambda raw: verify_note(raw, where="x", log=log, witnesses=[witness], quorum=1).text,
            "example.com/log\n7\nAAAA\n",
        ),
    }


@pytest.fixture(params=["envelope", "listing", "note"])
def artefact(request, artefacts) -> Artefact:
    return artefacts[request.param]


def test_the_untouched_file_verifies(artefact):
    assert artefact.verify(artefact.raw) == artefact.value


def test_no_flipped_bit_passes(artefact):
    _nothing_passes(artefact, _flipped(artefact.raw))


def test_no_replaced_byte_passes(artefact):
    _nothing_passes(artefact, _replaced(artefact.raw))


def test_no_inserted_byte_passes(artefact):
    _nothing_passes(artefact, _inserted(artefact.raw))


def test_no_deleted_or_doubled_byte_passes(artefact):
    raw = artefact.raw
    _nothing_passes(artefact, (raw[:i] + raw[i + 1 :] for i in range(len(raw)) if raw[i : i + 1] != raw[i + 1 : i + 2]))
    _nothing_passes(artefact, (raw[: i + 1] + raw[i:] for i in range(len(raw))))


def test_no_truncated_file_passes(artefact):
    _nothing_passes(artefact, (artefact.raw[:size] for size in range(len(artefact.raw))))
    _nothing_passes(artefact, (artefact.raw[start:] for start in range(1, len(artefact.raw))))


def test_no_two_neighbours_change_places(artefact):
    raw = artefact.raw
    pairs = ((i, raw[i : i + 1], raw[i + 1 : i + 2]) for i in range(len(raw) - 1))
    _nothing_passes(artefact, (raw[:i] + right + left + raw[i + 2 :] for i, left, right in pairs if left != right))


def test_the_one_exception_is_the_only_special_character_of_an_envelope(signer):
    """DSSE demands that both base64 alphabets are read; one character in the other alphabet is the same bytes."""
    payload = b"\x03\xe0\x00"  # in base64 "A+AA"
    raw = sign_envelope(payload, payload_type=KIND, signers=[signer])
    while {"+", "/"} & set(json.loads(raw)["signatures"][0]["sig"]):
        raw = sign_envelope(payload, payload_type=KIND, signers=[signer])
    artefact = Artefact(
        raw, lambda raw: verify_envelope(raw, where="x", payload_type=KIND, keys=[signer.public]).payload, payload
    )
    twin = raw.replace(b"A+AA", b"A-AA")
    assert _passing(artefact, _replaced(raw)) == [twin]
    assert artefact.verify(twin) == payload


def test_one_kind_of_file_is_not_taken_for_another(artefacts):
    for name, artefact in artefacts.items():
        _nothing_passes(artefact, (other.raw for key, other in artefacts.items() if key != name))


def _nothing_passes(artefact: Artefact, tampered: Iterator[bytes]) -> None:
    assert _passing(artefact, tampered) == []


def _passing(artefact: Artefact, tampered: Iterator[bytes]) -> list[bytes]:
    passing = []
    for raw in tampered:
        try:
            artefact.verify(raw)
        except (FormatError, VerificationError):
            continue
        passing.append(raw)
    return passing


def _flipped(raw: bytes) -> Iterator[bytes]:
    for position in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            yield bytes(changed)


def _replaced(raw: bytes) -> Iterator[bytes]:
    for position in range(len(raw)):
        for byte in INSERTED:
            if raw[position] != byte:
                yield raw[:position] + bytes([byte]) + raw[position + 1 :]


def _inserted(raw: bytes) -> Iterator[bytes]:
    for position in range(len(raw) + 1):
        for byte in INSERTED:
            yield raw[:position] + bytes([byte]) + raw[position:]
