"""The audit log against a bare ``write + fsync`` loop of the same lines, and against itself when it is long.

    python benchmarks/log.py [--directory DIR] [--entries N]

DIR must be on the disk in question (a directory in memory has nothing to sync). Each measurement alternates with the
bare loop in short rounds, because disks and neighbours are not steady; ratios are of total times. Takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.signing.keys import Algorithm, PrivateKey

BODY = {"by": "privacy-officer", "method": "account-login", "on": "2025-03-05", "request": "R123456"}
KIND = "request-identity-verified"
ROUNDS = 12
THREADS = 64


def main() -> None:
    """Run everything, and print one line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path.cwd(), help="where to write (default: here)")
    parser.add_argument("--entries", type=int, default=1_000_000, help="length of the long log (default: 1000000)")
    arguments = parser.parse_args()
    with scratch(arguments.directory) as folder:
        throughput(folder)
        key = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
        short, long = AuditLog.create(folder / "short"), AuditLog.create(folder / "long")
        fill(short, 10)
        report(
            "filling with record_many",
            f"{arguments.entries} entries in {timed(lambda: fill(long, arguments.entries)):.1f} s",
        )
        latency(short, long, arguments.entries)
        verification(long, key)


def throughput(folder: Path) -> None:
    """Durable appends a second: alone, with many threads, and many at once."""
    log = AuditLog.create(folder / "log")
    lines = [log.record(KIND, BODY).line for _ in range(300)]
    loops: dict[str, tuple[Callable[[], None], int]] = {
        "record, one thread": (lambda: record(log, 300), 300),
        f"record, {THREADS} threads": (lambda: record_in_threads(log, 100), 100 * THREADS),
        "record_many of 1000": (lambda: record_many(log, 1000), 1000),
    }
    for name, (loop, count) in loops.items():
        bare = ours = 0.0
        for _ in range(ROUNDS):
            bare += timed(lambda: write_and_sync(folder / "bare", lines)) / len(lines)
            ours += timed(loop) / count
        rates = f"{ROUNDS / ours:,.0f} entries a second, bare loop {ROUNDS / bare:,.0f}"
        report(name, f"{rates}: {bare / ours:.2f} times")


def latency(short: AuditLog, long: AuditLog, entries: int) -> None:
    """Time of one append to a short and to a long log, alternating; the log is opened anew for each round."""
    times: dict[str, list[float]] = {"short": [], "long": []}
    for _ in range(ROUNDS):
        for name, log in (("short", short), ("long", long)):
            opened = AuditLog.open(log.path)
            times[name] += [timed(lambda: record(opened, 1)) for _ in range(100)]  # noqa: B023 - called at once
    first, last = (1e6 * statistics.median(times[name]) for name in ("short", "long"))
    report(
        "median append", f"{first:.0f} us after 10 entries, {last:.0f} us after {entries:,}: {last / first:.2f} times"
    )
    opening = [timed(lambda: AuditLog.open(long.path)) for _ in range(ROUNDS)]
    report("opening the long log", f"{1e3 * statistics.median(opening):.1f} ms")


def verification(log: AuditLog, key: LogKey) -> None:
    """Everything recomputed from the bytes, and how much memory that took."""
    seconds = timed(lambda: publish_checkpoint(log, key))
    report("checkpoint", f"{seconds:.1f} s, verification included")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = timed(lambda: verify_log(log.path, log=key.public))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    size = (log.path / "log.jsonl").stat().st_size / 2**20
    report("verification", f"{seconds:.1f} s for {size:.0f} MiB, taking {grown:.0f} MiB more memory than before")


def fill(log: AuditLog, count: int) -> None:
    """Append entries, 1000 at once."""
    for begin in range(0, count, 1000):
        record_many(log, min(1000, count - begin))


def record(log: AuditLog, count: int) -> None:
    """Append one entry after the other."""
    for _ in range(count):
        log.record(KIND, BODY)


def record_many(log: AuditLog, count: int) -> None:
    """Append entries at once."""
    log.record_many(draft(KIND, BODY) for _ in range(count))


def record_in_threads(log: AuditLog, count: int) -> None:
    """Append from many threads, each one entry after the other."""
    threads = [threading.Thread(target=record, args=(log, count)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def write_and_sync(path: Path, lines: list[bytes]) -> None:
    """What it takes at least to bring lines to disk one by one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for line in lines:
        os.write(descriptor, line)
        os.fsync(descriptor)
    os.close(descriptor)


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def report(name: str, result: str) -> None:
    """One line."""
    print(f"{name:<26} {result}", flush=True)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A directory that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".benchmark-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
