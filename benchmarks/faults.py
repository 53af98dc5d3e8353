"""Signing and repairing a log, killed and failed at every call to the system, under strace.

    python -m benchmarks.faults [--directory DIR]

Each is traced once; then it is done again for each call that was seen, killed there (SIGKILL), and for calls that may
fail, with EIO and with ENOSPC there. After each fault the log has all that was signed, and the next try succeeds. Ends
with an error if not. Linux with strace.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.attacks.faulted import Trial, tried
from tests.traced import may_trace


def main() -> int:
    """Sign and repair with every fault, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to write (default: where temporary files go)")
    options = parser.parse_args()
    if not may_trace():
        print("strace is not there, or may not trace")
        return 2
    everything: list[str] = []
    for name, damaged in (("signing", False), ("repairing", True)):
        with tempfile.TemporaryDirectory(dir=options.directory) as folder:
            counts, wrong = tried(Trial.made(Path(folder), damaged=damaged))
        everything += [f"{name}: {what}" for what in wrong]
        for kind, count in sorted(counts.items()):
            print(f"{name + ', ' + kind:<48} {count}")
    print(f"{'lost or stuck':<48} {len(everything)}")
    print("\n".join(everything))
    return 1 if everything else 0


if __name__ == "__main__":
    sys.exit(main())
