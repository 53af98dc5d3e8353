"""Inputs that would wait for ever, fill the memory or take a day are refused before they are read."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from tests.bundle.small import small
from tests.compliance.requests.desks import DIGEST, KEY
from unlearnkit.bundle import Bundle, Manifest
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.canonical import MAX_DEPTH, MAX_VALUES, canonicalize, parse_json
from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.compliance.policy.trust import parse_trust
from unlearnkit.compliance.requests.register import KEY_CREATED, KeyCreated, Register
from unlearnkit.compliance.requests.trail import Trail
from unlearnkit.errors import FormatError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.office.workspace import Workspace
from unlearnkit.records import to_json
from unlearnkit.shapes import Items
from unlearnkit.signing.note import MAX_NOTE

GIANT = 2**40


@pytest.fixture
def office(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workspace.create(tmp_path, origin="example.com/log")


def exit_code(*arguments: str) -> int:
    return CliRunner().invoke(main, arguments).exit_code


# -- what is no regular file, or too long


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["fifo", "device"])
def test_what_never_ends_is_not_read(office, tmp_path, make):
    make(tmp_path / "x")
    make(tmp_path / "audit" / "earlier-x")
    with pytest.raises(FormatError, match="is not a regular file"):
        read_bounded(tmp_path / "x", 10)
    assert exit_code("verify", "x") == 3
    assert exit_code("keys", "show", "x") == 3
    assert exit_code("log", "checkpoint", "--import", "x") in (2, 3)
    assert exit_code("log", "verify", "--earlier", "x") in (2, 3)


def sparse(path, size=GIANT):
    path.touch()
    os.truncate(path, size)


def test_a_sparse_giant_is_not_read(office, tmp_path):
    sparse(tmp_path / "x")
    for command in (
        ["verify", "x"],
        ["keys", "show", "x"],
        ["log", "checkpoint", "--import", "x"],
        ["log", "verify", "--earlier", "x"],
        ["verify", "audit", "--trust", "x"],
        ["policy", "check", "./x"],
    ):
        assert exit_code(*command) == 3, command
    shutil.copytree(tmp_path / "audit", tmp_path / "copy")
    sparse(tmp_path / "copy" / "log.jsonl")
    assert exit_code("log", "verify", "copy") == 3


def test_a_bundle_with_a_sparse_giant_is_not_read(tmp_path):
    contents = small(tmp_path, weights=False)
    path = contents.write(tmp_path / "bundle")
    sparse(path / "model.safetensors")
    record = json.loads((path / "manifest.json").read_bytes())
    for file in record["files"]:
        file["size"] = GIANT if file["path"] == "model.safetensors" else file["size"]
    (path / "manifest.json").write_bytes(canonicalize(record))
    with pytest.raises(FormatError, match=r"model\.safetensors is sparse"):
        Bundle.open(path)


def test_a_file_that_grows_beyond_its_limit_while_it_is_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"x" * 11)
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*real(fd)[:6], 1, *real(fd)[7:]]))
    with pytest.raises(FormatError, match="expected at most 10"):
        read_bounded(tmp_path / "x", 10)


# -- JSON and TOML


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2)])
def test_json_has_a_depth(raw):
    with pytest.raises(FormatError, match="not strict JSON: "):
        parse_json(raw, where="x")


def test_json_has_a_number_of_values():
    with pytest.raises(FormatError, match="x has too many values"):
        parse_json(b"[" + b"0," * MAX_VALUES + b"0]", where="x")


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e999999999999", "1" * 400 + "." + "1" * 400])
def test_numbers_of_json_are_numbers(number):
    with pytest.raises(FormatError, match="not strict JSON"):
        parse_json(number.encode(), where="x")


@pytest.mark.parametrize("parse", [parse_policy, parse_trust])
@pytest.mark.parametrize(
    "raw",
    [
        b"a = 1e999999999999999999",
        b"a = -1E+9999999999999999999999",
        b"a = " + b"9" * 5000,
        b"a = 0x" + b"f" * 90_000,
        b"a = " + b"[" * 50_000,
        b"a = " + b"{a = " * 50_000,
        b".".join([b"a"] * 200_000) + b" = 1",
        b"[" + b".".join([b"a"] * 200_000) + b"]",
        b"a = 1979-05-27T07:32:00Z",
        b"\0",
        b"\xff\xfe",
    ],
    ids=["exponent", "negative", "digits", "hex", "arrays", "tables", "dots", "header", "time", "null", "utf-16"],
)
def test_toml_that_nobody_writes_is_malformed(parse, raw):
    with pytest.raises(FormatError):
        parse(raw, where="x")


# -- arrays


def test_a_header_that_says_anything_twice_is_refused():
    raw = tensor_bytes({"a": np.ones(2), "b": np.zeros(2)})
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].replace(b'"b"', b'"a"')
    with pytest.raises(FormatError, match="the key 'a' is repeated"):
        parse_tensors(raw[:8] + header + raw[8 + length :], where="x")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**24 + 1, 10_000])
def test_a_header_is_no_longer_than_its_file(length):
    raw = tensor_bytes({"a": np.ones(2)})
    with pytest.raises(FormatError, match=f"its header would have {length} bytes"):
        parse_tensors(length.to_bytes(8, "little") + raw[8:], where="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 2**40}, "units: got 1099511627776, expected at most"),
        ({"degree": 10**6}, "degree: got 1000000, expected at most 64"),
        ({"directions": {"count": 2**50}}, "directions: got 1125899906842624, expected at most"),
        (
            {"informed": {"count": 2**50, "degree": 1, "leading": 0, "power_iterations": 1}},
            "directions: got 1125899906842624",
        ),
        ({"informed": {"count": 2000, "degree": 2, "leading": 2000, "power_iterations": 1}}, "points: got 2001000"),
        ({"informed": {"count": 3, "degree": 65, "leading": 3, "power_iterations": 1}}, "degree: got 65, expected"),
    ],
)
def test_a_manifest_promises_nothing_that_no_machine_holds(tmp_path, change, message):
    record = json.loads(small(tmp_path, weights=False).manifest.to_bytes())
    for name, value in change.items():
        record[name] = {**record[name], **value} if isinstance(value, dict) else value
    with pytest.raises(FormatError, match=message):
        Manifest.from_bytes(canonicalize(record))


# -- linear time


def test_a_step_of_a_request_costs_the_same_whatever_came_before():
    """All states of one request share one list: nothing is copied when it grows."""
    register, now = Register(), datetime(2025, 3, 5, tzinfo=UTC)
    register.apply(0, KEY_CREATED, to_json(KeyCreated(KEY.fingerprint)), time=now)
    due = {"day": "2025-04-01", "rule": "x"}
    body = {"subject": DIGEST, "key": KEY.fingerprint, "nature": "erasure", "source": "email", "received": "2025-03-01"}
    body |= {"by": "officer", "policy": "gdpr", "policy_digest": DIGEST, "respond": due}
    register.apply(1, "request-received", body, time=now)
    step = {"request": "R1", "by": "officer", "on": "2025-03-02"}
    register.apply(2, "request-identity-verified", {**step, "method": "in-person"}, time=now)
    before = register.get("R1")
    for index in range(3, 20_003):
        register.apply(index, "request-assessed", {**step, "decision": "fulfil"}, time=now)
    after = register.get("R1")
    assert (len(before.steps), len(after.steps)) == (2, 20_002)
    assert before.steps._items is after.steps._items
    assert after.last(after.steps[1].event) is after.steps[1]


def test_two_histories_that_part_do_not_see_each_other():
    trail = Trail("ab")
    left, right = trail.then("l"), trail.then("r")
    assert (tuple(trail), tuple(left), tuple(right)) == (("a", "b"), ("a", "b", "l"), ("a", "b", "r"))
    assert left.then("x")[1:] == ("b", "l", "x")
    assert (trail[-1], left[-1], len(trail)) == ("b", "l", 2)
    assert left != right
    assert hash(left) == hash(("a", "b", "l"))


def test_a_value_that_is_there_twice_is_found_without_comparing_all_with_all():
    found = [*range(200_000), 199_999]
    assert "got 199999 twice" in Items(distinct=True).problem(found)


def test_the_limits_are_those_of_the_table(office):
    from pathlib import Path

    table = (Path(__file__).resolve().parents[2] / "SECURITY.md").read_text()
    for limit in (MAX_DOCUMENT >> 20, MAX_NOTE >> 10, MAX_DEPTH, f"{MAX_VALUES:,}"):
        assert f"{limit}" in table
