"""Fault injection: an append is traced with strace, and repeated with a crash and an error at every call it makes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from tests import needs
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.log.reader import read_entries
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.signing.keys import Algorithm, PrivateKey

KEY = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
WORKER = """
import os, sys
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
log = {opening}(sys.argv[1])
for n in (10, 11):
    log.record_many([draft("note", {{"n": n}}), draft("note", {{"n": n}})])
    os.write(1, b"%d\\n" % n)  # acknowledged
"""
CALLS = "openat,mkdir,flock,read,pread64,write,fsync,fdatasync,ftruncate,newfstatat,fstat,lseek,rename,close"
CAN_FAIL = {"openat", "mkdir", "flock", "read", "pread64", "write", "fsync", "ftruncate", "close"}


def strace(arguments: list[str], folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` on the log in ``folder``; only calls on its files are traced, and counted for injection.

    Not every strace injects a signal where a filter of the kernel picks the calls, so whoever is to be killed has none.
    """
    fast = [] if any("signal=" in argument for argument in arguments) else ["--seccomp-bpf"]
    names = ("log.jsonl", "set-aside", "")
    paths = [argument for name in names for argument in ("-P", str(folder / name).rstrip("/"))]
    command = ["strace", "-f", *fast, "-qq", *arguments, *paths, "-P", str(folder.parent)]
    command += [sys.executable, "-c", script, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def tracing():
    """Skips where strace may not trace."""
    if subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not trace here")


def calls_of(trace: str) -> list[tuple[str, int]]:
    """Each traced call by name, and which one of that name it is, from 1."""
    seen: Counter[str] = Counter()
    calls = []
    for name in re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE):
        seen[name] += 1
        calls.append((name, seen[name]))
    return calls


def prepared(folder: Path, *, torn: bool) -> Path:
    log = AuditLog.create(folder / "log")
    log.record_many(draft("note", {"n": n}) for n in range(3))
    if torn:
        publish_checkpoint(log, KEY)
        with (log.path / "log.jsonl").open("ab") as file:
            file.write(b'{"body":{"n":3},"ind')
    return log.path


@needs.program("strace")
@pytest.mark.parametrize(
    ("start", "fault"),
    [*product(["clean", "torn", "absent"], ["signal=KILL", "error=EIO"]), ("clean", "error=ENOSPC")],
)
def test_after_a_fault_at_any_call_the_log_opens_and_has_every_acknowledged_entry(tracing, tmp_path, start, fault):
    script = WORKER.format(opening="AuditLog.create" if start == "absent" else "AuditLog.open")

    def folder(name: str) -> Path:
        (tmp_path / name).mkdir()
        return tmp_path / name / "log" if start == "absent" else prepared(tmp_path / name, torn=start == "torn")

    before = 0 if start == "absent" else 3
    traced = strace(["-e", f"trace={CALLS}", "-o", str(tmp_path / "trace")], folder("plain"), script)
    assert traced.stdout.split() == ["10", "11"], traced.stderr
    calls = calls_of((tmp_path / "trace").read_text())
    assert {"openat", "flock", "write", "fsync", "close"} <= {name for name, _ in calls}
    faulty = [call for call in calls if fault == "signal=KILL" or call[0] in CAN_FAIL]
    for name, number in faulty:
        log = folder(f"{name}-{number}")
        inject = ["-e", f"trace={CALLS}", "-e", f"inject={name}:{fault}:when={number}", "-o", "/dev/null"]
        done = strace(inject, log, script)
        assert "Traceback" not in done.stderr or "OSError" in done.stderr, done.stderr
        assert fault != "signal=KILL" or done.returncode == -signal.SIGKILL
        check(log, before, [int(n) for n in done.stdout.split()], may_be_absent=start == "absent")


def check(path: Path, before: int, acknowledged: list[int], *, may_be_absent: bool) -> None:
    """Every acknowledged pair is there, in order; beyond it at most lines of the commit that failed."""
    if may_be_absent and not acknowledged and not (path / "log.jsonl").exists():
        AuditLog.create(path)
    log = AuditLog.open(path)
    entries = list(read_entries(path))
    found = [entry.body["n"] for entry in entries if entry.type == "note"]
    promised = [*range(before), *(n for n in acknowledged for _ in range(2))]
    assert found[: len(promised)] == promised
    rest = found[len(promised) :]
    assert rest == [*(n for n in (10, 11) for _ in range(2))][len(promised) - before :][: len(rest)]
    assert log.record("note", {"n": 99}).index == len(entries)
    publish_checkpoint(log, KEY)
    assert verify_log(path, log=KEY.public).size == len(entries) + 1
