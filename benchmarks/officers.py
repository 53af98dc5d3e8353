"""Officers who are killed at every system call that changes files: certificates, releases and proofs survive.

    python -m benchmarks.officers

Each of them certifies, certifies an absence, registers a release, or proves an entry, is traced with strace once, and
then killed at each of its calls on a fresh copy of the workspace. Ends with an error if anything recorded is not on
disk, a log does not verify, or what was left cannot be finished, with its delta spent once. Needs strace.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.office.killed import CASES, changes_of, killed_at, workspace


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as scratch:
        office = workspace(Path(scratch))
        for work in CASES:
            calls = changes_of(office, work)
            since = time.perf_counter()
            states = killed_at(office, work, calls)
            names = ", ".join(f"{count} {name}" for name, count in sorted(Counter(name for name, _ in calls).items()))
            print(f"{work}: killed at {len(calls)} calls ({names}), {time.perf_counter() - since:.0f} s")
            print(f"  left (in the log, on disk): {sorted(states)}; all finished", flush=True)


if __name__ == "__main__":
    main()
