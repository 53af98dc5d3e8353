"""Receipts: what the log's key alone shows to who made a request; nothing of one can be changed."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode

import pytest

from tests.compliance.requests.desks import Clock, desk_of, new_log
from unlearnkit.canonical import canonicalize
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.requests.receipt import is_receipt, make_receipts, receipt_origin, verify_receipt
from unlearnkit.errors import UnknownNameError, UnlearnkitError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey

LOG_KEY = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """R1 of ann, R2 of bob, R4 of cleo; entry 3 is a step of R1."""
    made = new_log(tmp_path_factory.mktemp("receipts") / "log", Clock())
    desk = desk_of(made)
    desk.receive(["ann", "bob"], source="email")
    desk.acknowledge("R1")
    desk.receive(["cleo"], source="letter")
    publish_checkpoint(made, LOG_KEY)
    return made


def receipt(log, index: int) -> bytes:
    entry = next(entry for entry in log.entries() if entry.index == index)
    (raw,) = make_receipts(log.path, [entry], log=LOG_KEY.public)
    return raw


def verified(raw: bytes):
    return verify_receipt(raw, where="receipt", log=LOG_KEY.public)


def test_a_receipt_says_which_request_was_received_when_and_until_when_it_is_answered(log):
    found = verified(receipt(log, 2))
    assert (found.request, found.received.source, found.checkpoint.size) == ("R2", "email", 5)
    assert (found.received.received.isoformat(), found.received.respond.day.isoformat()) == ("2025-03-05", "2025-04-07")
    assert receipt_origin(receipt(log, 2), where="receipt") == "example.com/log"


def test_its_proof_follows_from_hashes_alone(log):
    """RFC 6962 section 2.1.1 by hand, for the last of five leaves: its only sibling is the root of the first four."""
    raw = json.loads(receipt(log, 4))
    leaf = hashlib.sha256(b"\0" + raw["entry"].encode() + b"\n").digest()
    head, _, note = raw["proof"].partition("\n\n")
    (sibling,) = head.split("\n")[2:]
    root = hashlib.sha256(b"\1" + b64decode(sibling) + leaf).digest()
    assert b64decode(note.split("\n")[2]) == root


def test_no_name_is_in_a_receipt_and_it_is_small(log):
    raw = receipt(log, 1)
    assert b"ann" not in raw
    assert len(raw) < 2000


def test_no_byte_of_a_receipt_can_be_changed(log):
    raw = receipt(log, 2)
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(UnlearnkitError):
            verified(changed)


def test_nothing_can_be_cut_from_a_receipt_or_put_to_it(log):
    raw = receipt(log, 2)
    for changed in [raw[:n] for n in range(0, len(raw), 7)] + [raw + b"\n", b" " + raw, raw + raw]:
        with pytest.raises(UnlearnkitError):
            verified(changed)


@pytest.mark.parametrize("member", ["entry", "proof"])
def test_halves_of_two_receipts_are_no_receipt(log, member):
    one, other = json.loads(receipt(log, 1)), json.loads(receipt(log, 2))
    with pytest.raises(VerificationError):
        verified(canonicalize({**one, member: other[member]}))


def test_a_receipt_of_another_entry_or_log_is_none(log, tmp_path):
    with pytest.raises(VerificationError, match="entry 3 of the log is a request-acknowledged"):
        verified(receipt(log, 3))
    other = new_log(tmp_path / "log", Clock())
    desk_of(other).receive(["ann"], source="email")
    stranger = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
    publish_checkpoint(other, stranger)
    (entry,) = [entry for entry in other.entries() if entry.index == 1]
    (raw,) = make_receipts(other.path, [entry], log=stranger.public)
    with pytest.raises(VerificationError):
        verified(raw)


def test_what_is_not_signed_yet_has_no_receipt(log, tmp_path):
    fresh = new_log(tmp_path / "log", Clock())
    publish_checkpoint(fresh, LOG_KEY)
    desk_of(fresh).receive(["ann"], source="email")
    (entry,) = [entry for entry in fresh.entries() if entry.index == 1]
    with pytest.raises(UnknownNameError, match="entry 1 is not under the checkpoint"):
        make_receipts(fresh.path, [entry], log=LOG_KEY.public)


def test_a_receipt_is_told_by_its_content(log):
    assert is_receipt(receipt(log, 1))
    assert not is_receipt(b'{"schema":"unlearnkit/certificate-file/v1"}')
