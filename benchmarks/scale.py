"""Bytes of memory for each weight that is trained, by way of sketching: as ``unlearnkit plan`` reckons and as measured.

    python benchmarks/scale.py [--width 1024] [--steps 16,64]

A perceptron of two hidden layers, AdamW, float32, batches of 16: all of its weights trained, and frozen with adapters
(LoRA) of rank 8 beside its layers. Each row is a process of its own with one thread; what is measured is its largest
resident memory less that of the same sketch of a model of width 8, which is Python and libraries. Prints a markdown
table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from unlearnkit.examples.lora import Adapted

import unlearnkit as uk
from unlearnkit.sketching import asked
from unlearnkit.sketching.expectation import expected
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.sizing import Sizing
from unlearnkit.training.run import make_run

BATCH, INPUTS, CLASSES, RANK, BUDGET = 16, 64, 10, 8, 2**40
WAYS: dict[str, dict[str, object]] = {
    "plain training": {},
    "first order": {"reverse": {"loss": uk.Reverse(rank=0, residual=0)}},
    "forward, degree 1, 4 directions": {"forward": uk.Forward(directions=4, degree=1)},
    "forward, degree 1, 8 directions": {"forward": uk.Forward(directions=8, degree=1)},
    "forward, degree 2, 4 directions": {"forward": uk.Forward(directions=4, degree=2)},
    "forward, degree 3, 4 directions": {"forward": uk.Forward(directions=4, degree=3)},
}


def recipe(width: int, steps: int, *, adapted: bool) -> uk.Recipe:
    """The perceptron. adapted: frozen, with adapters."""
    torch.manual_seed(0)
    layers = [nn.Linear(INPUTS, width), nn.Linear(width, width), nn.Linear(width, CLASSES)]
    if adapted:
        layers = [Adapted(layer, RANK) for layer in layers]  # type: ignore[misc]
    model = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU(), layers[2])
    x, y = torch.randn(BATCH * steps, INPUTS), torch.randint(0, CLASSES, (BATCH * steps,))
    return uk.Recipe(
        name="scale",
        model=model,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.001, eps=1e-3),
        data=(x, y),
        units=[f"unit-{i % BATCH}" for i in range(len(x))],
        epochs=1,
        batch_size=BATCH,
        probes={"loss": lambda m: cross_entropy(m(x[:BATCH]), y[:BATCH])},
    )


def reckoned(r: uk.Recipe, way: dict[str, object]) -> float:
    """Bytes for each trained weight, beside the model."""
    run = make_run(r, "float32", "cpu")
    reverse: Any = way.get("reverse", {})
    wanted = asked.Asked.of(r, way.get("forward"), reverse, None, None, 0, None)  # type: ignore[arg-type]
    settings = wanted.settings(run)
    sketching = ForwardSketching(run, settings.degree)
    per_lane = sketching.prepare() * run.dtype.itemsize
    sizing = Sizing(sketching, reverse, settings.informed, per_lane, BUDGET, exact=False)
    settled = asked.settled(settings, sizing.lanes(settings))
    memory = expected(run, settled, reverse, per_lane, sizing.memory(Path())).memory
    return memory / weights(r)


def weights(r: uk.Recipe) -> int:
    """How many are trained."""
    return sum(p.numel() for p in r.model.parameters() if p.requires_grad)


def one(width: int, steps: int, name: str, *, adapted: bool) -> dict[str, float]:
    """In a process of its own."""
    torch.set_num_threads(1)
    r, way = recipe(width, steps, adapted=adapted), WAYS[name]
    found = 0.0
    if name == "plain training":
        uk.retrain(r, [], device="cpu")
    else:
        found = reckoned(r, way)
        with tempfile.TemporaryDirectory() as folder:
            settings = {"reverse": {}} | way
            uk.sketch(r, Path(folder, "b"), **settings, seed=0, device="cpu", memory_budget=BUDGET, progress=False)  # type: ignore[arg-type]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "reckoned": found, "weights": weights(r)}


def in_process(width: int, steps: int, name: str, *, adapted: bool) -> dict[str, float]:
    """What `one` finds."""
    command = [sys.executable, __file__, "--width", str(width), "--steps", str(steps), "--one", name]
    command += ["--adapted"] * adapted
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return dict(json.loads(printed))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--steps", default="16,64")
    parser.add_argument("--one", choices=WAYS)
    parser.add_argument("--adapted", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.width, int(options.steps), options.one, adapted=options.adapted)))
        return
    print("| trained | steps | way | reckoned | measured |\n| --- | --- | --- | --- | --- |")
    few, *more = map(int, options.steps.split(","))
    rows = [(adapted, few, name) for adapted in (False, True) for name in WAYS]
    for adapted, steps, name in [*rows, *((False, steps, "first order") for steps in more)]:
        found, small = (in_process(width, steps, name, adapted=adapted) for width in (options.width, 8))
        count = found["weights"] - small["weights"]
        what = f"{found['weights']:,.0f}{' (adapters)' * adapted}"
        measured = (found["peak"] - small["peak"]) / count
        print(f"| {what} | {steps} | {name} | {found['reckoned']:,.0f} | {measured:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
