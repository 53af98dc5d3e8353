"""Work that is killed at any system call that changes files: traced with strace, forked from one process.

strace counts the calls of each process for itself, and kills at the call number `BURNED`. So a child that is to die at
its n-th call of a name first makes ``BURNED - n`` calls of that name that fail and change nothing.

    python -m tests.traced MODULE:FUNCTION PLAN OPTION...   # the plan names for each child a folder and a call
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

BURNED = 60
CLOSED = 999_999
"""A descriptor that nobody has."""
_NOTHING = Path("/nothing/here")
CALLS: dict[str, Callable[[], object]] = {
    "write": lambda: os.write(CLOSED, b"x"),
    "fsync": lambda: os.fsync(CLOSED),
    "ftruncate": lambda: os.ftruncate(CLOSED, 0),
    "fchmod": lambda: os.fchmod(CLOSED, 0o600),
    "chmod": lambda: _NOTHING.chmod(0o600),
    "mkdir": _NOTHING.mkdir,
    "rename": lambda: _NOTHING.rename(_NOTHING),
    "link": lambda: os.link(_NOTHING, _NOTHING),
    "linkat": lambda: os.link(_NOTHING, _NOTHING, follow_symlinks=False),
    "symlink": lambda: _NOTHING.symlink_to("x"),
    "unlink": _NOTHING.unlink,
    "rmdir": _NOTHING.rmdir,
}
"""By system call, something that makes it and fails. What opening a file changes, the calls after it show."""

_PR_SET_PTRACER = 0x59616D61

Call = tuple[str, int]
"""A name, and which call of that name it is, from 1."""


def calls_of(work: str, root: Path, trace: Path) -> list[Call]:
    """The calls that ``work`` makes on the workspace at ``root``, in order; strace writes to ``trace``."""
    (status,) = _children(work, [(root, None)], ["-o", str(trace), "-e", f"trace={','.join(CALLS)}"])
    assert status == 0
    lines = [line.split(maxsplit=1) for line in trace.read_text().splitlines()]
    child = next(process for process, call in lines if call.startswith(f"write({CLOSED},"))  # its first call
    seen: Counter[str] = Counter()
    calls = []
    for process, call in lines:
        name = re.match(r"\w+", call)
        if process == child and name and name[0] in CALLS and not call.startswith(f"write({CLOSED},"):
            seen[name[0]] += 1
            calls.append((name[0], seen[name[0]]))
    return calls


def kill_at(work: str, places: list[tuple[Path, Call]]) -> list[int]:
    """Do ``work`` on each workspace, and be killed at the call beside it; the wait statuses."""
    names = ",".join(CALLS)
    inject = ["-o", "/dev/null", "-e", f"trace={names}", "-e", f"inject={names}:signal=KILL:when={BURNED}"]
    return _children(work, list(places), inject)


def _children(work: str, plan: list[tuple[Path, Call | None]], arguments: list[str]) -> list[int]:
    stored = json.dumps([[str(root), call] for root, call in plan])
    command = [sys.executable, "-m", "tests.traced", work, stored, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _trace_myself(arguments: list[str]) -> None:
    """Let strace follow this process and its children, once everything is imported."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    # with --seccomp-bpf, strace 6.1 injects errors and no signals
    strace = subprocess.Popen(["strace", "-f", "-qq", *arguments, "-p", str(os.getpid())])
    while "TracerPid:\t0" in Path("/proc/self/status").read_text():
        assert strace.poll() is None, "strace may not trace"


def _do(work: Callable[[Path], None], root: Path, call: Call | None) -> int:
    """In a child: burn, then work. Returns what became of it."""
    if (child := os.fork()) == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if call is None:
                with suppress(OSError):
                    os.write(CLOSED, b"x")  # marks the child in the trace
            else:
                for _ in range(BURNED - call[1]):
                    with suppress(OSError):
                        CALLS[call[0]]()
            work(root)
        except BaseException as error:  # noqa: BLE001  a child ends here, whatever happened
            print(repr(error), file=sys.stderr)  # noqa: T201
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def may_trace() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0
    )


if __name__ == "__main__":
    module, function = sys.argv[1].split(":")
    wanted = getattr(importlib.import_module(module), function)
    _trace_myself(sys.argv[3:])
    found = [_do(wanted, Path(root), None if call is None else tuple(call)) for root, call in json.loads(sys.argv[2])]
    sys.stdout.write(json.dumps(found))
