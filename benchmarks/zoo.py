"""Whether sketches of many architectures start from the plain run, and move as retraining does.

    python benchmarks/zoo.py                  # all of them, within an hour
    python benchmarks/zoo.py BERT "GPT-2"     # some

Of ``transformers``, and of torch's own layers: tiny, randomly initialised, two steps of AdamW with torch's defaults,
clipping and dropout (`tests/zoo/runs.py`). Base: relative difference between the constant term in float32 and the plain
run there. First orders: relative difference from finite differences of `uk.retrain(weight=h)` in float64.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import unlearnkit as uk
from tests.zoo.runs import ZOO, deleted, plain, recipe, slope


def measured(name: str, folder: Path) -> list[float]:
    """Base, forward and reverse first order: how far off, relatively; and seconds of all three sketches."""
    made, start, keep = recipe(name), time.perf_counter(), {"device": "cpu", "progress": False}
    rough = uk.sketch(made, folder / "float32", **keep).probe("loss")
    forward = uk.Forward(directions=deleted()[None] + 0j, degree=1)
    pushed = uk.sketch(made, folder / "forward", forward=forward, dtype="float64", **keep).probe("loss")
    swept = uk.sketch(made, folder / "reverse", dtype="float64", **keep).probe("loss")
    seconds, real = time.perf_counter() - start, slope(made)
    found = [pushed.coefficients[0].real.item(), float(swept.reverse.gradient[0] @ deleted())]
    base = plain(made, 0.0, "float32")
    return [abs(float(rough.base) / base - 1), *(abs(order / real - 1) for order in found), seconds]


def main() -> None:
    """Print the table, model by model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ZOO))
    os.environ["HF_HUB_OFFLINE"] = "1"
    print("| model | base | forward | reverse | seconds |\n| --- | --- | --- | --- | --- |")
    rows = []
    for name in parser.parse_args().names:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(name, Path(folder)))
        *errors, seconds = rows[-1]
        print(f"| {name} | {' | '.join(f'{error:.1e}' for error in errors)} | {seconds:.0f} |", flush=True)
    largest = np.max(rows, axis=0)
    print(f"| largest of {len(rows)} | {' | '.join(f'{error:.1e}' for error in largest[:-1])} | |")


if __name__ == "__main__":
    main()
