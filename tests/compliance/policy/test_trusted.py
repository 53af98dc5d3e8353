"""What files name as trusted, told by their content."""

from __future__ import annotations

import pytest

from unlearnkit.compliance.policy.trust import Signer, TrustStore, format_trust
from unlearnkit.compliance.policy.trusted import read_trusted
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.signing.keys import Algorithm, PrivateKey

ROLES = ("sketch-signer", "certificate-signer")


@pytest.fixture
def public():
    return PrivateKey.generate(Algorithm.P256).public


def test_stores_and_keys_are_joined_and_the_largest_quorum_counts(tmp_path, public, key, witness):
    store = TrustStore(
        signers=(Signer("lab", ("sketch-signer",), public),), witnesses=(witness,), witness_quorum=1, logs=()
    )
    other = PrivateKey.generate(Algorithm.P256).public
    files = {
        "a": format_trust(store).encode(),
        "b": other.pem,
        "c": key.public.vkey.encode() + b"\n",
        "d": witness.vkey.encode(),
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    found = read_trusted([tmp_path / name for name in files])
    assert found == TrustStore(
        signers=(*store.signers, Signer("b", ROLES, other)),
        logs=(key.public,),
        witnesses=(witness, witness),
        witness_quorum=1,
    )


def test_no_file_trusts_nobody():
    assert read_trusted([]) == TrustStore()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no trust store or key .*trust\.toml"):
        read_trusted([tmp_path / "trust.toml"])


def test_nothing_of_a_file_that_may_be_a_secret_is_quoted(tmp_path):
    (tmp_path / "x").write_text("correct horse battery staple")
    with pytest.raises(FormatError) as caught:
        read_trusted([tmp_path / "x"])
    assert "horse" not in str(caught.value)
