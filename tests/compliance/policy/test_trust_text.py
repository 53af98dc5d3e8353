"""What people wrote in a trust store stays when a key comes or ends, and it reads as it shall."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer, TrustStore, format_trust, parse_trust
from unlearnkit.compliance.policy.trust_text import with_end, with_key
from unlearnkit.errors import UnknownNameError
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.note import note_key
from unlearnkit.signing.validity import Validity

END = datetime(2027, 1, 31, 9, 30, tzinfo=UTC)
LATER = datetime(2028, 1, 31, tzinfo=UTC)


@pytest.fixture(scope="module")
def signer():
    return Signer("lab 1", (Role.CERTIFICATE_SIGNER,), PrivateKey.generate(Algorithm.P256).public)


@pytest.fixture
def store(signer, key, witness):
    return TrustStore(signers=(signer,), logs=(key.public,), witnesses=(witness,), witness_quorum=1)


def test_a_key_comes_at_the_end_and_ends_at_its_place(store, signer, key):
    other = replace(signer, key=PrivateKey.generate(Algorithm.P256).public, validity=Validity(since=END))
    following = note_key(key.origin, PrivateKey.generate(Algorithm.ED25519).public)
    raw = format_trust(store).replace("[[log]]", "# the log of the office, by telephone\n[[log]]  # ours").encode()
    changed = with_key(with_key(raw, other, where="x"), following, where="x")
    assert changed.startswith(raw)
    assert with_key(changed, other, where="x") == with_key(changed, following, where="x") == changed
    ended = with_end(with_end(changed, key.public.public.key_id, END, where="x"), signer.key.key_id, END, where="x")
    assert b"# the log of the office, by telephone\n[[log]]  # ours\nuntil" in ended
    found = parse_trust(ended, where="x")
    assert [item.validity for item in found.signers] == [Validity(until=END), Validity(since=END)]
    assert [item.validity for item in found.logs] == [Validity(until=END), Validity()]
    assert parse_trust(format_trust(found).encode(), where="x") == found
    assert with_end(ended, signer.key.key_id, LATER, where="x") == ended  # it has ended before
    earlier = with_end(with_end(changed, signer.key.key_id, LATER, where="x"), signer.key.key_id, END, where="x")
    assert parse_trust(earlier, where="x").signers[0].validity == Validity(until=END)


def test_a_file_that_is_written_otherwise_is_written_anew(store, signer):
    tables = format_trust(replace(store, logs=(), witnesses=(), witness_quorum=0))
    pem = signer.key.pem.decode().replace("\n", "\\n")
    head = tables[: tables.index("[[signer]]")]
    raw = f'{head}signer = [{{name = "lab 1", roles = ["certificate-signer"], public_key = "{pem}"}}]\n'.encode()
    found = parse_trust(with_end(raw, signer.key.key_id, END, where="x"), where="x")
    assert [item.validity.until for item in found.signers] == [END]


def test_a_signer_counts_from_and_until_and_for_what_was_recorded_then(signer):
    ended = TrustStore(signers=(replace(signer, validity=Validity(until=END)),))
    ahead = TrustStore(signers=(replace(signer, validity=Validity(since=datetime(2999, 1, 1, tzinfo=UTC))),))
    past = TrustStore(signers=(replace(signer, validity=Validity(until=datetime(2020, 1, 1, tzinfo=UTC))),))
    assert [bool(item.keys(Role.CERTIFICATE_SIGNER)) for item in (past, ahead)] == [False, False]
    assert past.has_ended
    assert not TrustStore(signers=(signer,)).has_ended
    for time, counts in ((datetime(2019, 12, 31, tzinfo=UTC), True), (datetime(2020, 1, 1, tzinfo=UTC), False)):
        assert bool(past.counting(time).keys(Role.CERTIFICATE_SIGNER)) is counts
    assert past.counting(None).signers == ()
    assert ended.counting(datetime(2020, 1, 1, tzinfo=UTC)).signers == (signer,)


def test_of_two_keys_of_a_log_the_last_is_its_and_one_that_ended_is_no_more(key):
    old = replace(key.public, validity=Validity(until=datetime(2020, 1, 1, tzinfo=UTC)))
    new = note_key(key.origin, PrivateKey.generate(Algorithm.ED25519).public)
    both = TrustStore(logs=(key.public, new)).log(key.origin)
    assert (both.public, [item.public for item in both.others], both.retired) == (new.public, [key.public.public], ())
    one = TrustStore(logs=(old, new)).log(key.origin)
    assert (one.public, one.others, [item.public for item in one.retired]) == (new.public, (), [key.public.public])
    assert [item.public for item in one.ever.others] == [key.public.public]
    with pytest.raises(UnknownNameError, match=f"the key of the log {key.origin} has ended"):
        TrustStore(logs=(old,)).log(key.origin)
