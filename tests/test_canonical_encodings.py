"""Base64 with one spelling, and digests."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.canonical import decode_base64, encode_base64, file_sha256_hex, sha256_hex
from unlearnkit.errors import FormatError


@given(st.binary())
def test_base64_has_one_spelling(data):
    assert decode_base64(encode_base64(data), where="x") == data


@pytest.mark.parametrize(
    "text", ["QQ", "QQ=", "QR==", "QQ==\n", " QQ==", "Q-==", "-_-_", "QQ==QQ==", "=", "QQ===", "é==="]
)
def test_base64_with_other_spellings_is_malformed(text):
    with pytest.raises(FormatError, match=r"x is not (canonical )?base64"):
        decode_base64(text, where="x")


def test_digests_are_sha256(tmp_path):
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    data = random.Random(1).randbytes(3_000_001)
    path = tmp_path / "large"
    path.write_bytes(data)
    assert file_sha256_hex(path) == hashlib.sha256(data).hexdigest() == sha256_hex(data)
