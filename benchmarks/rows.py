"""First order by ``uk.sketch`` of models with large tables (``nn.Embedding(sparse=True)``), in bare sparse loops.

    python benchmarks/rows.py [--rows 62500] [--width 64] [--steps 20,200] [--elements 1] [--repeats 3]

The bare loop touches the rows of its batch alone: torch's gradients of the table are sparse, and so is the update by SGD.
Everything from the recipe to the bundle on disk counts, but tracing, which a sketch beforehand does. Each sketch is timed
between two bare loops, in seconds of a processor and with one thread; the ratio is to the faster of the two. What does
not grow with the steps (the model is read, compared and written once) is told by the step between two numbers of steps.
Prints a markdown table: the median, and in brackets the smallest and largest.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk

BATCH, CLASSES, UNITS, RATE = 64, 10, 100, 0.1


class Tagger(nn.Module):
    """A class for each item, by its row of a table."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width, sparse=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, items: Tensor) -> Tensor:
        """Logits ``[B, classes]``."""
        return self.head(self.table(items))  # type: ignore[no-any-return]


def recipe(rows: int, width: int, steps: int, elements: int) -> uk.Recipe:
    """Items at random, SGD, and so many logits of items as a probe."""
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
        probes={"logits": lambda m: m(data[0][:elements])[:, 0]},
    )


def bare_loop(r: uk.Recipe) -> None:
    """The least that PyTorch takes for this training, with sparse gradients, from a copy that is made beforehand."""
    model = r.model
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
    again = r.replace(model=copy.deepcopy(r.model))
    return seconds(lambda: bare_loop(again))


def sketch(r: uk.Recipe) -> None:
    """The first order of the probe, and the bundle on disk."""
    with tempfile.TemporaryDirectory() as folder:
        uk.sketch(r, Path(folder) / "bundle", device="cpu", progress=False)
