"""Signing and repairing with a fault at every call to the system: what was signed stays, and the next try succeeds."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests import needs
from tests.attacks.faulted import Trial, tried
from tests.traced import may_trace
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.clock import utc_now
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.repair import repair
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.signing.keys import Algorithm, PrivateKey

KEY = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
CALLS = ("open", "write", "fsync", "replace", "fchmod", "mkdir", "ftruncate", "link", "unlink")


class Stopped(BaseException):
    """As if the process had been killed: nothing that handles errors handles this."""


@pytest.fixture
def log(tmp_path):
    """Five entries that are signed, three that are not, and a torn line."""
    log = AuditLog.create(tmp_path / "log", key=KEY)
    log.record_many(draft("note", {"n": n}) for n in range(5))
    log.checkpoint()
    log.record_many(draft("note", {"n": n}) for n in range(5, 8))
    with (log.path / "log.jsonl").open("ab") as file:
        file.write(b'{"body":{"n":8')
    return log


def fresh(log: AuditLog, place: Path) -> AuditLog:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(log.path.parent, place)
    return AuditLog(place / "log", key=KEY)


def faulty(monkeypatch, call: str, number: int, error: BaseException) -> list[int]:
    """The ``number``-th call of that name raises; counts the calls."""
    real, made = getattr(os, call), [0]

    def at(*arguments: object, **options: object) -> object:
        made[0] += 1
        if made[0] == number:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, at)
    return made


def every_fault(log: AuditLog, place: Path, act, check) -> int:
    """Do something with each fault at each call; how many faults there were."""
    tried = 0
    for call in CALLS:
        for error in (OSError(errno.EIO, "Input/output error"), OSError(errno.ENOSPC, "No space left"), Stopped()):
            number, reached = 1, True
            while reached:
                copy = fresh(log, place)
                with pytest.MonkeyPatch.context() as patch:
                    made = faulty(patch, call, number, error)
                    try:
                        act(copy)
                    except (OSError, Stopped):
                        tried += 1
                reached = made[0] >= number
                check(copy)
                number += 1
    return tried


def notes(log: AuditLog) -> list[int]:
    return [entry.body["n"] for entry in log.entries() if entry.type == "note"]


def test_signing_with_a_fault_at_any_call_loses_nothing_and_the_next_try_signs(log, tmp_path):
    signed = b"".join((log.path / "log.jsonl").read_bytes().splitlines(keepends=True)[:5])

    def check(copy: AuditLog) -> None:
        assert (copy.path / "log.jsonl").read_bytes().startswith(signed)
        assert verify_log(copy.path, log=KEY.public).checkpoint.size >= 5
        copy.record("note", {"n": 99})
        assert notes(copy) == [*range(8), 99]
        assert copy.checkpoint().size == len(list(copy.entries()))

    assert every_fault(log, tmp_path / "copy", lambda copy: copy.checkpoint(), check) > 20


def test_repairing_with_a_fault_at_any_call_loses_nothing_and_the_next_try_repairs(log, tmp_path):
    whole = (log.path / "log.jsonl").read_bytes()
    signed = b"".join(whole.splitlines(keepends=True)[:5])
    (tmp_path / "backup").write_bytes(whole)
    (log.path / "log.jsonl").write_bytes(whole[:200] + bytes(512) + whole[712:])
    damaged = (log.path / "log.jsonl").read_bytes()

    def act(copy: AuditLog) -> None:
        repair(copy.path, log=KEY.public, now=utc_now, source=tmp_path / "backup")

    def check(copy: AuditLog) -> None:
        found = (copy.path / "log.jsonl").read_bytes()
        assert found == damaged or found.startswith(signed)
        act(copy)
        assert (copy.path / "log.jsonl").read_bytes().startswith(signed)
        assert any(file.read_bytes() in damaged for file in (copy.path / "set-aside").glob("[0-9]*"))
        assert notes(copy) == list(range(8))
        assert copy.checkpoint().size == len(list(copy.entries()))

    assert every_fault(log, tmp_path / "copy", act, check) > 15


def test_writes_that_are_cut_short_are_gone_on_with(log, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[: max(1, len(data) // 3)]))
    log.record_many(draft("note", {"n": n}) for n in range(8, 40))
    assert notes(log) == list(range(40))
    assert log.checkpoint().size == 41


@needs.program("strace")
@pytest.mark.parametrize("damaged", [False, True], ids=["signing", "repairing"])
def test_a_kill_or_an_error_at_a_call_that_brings_something_to_disk_loses_nothing(tmp_path, damaged):
    """Every call, and every fault of it: `python -m benchmarks.faults`."""
    if not may_trace():
        pytest.skip("strace may not trace here")
    counts, wrong = tried(Trial.made(tmp_path, damaged=damaged), lambda name: name in ("fsync", "rename"))
    assert wrong == []
    assert counts["signal=KILL, which ended it"] >= 5
    assert counts["error=EIO, which ended it"] >= 5
