"""Records with exactly the fields they should have, base64 with one spelling, and digests."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.canonical import decode_base64, encode_base64, file_sha256_hex, sha256_hex, take_fields
from unlearnkit.errors import FormatError

FIELDS = {"name": str, "count": int, "ratio": (int, float)}


def test_fields_come_back_as_they_are():
    record = {"name": "a", "count": 1, "ratio": 0.5}
    assert take_fields(record, where="x", required=FIELDS) == record
    assert take_fields(record, where="x", required={"name": str}, optional={"count": int, "ratio": float}) == record
    assert take_fields({"name": "a"}, where="x", required={"name": str}, optional={"count": int}) == {"name": "a"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "x must be an object: got an array"),
        (None, "x must be an object: got null"),
        ({"count": 1, "ratio": 1}, "x lacks 'name'"),
        ({}, "x lacks 'count', 'name', 'ratio'"),
        ({"name": "", "count": 1, "ratio": 1, "b": 0, "a": 0}, "x has unknown fields: got 'a', 'b', expected 'name', "),
        ({"name": "", "count": True, "ratio": 1}, "x: 'count' must be an integer: got true or false"),
        ({"name": "", "count": 1.5, "ratio": 1}, "x: 'count' must be an integer: got a fractional number"),
        ({"name": None, "count": 1, "ratio": 1}, "x: 'name' must be a string: got null"),
        (
            {"name": "", "count": 1, "ratio": False},
            "x: 'ratio' must be an integer or a fractional number: got true or ",
        ),
    ],
)
def test_unknown_missing_and_mistyped_fields_are_malformed(record, message):
    with pytest.raises(FormatError, match=message):
        take_fields(record, where="x", required=FIELDS)


def test_optional_fields_have_types_too():
    with pytest.raises(FormatError, match="x: 'note' must be a string or null: got an integer"):
        take_fields({"note": 1}, where="x", required={}, optional={"note": (str, type(None))})


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
