"""What a second process gains: sketches and a retraining audit in one process and in two, each with one thread.

    python benchmarks/ranks.py [--kinds first,forward,reverse,solo,audit] [--repeats 3]

The digits example with every image a unit, for 40 steps; first orders at a model in which products dominate, the
perceptron of `benchmarks/first_order.py` with 284,682 weights, for 60. What is timed is all stages of a sketch, the
plain run among them, or all retrainings, without the start of Python and tracing, which every process does at the same
time: seconds of the processor in the process that took longest, which neighbours on the machine change little, and
seconds on the clock. One process and two take turns. Prints a markdown table: the median, and in brackets the smallest
and largest.
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

import first_order  # type: ignore[import-not-found]  # beside this file
from unlearnkit.examples import digits

import unlearnkit as uk
from unlearnkit.signing.keys import Algorithm, PrivateKey, write_private_key, write_public_key
from unlearnkit.sketching.shelf import Shelf
from unlearnkit.sketching.stages import Stages
from unlearnkit.taylor.function import JetFunction

NOTES = "RANKS_BENCHMARK_NOTES"
SKETCHES = {
    "first": ("first order: 40 elements", ("--reverse", "logits:0:0")),
    "forward": ("512 directions, degree 2", ("--directions", "512", "--degree", "2")),
    "reverse": ("40 margins, rank 64, residual 32", ("--reverse", "margins:64:32")),
    "solo": ("1000 units, degree 2", ("--solo", "2")),
}
AUDIT = ("100 retrainings", ("--size", "1:10", "--count", "100"))


def recipe() -> uk.Recipe:
    """The example; in a process that is timed, it notes what the work takes that is spread."""
    note()
    return made()


def wide() -> uk.Recipe:
    """A perceptron in which products dominate."""
    note()
    return first_order.recipe(512, 40, 60)


def made() -> uk.Recipe:
    """The example, for two epochs."""
    return digits.images_as_units().replace(epochs=2)


def note() -> None:
    """Have it noted what this process takes for the work that is spread, if somebody wants to know."""
    if folder := os.environ.get(NOTES):
        place, name = (Shelf, "spread") if "audit" in sys.argv else (Stages, "found")
        setattr(place, name, timed(getattr(place, name), Path(folder, os.environ.get("RANK", "0"))))


def timed(work: Callable[..., Any], file: Path) -> Callable[..., Any]:
    """``work``, and its seconds of the processor and on the clock so far in a file, without those of tracing."""
    taken, traced, trace = [0.0, 0.0], [0.0, 0.0], JetFunction._trace  # noqa: SLF001

    def counting(function: Callable[..., Any], total: list[float]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:  # noqa: ANN401
            processor, clock = time.process_time(), time.perf_counter()
            found = function(*arguments)
            total[0] += time.process_time() - processor
            total[1] += time.perf_counter() - clock
            return found

        return counted

    def noted(*arguments: Any) -> Any:  # noqa: ANN401
        traced[:] = [0.0, 0.0]
        found = counting(work, taken)(*arguments)
        taken[:] = [a - b for a, b in zip(taken, traced, strict=True)]
        file.write_text(json.dumps(taken))
        return found

    JetFunction._trace = counting(trace, traced)  # type: ignore[method-assign]  # noqa: SLF001
    return noted


def seconds(folder: Path, arguments: list[str], processes: int) -> list[float]:
    """Of the processor, and on the clock, in the process that took longest."""
    notes = Path(tempfile.mkdtemp(dir=folder))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] * (processes == 2)
    beside = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": beside, NOTES: str(notes)}
    command = [sys.executable, *launcher, "-m", "unlearnkit", *arguments]
    subprocess.run(command, check=True, env=environment, capture_output=True)  # noqa: S603
    found = [json.loads(file.read_text()) for file in notes.iterdir()]
    assert len(found) == processes
    return [max(column) for column in zip(*found, strict=True)]


def sketching(folder: Path, kind: str) -> list[str]:
    """The arguments of a sketch to a place of its own."""
    place, options = Path(tempfile.mkdtemp(dir=folder), "bundle"), SKETCHES[kind][1]
    return [
        "sketch",
        f"{__file__}:{'wide' if kind == 'first' else 'recipe'}",
        "-o",
        str(place),
        "--seed",
        "1",
        "--device",
        "cpu",
        *options,
    ]


def auditing(folder: Path, _kind: str) -> list[str]:
    """The arguments of an audit of a small bundle."""
    keys, bundle = (folder / "key.pem", folder / "key.pub.pem"), folder / "bundle"
    if not bundle.exists():
        key = PrivateKey.generate(Algorithm.P256)
        write_private_key(keys[0], key)
        write_public_key(keys[1], key.public)
        uk.sketch(made(), bundle, reverse={"test_loss": uk.Reverse(rank=0, residual=0)}, signer=key, device="cpu")
    out = Path(tempfile.mkdtemp(dir=folder), "evidence.json")
    signing = ["--key", str(keys[0]), "--trust", str(keys[1])]
    return ["audit", "retrain", str(bundle), f"{__file__}:recipe", *signing, "-o", str(out), *AUDIT[1]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default="first,forward,reverse,solo,audit")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| work | one process | two | ratio, processor | ratio, clock |\n| --- | --- | --- | --- | --- |")
    for kind in options.kinds.split(","):
        title, _ = AUDIT if kind == "audit" else SKETCHES[kind]
        arguments = auditing if kind == "audit" else sketching
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = [[seconds(folder, arguments(folder, kind), n) for n in (1, 2)] for _ in range(options.repeats)]
        ratios = [spread([one[i] / two[i] for one, two in rows], 2) for i in (0, 1)]
        alone, both = (spread([row[n][0] for row in rows], 1) for n in (0, 1))
        print(f"| {kind}: {title} | {alone} s | {both} s | {ratios[0]} | {ratios[1]} |", flush=True)


def spread(found: list[float], digits: int) -> str:
    """Median, smallest and largest."""
    low, middle, high = (f"{x:.{digits}f}" for x in (min(found), statistics.median(found), max(found)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
