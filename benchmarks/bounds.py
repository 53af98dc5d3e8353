"""How often certified bounds fail, and how wide they are: a simulation with functions whose terms are known.

    python benchmarks/bounds.py [--trials 2000]

For each setting: the share of failures, the probability of that many or more if the true rate were delta (the largest
it may be), and the median epsilon over the 95th percentile of the actual error. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from verifier.simulation import KINDS, Outcome, averaged, left_out, projected

from unlearnkit.errors import EstimationError

DELTA = 0.05
UNITS = (20, 100, 1000)
COUNTS = (16, 64, 256, 512)
METHODS = ("catoni", "median-of-means")
_BLOCK = 250  # trials at once


def main() -> None:
    """All settings, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    trials = parser.parse_args().trials
    print(f"{trials} trials a setting, delta {DELTA}\n")
    print("| bound | units | directions | f | failures | p | epsilon / error |")
    print("|---|---|---|---|---|---|---|")
    total = failed = 0
    for name, settings, simulate in cases():
        blocks = [simulate(trials=min(_BLOCK, trials - i), **settings) for i in range(0, trials, _BLOCK)]
        outcome = Outcome(
            *(np.concatenate(parts) for parts in zip(*((b.error, b.epsilon) for b in blocks), strict=True))
        )
        chance = float(binom.sf(outcome.failures - 1, trials, DELTA))
        total, failed = total + 1, failed + (chance < 1e-3)
        share = f"{outcome.failures / trials:.3f}"
        place = f"{settings['units']} | {settings['count']} | {settings['kind']}"
        print(f"| {name} | {place} | {share} | {chance:.2g} | {outcome.ratio:.2f} |", flush=True)
    print(f"\n{total} settings; {failed} with more failures than delta allows (p below 0.001)")


def cases() -> Iterator[tuple[str, dict, Callable[..., Outcome]]]:
    """Every setting that has a certified bound."""
    for kind in KINDS:
        for units in UNITS:
            for count in COUNTS:
                shared = {"kind": kind, "units": units, "count": count, "delta": DELTA, "rng": np.random.default_rng(0)}
                if 2 * count < units:
                    yield "degree 1, projection", shared, projected
                for method in METHODS:
                    yield from _averaged(method, shared)


def _averaged(method: str, shared: dict) -> Iterator[tuple[str, dict, Callable[..., Outcome]]]:
    for degree in (2, 3):
        settings = {**shared, "degree": degree, "method": method}
        if _has_bound(averaged, settings):
            yield f"degree {degree}, {method}", settings, averaged
    settings = {**shared, "method": method}
    if _has_bound(left_out, settings):
        yield f"what rank leaves out, {method}", settings, left_out


def _has_bound(simulate: Callable[..., Outcome], settings: dict) -> bool:
    try:
        simulate(trials=1, **settings)
    except EstimationError:
        return False
    return True


if __name__ == "__main__":
    main()
