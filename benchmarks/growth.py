"""How the cost of a sketch grows: with steps, weights, units, directions and ranks, one of them at a time.

    python benchmarks/growth.py [--repeats 3] [--factors steps,weights,units,directions,ranks]

The recipe is that of `benchmarks/first_order.py`, a perceptron of two hidden layers. Seconds of a processor for a whole
`uk.sketch`, the bundle on disk included and tracing left out, with one thread; and how many bare PyTorch loops of the
same run that is. The exponent is the slope of a line through the logarithms, by least squares, with its standard error;
the last one is that between the two largest. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from first_order import BATCH, EXAMPLES, bare_loop, recipe, seconds  # type: ignore[import-not-found]  # beside this file

import unlearnkit as uk

FEW, WIDTH = 20, 64


@dataclass(frozen=True)
class Case:
    """A recipe, and what of it is sketched."""

    size: int
    recipe: uk.Recipe
    asked: dict[str, Any]

    def sketch(self) -> None:
        """Everything but tracing, once it was called before."""
        with tempfile.TemporaryDirectory() as folder:
            uk.sketch(self.recipe, Path(folder) / "bundle", device="cpu", seed=0, progress=False, **self.asked)


def of_units(count: int) -> uk.Recipe:
    """The same run with other owners: of so many people, of whom it meets those that own its examples."""
    plain = recipe(WIDTH, 1, FEW)
    examples = max(EXAMPLES, count)
    inputs, labels = (part.repeat(examples // EXAMPLES, *(1,) * (part.dim() - 1)) for part in plain.data)
    batches = np.random.default_rng(0).integers(0, examples, (FEW, BATCH)).tolist()
    changed: uk.Recipe = plain.replace(
        data=(inputs, labels), units=np.arange(examples) % count, batches=batches, epochs=None, batch_size=None
    )
    return changed


def cases(factor: str) -> Iterator[Case]:
    """From the smallest to the largest."""
    first: dict[str, Any] = {"reverse": {"logits": uk.Reverse(rank=0, residual=0)}}
    if factor == "steps":
        yield from (Case(steps, recipe(WIDTH, 1, steps), first) for steps in (200, 400, 800, 1600))
    elif factor == "weights":
        for width in (256, 512, 1024, 2048):
            one = recipe(width, 1, 20)
            yield Case(sum(p.numel() for p in one.model.parameters()), one, first)
    elif factor == "units":
        yield from (Case(count, of_units(count), first) for count in (4000, 40_000, 400_000, 4_000_000))
    elif factor == "directions":
        one = recipe(WIDTH, 1, 20)
        for count in (32, 64, 128, 256):
            yield Case(count, one, {"forward": uk.Forward(directions=count, degree=2)})
    else:
        one = recipe(WIDTH, 16, 20)
        for rank in (8, 16, 32, 64):
            yield Case(rank, one, {"reverse": {"logits": uk.Reverse(rank=rank, residual=0)}})


def exponent(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """The slope of a line through the logarithms, and its standard error."""
    x, y = np.log(sizes), np.log(times)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / float(x @ x))


def measured(work: Callable[[], object], repeats: int) -> float:
    """The median of some calls after one that is not counted."""
    work()
    return statistics.median(seconds(work) for _ in range(repeats))


def main() -> None:
    """Measure, and print a line for each factor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--factors", default="steps,weights,units,directions,ranks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| factor | sizes | seconds | bare loops | exponent | the last |\n| --- | --- | --- | --- | --- | --- |")
    for factor in options.factors.split(","):
        sizes, times, ratios = [], [], []
        for case in cases(factor):
            sizes.append(case.size)
            times.append(measured(case.sketch, options.repeats))
            ratios.append(times[-1] / measured(lambda: bare_loop(case.recipe), options.repeats))  # noqa: B023
        slope, error = exponent(sizes, times)
        (a, b), (s, t) = [*itertools.pairwise(sizes)][-1], [*itertools.pairwise(times)][-1]
        rows = [[f"{size:,}" for size in sizes], *([f"{value:.3g}" for value in row] for row in (times, ratios))]
        told = " | ".join(", ".join(row) for row in rows)
        last = math.log(t / s) / math.log(b / a)
        print(f"| {factor} | {told} | {slope:.2f} ± {error:.2f} | {last:.2f} |", flush=True)


if __name__ == "__main__":
    main()
