"""Cost of reverse sweeps, in plain trainings of the same recipe, and how it grows.

    python benchmarks/reverse.py [--repeats 3] [--threads 1]

The recipe is the packaged digits example with every image a unit: 200 steps, 1000 units, 40 margins. Every repeat times
plain trainings (``uk.retrain``) just before and after what it measures, and the ratio of the two counts, because
machines and neighbours are not steady. Tracing, which a sketch does once, is left out of sweeps and part of whole
sketches. Takes about 17 minutes; prints markdown tables: the median, and in brackets the smallest and the largest.
"""

from __future__ import annotations

import argparse
import copy
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from unlearnkit.examples import digits

import unlearnkit as uk
from unlearnkit.sketching.second_order import ReverseSketching, Sweep
from unlearnkit.training.run import make_run

EPOCHS, UNITS, MARGINS = 10, 1000, 40
PRODUCTS = 32  # of every margin in one sweep: as many as a sketch takes at once of 40 margins
MEMORY = 1 << 30
FIRST_ORDER_LIMIT, PRODUCT_LIMIT = 10.0, 0.1


@dataclass(frozen=True)
class Ratio:
    """A cost in plain trainings, over the repeats."""

    values: list[float]

    def per(self, count: int) -> Ratio:
        """The share of one of ``count``."""
        return Ratio([value / count for value in self.values])

    @property
    def median(self) -> float:
        """The middle of them."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.values):.3g} to {max(self.values):.3g})"


def recipe(*, epochs: int = EPOCHS, units: int = UNITS, margins: int = MARGINS) -> uk.Recipe:
    """The example with other numbers: ``units`` of equal size, the first so many margins."""
    base = digits.images_as_units()
    model = copy.deepcopy(base.model)
    return uk.Recipe(
        name="digits",
        model=model,
        loss=base.loss,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=base.data,
        units=[f"unit-{i % units}" for i in range(len(base.dataset))],
        epochs=epochs,
        batch_size=base.batch_size,
        probes={"margins": lambda m: base.probes["margins"](m)[:margins]},
    )


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(r: uk.Recipe, work: Callable[[], object], repeats: int) -> Ratio:
    """Time of ``work`` over the median time of three plain trainings just before and three just after it."""
    values = []
    for _ in range(repeats):
        before = [seconds(lambda: uk.retrain(r, device="cpu")) for _ in range(3)]
        taken = seconds(work)
        after = [seconds(lambda: uk.retrain(r, device="cpu")) for _ in range(3)]
        values.append(taken / statistics.median(before + after))
    return Ratio(values)


def bare_loop(r: uk.Recipe) -> None:
    """The least that PyTorch takes for this training: no deletions, no reproducible random numbers, no schedule."""
    model = copy.deepcopy(r.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    assert isinstance(r.data, tuple)
    images, labels = r.data
    for (rows,) in r.parts:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def sweeps(r: uk.Recipe, margins: int, products: int, memory: int = MEMORY) -> Callable[[], object]:
    """One reverse sweep of all margins, traced beforehand: along so many directions, or 0 for the gradient alone."""
    work = ReverseSketching(make_run(r, "float32", "cpu"), r.probes["margins"], (margins,), uk.Reverse())
    directions = np.random.default_rng(0).standard_normal((products, len(r.unit_names))).astype(np.float32)

    def along(count: int) -> None:
        sweep = Sweep("range" if count else "gradient", 0, margins, 0, count)
        work.run_sweep(sweep, directions[:count] if count else None, memory)

    along(min(products, 1))
    return functools.partial(along, products)


def whole_sketch(r: uk.Recipe, rank: int) -> Callable[[], object]:
    """``uk.sketch`` from the recipe to the bundle on disk, with reverse sweeps alone."""
    settings = uk.Reverse(rank=rank, residual=0)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bundle"
            uk.sketch(r, path, reverse={"margins": settings}, device="cpu", progress=False)

    return work


def row(*cells: object) -> None:
    """A line of a markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(*names: str) -> None:
    """The first two."""
    print(flush=True)
    row(*names)
    row(*["---"] * len(names))


def required(repeats: int) -> None:
    """What the reverse sweeps promise, and what goes into it."""
    r = recipe()
    header("200 steps, 1000 units", "plain trainings", "limit")
    row("a bare PyTorch loop", measure(r, lambda: bare_loop(r), 3 * repeats), "")
    first = measure(r, sweeps(r, MARGINS, 0), repeats)
    row(f"exact first order of {MARGINS} margins", first, FIRST_ORDER_LIMIT)
    row("the same, in memory for 2 sqrt(steps) states", measure(r, sweeps(r, MARGINS, 0, 0), repeats), "")
    shared = measure(r, sweeps(r, MARGINS, PRODUCTS), repeats).per(PRODUCTS * MARGINS)
    row(f"Hessian times vector, one of {MARGINS} margins that share {PRODUCTS} vectors", shared, PRODUCT_LIMIT)
    alone = recipe(margins=1)
    row("the same, one margin alone, 64 vectors", measure(alone, sweeps(alone, 1, 64), repeats).per(64), "")
    row(f"`uk.sketch`, first order of {MARGINS} margins", measure(r, whole_sketch(r, 0), repeats), "")
    for name, found, limit in (("first order", first, FIRST_ORDER_LIMIT), ("product", shared, PRODUCT_LIMIT)):
        assert found.median <= limit, f"{name}: {found} plain trainings, expected at most {limit}"


def growth(repeats: int) -> None:
    """First order and products against steps, margins and units, one at a time."""
    products = f"{PRODUCTS} Hessian products of each"
    header("steps", "margins", "units", "first order of all", products, "share of a margin and a product")
    cases = [
        {"epochs": 5},
        {"epochs": 20},
        {"margins": 1},
        {"margins": 10},
        {"margins": 40},
        {"units": 50},
        {"units": 250},
    ]
    for case in cases:
        r, margins = recipe(**case), case.get("margins", MARGINS)
        first = measure(r, sweeps(r, margins, 0), repeats)
        second = measure(r, sweeps(r, margins, PRODUCTS), repeats)
        row(r.steps, margins, len(r.unit_names), first, second, second.per(PRODUCTS * margins))


def ranks(repeats: int) -> None:
    """Whole sketches of 40 margins: twice as many products as the rank, the eigenpairs, the bundle on disk."""
    r = recipe()
    header("rank", f"`uk.sketch` of {MARGINS} margins", "share of a margin and a product")
    for rank in (4, 16, 64):
        whole = measure(r, whole_sketch(r, rank), repeats)
        row(rank, whole, whole.per(2 * rank * MARGINS))


def main() -> None:
    """Run everything, and print a line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    r = recipe()
    plain = [seconds(lambda: uk.retrain(r, device="cpu")) for _ in range(5)]
    print(f"a plain training takes {statistics.median(plain):.3f} s with {options.threads} thread(s)")
    required(options.repeats)
    growth(options.repeats)
    ranks(options.repeats)


if __name__ == "__main__":
    main()
