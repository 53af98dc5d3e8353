"""``uk.sketch`` of models with large tables (``nn.Embedding(sparse=True)``), in bare sparse loops.

    python benchmarks/rows.py [--ways "first order"] [--rows 62500] [--width 64] [--steps 20,200] [--repeats 3]

The bare loop touches the rows of its batch alone: torch's gradients of the table are sparse, and so is the update by
SGD. Everything from the recipe to the bundle on disk counts, but tracing, which a sketch beforehand does. Each sketch
is timed between two bare loops, in seconds of a processor and with one thread; the ratio is to the faster of the two.
The whole table is copied, evaluated and written once, however many steps there are: that weighs in short runs.
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
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk

BATCH, CLASSES, UNITS, RATE = 64, 10, 100, 0.1
WAYS: dict[str, dict[str, Any]] = {
    "first order": {},
    "rank 4": {"reverse": {"logits": uk.Reverse(rank=4)}},
    "forward, 8 directions": {"forward": uk.Forward(directions=8, degree=1)},
    "8 units alone": {"solo": uk.Solo(degree=1, units=[f"unit-{i}" for i in range(8)])},
}


class Tagger(nn.Module):
    """A class for each item, by its row of a table."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width, sparse=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, items: Tensor) -> Tensor:
        """Logits ``[B, classes]``."""
        return self.head(self.table(items))  # type: ignore[no-any-return]


def recipe(rows: int, width: int, steps: int) -> uk.Recipe:
    """Items at random, SGD, and a logit as a probe."""
    torch.manual_seed(0)
    model, examples = Tagger(rows, width), steps * BATCH
    data = torch.randint(0, rows, (examples,)), torch.randint(0, CLASSES, (examples,))
    return uk.Recipe(
        name="rows",
        model=model,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
        data=data,
        units=[f"unit-{i % UNITS}" for i in range(examples)],
        epochs=1,
        batch_size=BATCH,
        probes={"logits": lambda m: m(data[0][:1])[:, 0]},
    )


def bare_loop(model: nn.Module, r: uk.Recipe) -> None:
    """The least that PyTorch takes for this training: no deletions, no reproducible random numbers, no schedule."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    assert isinstance(r.data, tuple)
    items, labels = r.data
    for (rows,) in r.parts:
        optimizer.zero_grad()
        cross_entropy(model(items[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def seconds(work: Callable[[], object]) -> float:
    """Of a processor, for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def bare_seconds(r: uk.Recipe) -> float:
    """Of the loop alone: its copy of the model is made beforehand."""
    model = copy.deepcopy(r.model)
    return seconds(lambda: bare_loop(model, r))


def sketch(r: uk.Recipe, way: str) -> None:
    """A sketch of the probe, and the bundle on disk."""
    with tempfile.TemporaryDirectory() as folder:
        uk.sketch(r, Path(folder) / "bundle", device="cpu", progress=False, **WAYS[way])


def ratios(r: uk.Recipe, way: str, repeats: int) -> Iterator[tuple[float, float]]:
    """What a bare loop takes, and a sketch in bare loops just before and after it."""
    bare_seconds(r)
    sketch(r, way)
    for _ in range(repeats):
        before = bare_seconds(r)
        taken = seconds(lambda: sketch(r, way))
        bare = min(before, bare_seconds(r))
        yield bare, taken / bare


def main() -> None:
    """Measure, and print a line for each way and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", default=";".join(WAYS))
    parser.add_argument("--rows", type=int, default=62500)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", default="20,200")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| way | rows | width | steps | a bare sparse loop | bare loops |\n| --- | --- | --- | --- | --- | --- |")
    for way in options.ways.split(";"):
        for steps in map(int, options.steps.split(",")):
            found = list(ratios(recipe(options.rows, options.width, steps), way, options.repeats))
            loops = [loop for _, loop in found]
            told = f"{statistics.median(loops):.3g} ({min(loops):.3g} to {max(loops):.3g})"
            bare = f"{statistics.median(bare for bare, _ in found):.2g} s"
            print(f"| {way} | {options.rows} | {options.width} | {steps} | {bare} | {told} |", flush=True)


if __name__ == "__main__":
    main()
