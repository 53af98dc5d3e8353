"""Work that is killed before its n-th operation on the disk: a child process each, so that nothing is started anew."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CHANGES = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir"}  # audit events; os.replace reports os.rename
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CALLS = ("fsync", "write", "ftruncate")

Work = Callable[[], None]


def watch(folder: Path, act: Work, calls: tuple[str, ...] = CALLS) -> None:
    """Call ``act`` before each operation of this process that changes the folder, and before these calls."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & WRITING
        if (writes and str(args[0]).startswith(str(folder))) or event in CHANGES:
            act()

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            act()
            return real(*args)

        return call

    sys.addaudithook(hook)
    for name in calls:
        setattr(os, name, watched(getattr(os, name)))


def in_child(work: Work) -> int:
    """Do something in a child process. Returns its exit status, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  a child ends here, whatever happened
            print(repr(error), file=sys.stderr)  # noqa: T201
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def operations_of(folder: Path, work: Work, calls: tuple[str, ...] = CALLS) -> int:
    """How many operations ``work`` takes."""
    reading, writing = os.pipe()
    write = os.write

    def counted() -> None:
        watch(folder, lambda: write(writing, b".") and None, calls)
        work()

    assert in_child(counted) == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return len(pipe.read())


def killed_before(nth: int, folder: Path, work: Work, calls: tuple[str, ...] = CALLS) -> int:
    """The exit status of ``work`` in a child that is killed before its n-th operation."""
    left = [nth]

    def act() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        watch(folder, act, calls)
        work()

    return in_child(killed)
