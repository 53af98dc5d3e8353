"""First order of every element of a probe by ``uk.sketch``, in bare PyTorch loops of the same run.

    python benchmarks/first_order.py [--cases small,medium] [--repeats 3] [--steps 500]

Everything from the recipe to the bundle on disk counts, but tracing, which a sketch beforehand does. Each sketch is
timed between two bare loops, in seconds of a processor and with one thread, because machines and neighbours are not
steady; the ratio is to the faster of the two.
Prints a markdown table: the median, and in brackets the smallest and largest.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk

EXAMPLES, INPUTS, CLASSES, BATCH, UNITS = 500, 32, 10, 50, 100
CASES = {"small": (40, (1, 10)), "medium": (256, (1, 10)), "large": (1024, (4,))}  # width, elements


def recipe(width: int, elements: int, steps: int) -> uk.Recipe:
    """A perceptron of two hidden layers, SGD with momentum, and so many logits of other points as a probe."""
    torch.manual_seed(0)
    layers = (nn.Linear(INPUTS, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, CLASSES))
    model = nn.Sequential(*layers)
    data = torch.randn(EXAMPLES, INPUTS), torch.randint(0, CLASSES, (EXAMPLES,))
    points = torch.randn(elements, INPUTS)
    return uk.Recipe(
        name="first-order",
        model=model,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=data,
        units=[f"unit-{i % UNITS}" for i in range(EXAMPLES)],
        epochs=steps * BATCH // EXAMPLES,
        batch_size=BATCH,
        probes={"logits": lambda m: m(points)[:, 0]},
    )


def bare_loop(r: uk.Recipe) -> None:
    """The least that PyTorch takes for this training: no deletions, no reproducible random numbers, no schedule."""
    model = copy.deepcopy(r.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    assert isinstance(r.data, tuple)
    inputs, labels = r.data
    for (rows,) in r.parts:
        optimizer.zero_grad()
        cross_entropy(model(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def sketch(r: uk.Recipe) -> None:
    """The first order of the probe, and the bundle on disk."""
    with tempfile.TemporaryDirectory() as folder:
        uk.sketch(r, Path(folder) / "bundle", device="cpu", progress=False)


def seconds(work: Callable[[], object]) -> float:
    """Of a processor, for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ratios(r: uk.Recipe, repeats: int) -> Iterator[float]:
    """What a sketch takes, in bare loops just before and after it."""
    sketch(r)
    for _ in range(repeats):
        before = seconds(lambda: bare_loop(r))
        taken = seconds(lambda: sketch(r))
        yield taken / min(before, seconds(lambda: bare_loop(r)))


def main() -> None:
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| weights | steps | elements | bare loops |\n| --- | --- | --- | --- |")
    for name in options.cases.split(","):
        width, counts = CASES[name]
        for elements in counts:
            r = recipe(width, elements, options.steps)
            found = list(ratios(r, options.repeats))
            weights = sum(p.numel() for p in r.model.parameters())
            told = f"{statistics.median(found):.3g} ({min(found):.3g} to {max(found):.3g})"
            print(f"| {weights} | {options.steps} | {elements} | {told} |", flush=True)


if __name__ == "__main__":
    main()
