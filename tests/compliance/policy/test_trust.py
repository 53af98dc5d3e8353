"""The trust store reads as it is written, and trusts nobody by itself."""

from __future__ import annotations

import pytest

from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer, TrustStore, format_trust, parse_trust
from unlearnkit.compliance.policy.trusted import read_trusted
from unlearnkit.errors import FormatError, UnknownNameError, UnknownVersionError
from unlearnkit.signing.keys import Algorithm, PrivateKey

EMPTY = b'schema = "unlearnkit/trust/v1"\n'


@pytest.fixture(scope="module")
def signer():
    return Signer("lab 1", (Role.CERTIFICATE_SIGNER,), PrivateKey.generate(Algorithm.P256).public)


def test_a_trust_store_reads_as_it_was_written(signer, key, witness):
    store = TrustStore(signers=(signer,), logs=(key.public,), witnesses=(witness,), witness_quorum=1)
    assert parse_trust(format_trust(store).encode(), where="x") == store
    assert store.keys(Role.CERTIFICATE_SIGNER) == (signer.key,)
    assert store.keys(Role.SKETCH_SIGNER) == ()
    assert store.log(key.origin) == key.public


def test_an_empty_trust_store_trusts_nobody():
    store = parse_trust(EMPTY, where="x")
    assert store == TrustStore()
    assert store.keys(Role.SKETCH_SIGNER) == store.keys(Role.CERTIFICATE_SIGNER) == ()
    with pytest.raises(UnknownNameError, match=r"no trusted key for the log example.com/log: there are keys for none"):
        store.log("example.com/log")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text + "x = 1", "has unknown fields: got 'x'"),
        (lambda text: "[", "x is not TOML"),
        (lambda text: text.replace('schema = "unlearnkit/trust/v1"', ""), "x lacks 'schema'"),
        (
            lambda text: text.replace('name = "lab 1"', "name = 'lab\"'"),
            r"signer\[0\].name must be a name of plain letters.*: got 'lab\"",
        ),
        (
            lambda text: text.replace('["certificate-signer"]', "[]"),
            r"signer\[0\].roles must be an array of at least 1: got 0",
        ),
        (
            lambda text: text.replace('["certificate-signer"]', '["log"]'),
            r"signer\[0\].roles\[0\] must be 'sketch-signer' or 'certificate-signer': got 'log'",
        ),
        (lambda text: text.replace("MFkw", "AAAA"), "public_key is not a public key"),
        (lambda text: text.replace("witness_quorum = 1", "witness_quorum = 2"), "witness_quorum must be from 0"),
        (
            lambda text: text.replace("[[witness]]", "[[log]]").replace("quorum = 1", "quorum = 0"),
            "log 2 has a key of type 4, expected type 1",
        ),
        (lambda text: text + text[text.index("[[witness]]") :], "x: witness: two keys with one name"),
    ],
)
def test_a_trust_store_is_read_strictly(signer, key, witness, change, message):
    store = TrustStore(signers=(signer,), logs=(key.public,), witnesses=(witness,), witness_quorum=1)
    with pytest.raises(FormatError, match=message):
        parse_trust(change(format_trust(store)).encode(), where="x")


def test_another_schema_and_a_missing_file_are_said(tmp_path):
    with pytest.raises(UnknownVersionError, match="schema is 'unlearnkit/trust/v2'"):
        parse_trust(EMPTY.replace(b"v1", b"v2"), where="x")
    with pytest.raises(UnknownNameError, match="no trust store"):
        read_trusted([tmp_path / "trust.toml"])
