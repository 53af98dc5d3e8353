"""What a second process gains: sketches and a retraining audit in one process and in two, each with one thread.

    python benchmarks/ranks.py [--kinds forward,reverse,solo,audit] [--repeats 3]

The digits example with every image a unit, for 40 steps. What is timed is the work that is spread, without the start of
Python and tracing, which every process does at the same time: seconds of the processor in the process that took
longest, which neighbours on the machine change little, and seconds on the clock. One process and two take turns. Prints
a markdown table: the median, and in brackets the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unlearnkit.examples import digits

import unlearnkit as uk
from unlearnkit.signing.keys import Algorithm, PrivateKey, write_private_key, write_public_key
from unlearnkit.sketching.shelf import Shelf

NOTES = "RANKS_BENCHMARK_NOTES"
SKETCHES = {
    "forward": ("512 directions, degree 2", ("--directions", "512", "--degree", "2")),
    "reverse": ("40 margins, rank 64, residual 32", ("--reverse", "margins:64:32")),
    "solo": ("1000 units, degree 2", ("--solo", "2")),
}
AUDIT = ("100 retrainings", ("--size", "1:10", "--count", "100"))


def recipe() -> uk.Recipe:
    """The example; in a process that is timed, it notes what the work takes that is spread."""
    if folder := os.environ.get(NOTES):
        file = Path(folder, os.environ.get("RANK", "0"))
        Shelf.spread = timed(Shelf.spread, file)  # type: ignore[method-assign]
    return made()


def made() -> uk.Recipe:
    """The example, for two epochs."""
    return digits.images_as_units().replace(epochs=2)


def timed(spread: Callable[..., None], file: Path) -> Callable[..., None]:
    """``spread``, and its seconds of the processor and on the clock so far in a file."""
    taken = [0.0, 0.0]

    def spread_and_timed(*arguments: Any) -> None:  # noqa: ANN401
        processor, clock = time.process_time(), time.perf_counter()
        spread(*arguments)
        taken[0] += time.process_time() - processor
        taken[1] += time.perf_counter() - clock
        file.write_text(json.dumps(taken))

    return spread_and_timed


def seconds(folder: Path, arguments: list[str], processes: int) -> list[float]:
    """Of the processor, and on the clock, in the process that took longest."""
    notes = Path(tempfile.mkdtemp(dir=folder))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] * (processes == 2)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", NOTES: str(notes)}
    command = [sys.executable, *launcher, "-m", "unlearnkit", *arguments]
    subprocess.run(command, check=True, env=environment, capture_output=True)  # noqa: S603
    found = [json.loads(file.read_text()) for file in notes.iterdir()]
    assert len(found) == processes
    return [max(column) for column in zip(*found, strict=True)]


def sketching(folder: Path, options: tuple[str, ...]) -> list[str]:
    """The arguments of a sketch to a place of its own."""
    place = Path(tempfile.mkdtemp(dir=folder), "bundle")
    return ["sketch", f"{__file__}:recipe", "-o", str(place), "--seed", "1", "--device", "cpu", *options]


def auditing(folder: Path, options: tuple[str, ...]) -> list[str]:
    """The arguments of an audit of a small bundle."""
    keys, bundle = (folder / "key.pem", folder / "key.pub.pem"), folder / "bundle"
    if not bundle.exists():
        key = PrivateKey.generate(Algorithm.P256)
        write_private_key(keys[0], key)
        write_public_key(keys[1], key.public)
        uk.sketch(made(), bundle, reverse={"test_loss": uk.Reverse(rank=0, residual=0)}, signer=key, device="cpu")
    out = Path(tempfile.mkdtemp(dir=folder), "evidence.json")
    signing = ["--key", str(keys[0]), "--trust", str(keys[1])]
    return ["audit", "retrain", str(bundle), f"{__file__}:recipe", *signing, "-o", str(out), *options]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default="forward,reverse,solo,audit")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| work | one process | two | ratio, processor | ratio, clock |\n| --- | --- | --- | --- | --- |")
    for kind in options.kinds.split(","):
        title, settings = AUDIT if kind == "audit" else SKETCHES[kind]
        arguments = auditing if kind == "audit" else sketching
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = [[seconds(folder, arguments(folder, settings), n) for n in (1, 2)] for _ in range(options.repeats)]
        ratios = [spread([one[i] / two[i] for one, two in rows], 2) for i in (0, 1)]
        alone, both = (spread([row[n][0] for row in rows], 1) for n in (0, 1))
        print(f"| {kind}: {title} | {alone} s | {both} s | {ratios[0]} | {ratios[1]} |", flush=True)


def spread(found: list[float], digits: int) -> str:
    """Median, smallest and largest."""
    low, middle, high = (f"{x:.{digits}f}" for x in (min(found), statistics.median(found), max(found)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
