"""Officers who are killed at every system call that changes files: certificates, releases and proofs survive.

    python -m benchmarks.officers

Each of them certifies, certifies an absence, registers a release, or proves an entry, is traced with strace once, and
then killed at each of its calls on a fresh copy of the workspace. Ends with an error if anything recorded is not on
disk, a log does not verify, or what was left cannot be finished, with its delta spent once. Needs strace.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.office.killed import CASES, killed_everywhere, workspace
from tests.traced import calls_of


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        office = workspace(folder)
        for work in CASES:
            whole = Path(shutil.copytree(office.root, folder / f"whole-{work}", symlinks=True))
            calls = calls_of(f"tests.office.officer:{work}", whole, folder / "trace")
            since = time.perf_counter()
            found = killed_everywhere(office, work, calls)
            names = ", ".join(f"{count} {name}" for name, count in sorted(Counter(name for name, _ in calls).items()))
            print(f"{work}: killed at {found.calls} calls ({names}), {time.perf_counter() - since:.0f} s")
            print(f"  left (in the log, on disk): {sorted(found.states)}; all finished", flush=True)


if __name__ == "__main__":
    main()
