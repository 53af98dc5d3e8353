"""The fuzzer of the tests with a larger budget: what came of the inputs, the longest time, the largest memory.

    python -m benchmarks.fuzz [--inputs N] [--seed SEED]

Everything that is verified is changed by bytes, by structure and by type, and signed and logged again. Ends with an
error if anything but a verdict came of an input.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.attacks.fuzzing import Office, fuzz

_ROUND = 1


def main() -> int:
    """Try inputs in rounds, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round (default: 0)")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    defects: list[str] = []
    longest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        before = _peak()
        for number in range(options.inputs // _ROUND):
            begin = time.perf_counter()
            outcome = fuzz(office, seed=options.seed + number, count=_ROUND)
            longest = max(longest, (time.perf_counter() - begin) / _ROUND)
            counts += outcome.counts
            defects += outcome.defects
    for name, count in sorted(counts.items()):
        print(f"{name:<24} {count}")
    print(f"{'longest':<24} {longest:.3f} s")
    print(f"{'memory beyond the start':<24} {_peak() - before} MiB")
    print(f"{'defects':<24} {len(defects)}")
    print("\n".join(defects))
    return 1 if defects else 0


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    sys.exit(main())
