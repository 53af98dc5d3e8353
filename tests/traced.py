"""Work in a child process that strace kills, or fails, at its n-th call of a name to the system."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]

FAILING = ("openat", "mkdir", "flock", "read", "pread64", "write", "fsync", "ftruncate", "fchmod", "chmod", "rename",
           "linkat", "link", "unlink")  # fmt: skip
"""Calls that may fail with EIO or ENOSPC."""
_READY = 5.0  # seconds in which strace has attached


def may_trace() -> bool:
    """Whether strace is there and may trace."""
    if shutil.which("strace") is None:
        return False
    return calls_of(os.getpid) != []


def calls_of(work: Work) -> list[tuple[str, int]]:
    """Each call to the system that ``work`` makes, by name, and which one of that name it is, from 1."""
    text, _ = _run(work, [])
    seen: Counter[str] = Counter()
    found = []
    for name in re.findall(r"^(?:\d+ +)?(\w+)\(", text, re.MULTILINE):
        seen[name] += 1
        found.append((name, seen[name]))
    return found


def with_fault(work: Work, name: str, number: int, fault: str) -> int:
    """How ``work`` ends with a fault at that call, as strace names it: its exit code, negative for a signal."""
    return _run(work, ["-e", f"inject={name}:{fault}:when={number}"])[1]


def _run(work: Work, options: list[str]) -> tuple[str, int]:
    """The trace, and how the child ended."""
    child = os.fork()
    if child == 0:
        _do(work)
    os.waitpid(child, os.WUNTRACED)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "trace"
        command = ["strace", "-qq", "-o", str(place), *options, "-p", str(child)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _until_attached(child, tracer)
        os.kill(child, signal.SIGCONT)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tracer.wait()
        return place.read_text() if place.exists() else "", code


def _do(work: Work) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        work()
    except OSError:
        os._exit(1)
    except BaseException:  # noqa: BLE001  a child ends here, whatever happened
        os._exit(2)
    os._exit(0)


def _until_attached(child: int, tracer: subprocess.Popen[bytes]) -> None:
    """Wait for the tracer, or for its end where it may not trace."""
    status, end = Path(f"/proc/{child}/status"), time.monotonic() + _READY
    while time.monotonic() < end and tracer.poll() is None:
        if f"TracerPid:\t{tracer.pid}" in status.read_text():
            return
        time.sleep(0.001)
