"""Very many units: what each stage takes, from the owners of the examples to a certificate of exclusion.

    python benchmarks/units.py [--units 10000,100000,1000000] [--per-unit 10] [--models linear,embedding]

Each unit owns so many examples; the run is one epoch of forty batches, so that training meets every unit. The linear
model has ten inputs, the other one an embedding of a thousand items (width 8) before its head; the test loss is swept
to first order, and all own losses are pinned, with a series along who asks. Both releases of an office are sketched,
the second one without the person who asked. Seconds are those of a processor, with one thread; memory is what the
process held at the most during a stage, with the data and everything that earlier stages left (Linux: VmHWM). Each size
is a process of its own. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

STEPS, INPUTS, ITEMS, WIDTH = 40, 10, 1000, 8
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
Made = TypeVar("Made")


class Stages:
    """Measures one stage after another, and prints a line for each."""

    def __init__(self, model: str, units: int, examples: int) -> None:
        self.row = f"| {model} | {units:,} | {examples:,} |"

    def run(self, name: str, work: Callable[[], Made]) -> Made:
        """Do what is measured."""
        RESET.write_text("5")  # the peak begins anew
        began = time.process_time()
        made = work()
        seconds = time.process_time() - began
        print(f"{self.row} {name} | {seconds:.3g} | {held():,.0f} |", flush=True)
        return made


def held() -> float:
    """MiB that the process has held at the most."""
    (most,) = (int(line.split()[1]) / 1024 for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return most


def recipe(model: str, units: int, examples: int, *, without: int | None = None) -> object:
    """One epoch over everybody's examples."""
    import torch  # noqa: PLC0415  after the limits of threads
    from torch import nn  # noqa: PLC0415
    from torch.nn.functional import binary_cross_entropy_with_logits  # noqa: PLC0415

    import unlearnkit as uk  # noqa: PLC0415

    torch.manual_seed(0)
    if model == "linear":
        net: nn.Module = nn.Linear(INPUTS, 1)
        inputs = torch.randn(examples, INPUTS)
        test = torch.randn(1000, INPUTS)
    else:
        net = nn.Sequential(nn.Embedding(ITEMS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1))
        inputs, test = torch.randint(0, ITEMS, (examples,)), torch.randint(0, ITEMS, (1000,))
    labels, expected = torch.randint(0, 2, (examples,)).float(), torch.randint(0, 2, (1000,)).float()
    owners = np.random.default_rng(0).permutation(examples) % units
    kept = np.flatnonzero(owners != -1 if without is None else owners != without)
    if without is not None:
        inputs, labels, owners = inputs[kept], labels[kept], owners[kept]

    def loss(m: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return binary_cross_entropy_with_logits(m(batch[0])[:, 0], batch[1], reduction="none")

    return uk.Recipe(
        name=model,
        model=net,
        loss=loss,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9),
        data=(inputs, labels),
        units=owners,
        epochs=1,
        batch_size=-(-len(owners) // STEPS),
        probes={
            "test_loss": lambda m: binary_cross_entropy_with_logits(m(test)[:, 0], expected),
            "own_loss": uk.OwnLoss(),
        },
    )


def measure(model: str, units: int, per_unit: int) -> None:
    """All stages of one size."""
    import unlearnkit as uk  # noqa: PLC0415

    stages = Stages(model, units, units * per_unit)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        office = uk.Workspace.create(Path(folder) / "office", origin="benchmark.example/log", policy="research")
        made = stages.run("data and recipe", lambda: recipe(model, units, units * per_unit))
        stages.run("digest of the recipe", lambda: made.digest)
        path, asked = office.root / "bundle", {"reverse": {"test_loss": uk.Reverse(rank=0, residual=0)}}
        asked |= {"solo": uk.Solo(degree=2, units=[3]), "device": "cpu", "progress": False}
        bundle = stages.run("sketch", lambda: office.sketch(made, path, **asked))
        stages.run("open the bundle", lambda: uk.Bundle.open(path))
        sketch = stages.run("the probe's sketch", lambda: bundle.probe("test_loss"))
        for count in (1, 40, 1000):
            stages.run(f"predict without {count}", lambda: sketch.predict(list(range(count))))  # noqa: B023
        stages.run("register the release", lambda: office.register(bundle, name=model, version="1"))
        (request,) = office.receive(["3"], source="experiment")
        issued = stages.run("certify the effect", lambda: office.certify([request], bundle=bundle))
        stages.run("verify that", lambda: office.verify(issued.path, bundle=path))
        again = stages.run("recipe without one", lambda: recipe(model, units, units * per_unit, without=3))
        second = stages.run("sketch", lambda: office.sketch(again, office.root / "second", **(asked | {"solo": None})))
        stages.run(
            "replace the release", lambda: office.register(second, name=model, version="2", replaces=f"{model}@1")
        )
        excluded = stages.run("certify the exclusion", lambda: office.certify_absence([request]))
        stages.run("verify that", lambda: office.verify(excluded.path))


def main() -> None:
    """Measure every size of every model, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="10000,100000,1000000")
    parser.add_argument("--per-unit", type=int, default=10)
    parser.add_argument("--models", default="linear,embedding")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        model, units, per_unit = options.one
        measure(model, int(units), int(per_unit))
        return
    print("| model | units | examples | stage | seconds | MiB at the most |\n| --- | --- | --- | --- | --- | --- |")
    for model in options.models.split(","):
        for units in options.units.split(","):
            command = [sys.executable, __file__, "--one", model, units, str(options.per_unit)]
            limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            subprocess.run(command, check=True, env=os.environ | limits)  # noqa: S603


if __name__ == "__main__":
    main()
