"""Two writers of one log that are killed at random, a thousand times: every entry that was acknowledged is there.

    python -m benchmarks.kills [--kills N] [--seed SEED] [--directory DIR]

Each round, two processes record, acknowledge and sign; one is killed by SIGKILL after a random time, the other told to
stop. Between rounds the log is damaged beyond what is signed, as a disk without power does: cut, or zeroed to its end.
Ends with an error if an acknowledged entry was not there before the damage, or a signed one was lost by anything.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.reader import LOG_FILE, read_entries
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.signing.keys import Algorithm, PrivateKey

_KEY = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
_LONGEST = 0.05  # seconds before a kill
_SIGN_EVERY = 8


def main() -> int:
    """Run the rounds, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills (default: 0)")
    parser.add_argument("--directory", type=Path, help="where to write (default: where temporary files go)")
    options = parser.parse_args()
    draw = random.Random(options.seed)  # noqa: S311  of times, not of secrets
    wrong, taken, promised, signed = [], 0, 0, b""
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        log = AuditLog.create(Path(folder) / "log", key=_KEY)
        log.checkpoint()
        for number in range(options.kills):
            acknowledged = _round(Path(folder), draw, number)
            promised += len(acknowledged)
            wrong += [f"round {number}: {what}" for what in _lost(log.path, acknowledged)]
            wrong += (
                [] if (log.path / LOG_FILE).read_bytes().startswith(signed) else [f"round {number}: a signed entry"]
            )
            signed, lost = _damaged(log.path, draw)
            taken += lost
        AuditLog.open(log.path, key=_KEY).checkpoint()
        found = verify_log(log.path, log=_KEY.public)
        aside = list((log.path / "set-aside").glob("*")) if (log.path / "set-aside").exists() else []
    print(f"{'kills':<34} {options.kills}")
    print(f"{'acknowledged entries':<34} {promised}")
    print(f"{'entries in the log, all signed':<34} {found.size}")
    print(f"{'unsigned entries that damage took':<34} {taken}")
    print(f"{'pieces set aside':<34} {len(aside)}")
    print(f"{'lost':<34} {len(wrong)}")
    print("\n".join(wrong))
    return 1 if wrong else 0


def _round(folder: Path, draw: random.Random, number: int) -> list[tuple[int, int]]:
    """Two writers, one of which is killed, then the other is told to stop; what both acknowledged."""
    files = [folder / "first", folder / "second"]
    writers = [_started(folder / "log", file, number * 2 + which) for which, file in enumerate(files)]
    time.sleep(draw.random() * _LONGEST)
    victim = draw.randrange(2)
    os.kill(writers[victim], signal.SIGKILL)
    os.kill(writers[1 - victim], signal.SIGTERM)
    for writer in writers:
        os.waitpid(writer, 0)
    lines = [line.split() for file in files for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n"]
    return [(int(index), int(value)) for index, value in lines]


def _started(path: Path, file: Path, name: int) -> int:
    """A process that records until it is told to stop, and writes what was acknowledged into a file."""
    file.write_bytes(b"")
    if (child := os.fork()) != 0:
        return child
    try:
        stopped: list[int] = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        log = AuditLog(path, key=_KEY)
        with file.open("a", buffering=1) as out:
            count = 0
            while not stopped:
                value = name * 1_000_000 + count
                out.write(f"{log.record('note', {'n': value}).index} {value}\n")
                count += 1
                if count % _SIGN_EVERY == 0:
                    log.checkpoint()
    finally:
        os._exit(0)


def _lost(path: Path, acknowledged: list[tuple[int, int]]) -> list[str]:
    """What is not there, or is another, of what was acknowledged."""
    there = {entry.index: entry.body.get("n") for entry in read_entries(path)}
    return [f"entry {index} is {there.get(index)}, {value} was acknowledged" for index, value in acknowledged
            if there.get(index) != value]  # fmt: skip


def _damaged(path: Path, draw: random.Random) -> tuple[bytes, int]:
    """Damage the end beyond what is signed. Gives the signed lines, and how many whole unsigned ones that took."""
    raw, signed = (path / LOG_FILE).read_bytes(), verify_log(path, log=_KEY.public).checkpoint.size
    lines = raw.splitlines(keepends=True)
    floor = len(b"".join(lines[:signed]))
    if floor == len(raw) or draw.random() < 0.5:
        return raw[:floor], 0
    begin = draw.randrange(floor, len(raw))
    damaged = raw[:begin] if draw.random() < 0.5 else raw[:begin] + bytes(len(raw) - begin)
    (path / LOG_FILE).write_bytes(damaged)
    return raw[:floor], len(lines) - damaged[:begin].count(b"\n")


if __name__ == "__main__":
    sys.exit(main())
