"""A line of the log: one spelling, chained to the line before it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.canonical import canonicalize
from unlearnkit.compliance.log.clock import format_time, parse_time
from unlearnkit.compliance.log.entry import (
    MAX_LINE,
    START,
    Position,
    advance,
    check_link,
    draft,
    encode_line,
    next_position,
    parse_line,
)
from unlearnkit.errors import ChainError, FormatError, UnknownVersionError

TIME = "2025-01-31T09:30:00Z"
BODIES = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def line(body: dict | None = None, position: Position = START, kind: str = "note") -> bytes:
    return encode_line(draft(kind, body or {}), position=position, time=TIME)


@given(body=BODIES, index=st.integers(0, 2**53 - 1))
def test_a_line_is_the_canonical_form_of_its_object_and_reads_back(body, index):
    raw = line(body, Position(index, 17, "ab" * 32))
    record = {"schema": "unlearnkit/log/v1", "index": index, "time": TIME, "type": "note", "previous": "ab" * 32}
    assert raw == canonicalize({**record, "body": body}) + b"\n"
    entry = parse_line(raw, where="x")
    assert (entry.index, entry.type, entry.previous, entry.body, entry.line) == (index, "note", "ab" * 32, body, raw)
    assert entry.time == datetime(2025, 1, 31, 9, 30, tzinfo=UTC)


@given(position=st.integers(0, 400), data=st.binary(min_size=0, max_size=3), drop=st.integers(0, 3))
def test_whatever_is_read_is_what_would_have_been_written(position, data, drop):
    good = line({"a": 'x"}', "b": [1, True, None]})
    raw = good[:position] + data + good[position + drop :]
    try:
        entry = parse_line(raw, where="x")
    except FormatError:
        return
    again = encode_line(
        draft(entry.type, entry.body), position=Position(entry.index, 0, entry.previous), time=format_time(entry.time)
    )
    assert again == raw


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:-1], "x is unfinished: no newline"),
        (lambda raw: b" " + raw, "x is not a canonical line"),
        (lambda raw: raw.replace(b'"index":0', b'"index":00'), "x is not a canonical line"),
        (lambda raw: raw.replace(b'"index":0', b'"index":9007199254740992'), "index beyond"),
        (lambda raw: raw.replace(b'"a":1', b'"a":1.0'), "x: body is not canonical JSON"),
        (lambda raw: raw.replace(b'"a":1', b'"a":1,"a":1'), "'a' is repeated"),
        (lambda raw: raw.replace(b"T09:30", b"T25:30"), "x: time is not a time: got '2025-01-31T25:30:00Z'"),
        (lambda raw: raw.replace(b"00Z", b"0Z"), "x: time is not a time"),
        (lambda raw: raw.replace(b'"note"', b'"Note"'), "x is not a canonical line"),
        (lambda raw: raw[:-1] + b" \n", "x is not a canonical line"),
        (lambda raw: b"x" * MAX_LINE + raw, "x is too long: more than 65535 bytes"),
    ],
)
def test_a_malformed_line_says_what_is_wrong(change, message):
    with pytest.raises(FormatError, match=message):
        parse_line(change(line({"a": 1})), where="x")


def test_another_schema_is_an_unknown_version():
    with pytest.raises(UnknownVersionError, match="schema is 'unlearnkit/log/v2', expected 'unlearnkit/log/v1'"):
        parse_line(line().replace(b"log/v1", b"log/v2"), where="x")


def test_previous_is_what_sha256sum_prints_for_the_line_before(tmp_path):
    first = line({"a": 1})
    second = line({"b": 2}, advance(START, first))
    (tmp_path / "log.jsonl").write_bytes(first + second)
    shell = f"sed -n 1p {tmp_path}/log.jsonl | sha256sum"
    printed = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == json.loads(second)["previous"] == hashlib.sha256(first).hexdigest()
    assert next_position(next_position(START, first), second) == Position(
        2, len(first + second), hashlib.sha256(second).hexdigest()
    )


def test_a_line_in_another_place_does_not_continue_the_chain():
    first = line()
    with pytest.raises(ChainError, match="log line 2 has index 0, expected 1") as caught:
        next_position(advance(START, first), first)
    assert caught.value.index == 1
    with pytest.raises(ChainError, match="entry 1 follows another line than the one before it: got previous 0000"):
        check_link(advance(START, first), 1, "0" * 64)


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("Note", {}, "not an entry type: got 'Note'"),
        ("", {}, "not an entry type"),
        ("note\n", {}, "not an entry type"),
        ("note", {"x": float("nan")}, "nan"),
        ("note", {"x": "y" * MAX_LINE}, "a note entry is too long: got a body of 65543 bytes"),
    ],
)
def test_what_cannot_be_an_entry_is_refused_before_anything_is_written(kind, body, message):
    with pytest.raises(ValueError, match=message):
        draft(kind, body)


@given(size=st.integers(65_000, 65_535))
def test_every_draft_fits_a_line(size):
    try:
        entry = draft("n" * 64, {"x": "y" * size})
    except ValueError:
        return
    raw = encode_line(entry, position=Position(2**53 - 1, 0, "0" * 64), time=TIME)
    assert len(raw) <= entry.most_bytes <= MAX_LINE


@given(time=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_times_read_back_to_the_second(time):
    assert parse_time(format_time(time), where="x") == time.replace(microsecond=0)


def test_times_are_written_in_utc_and_need_a_zone():
    assert format_time(datetime(2025, 3, 1, 1, 0, tzinfo=timezone(timedelta(hours=2)))) == "2025-02-28T23:00:00Z"
    with pytest.raises(ValueError, match="a time needs a time zone"):
        format_time(datetime(2025, 3, 1))
