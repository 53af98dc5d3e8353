"""Speed of sketching: time per direction and step of the names transformer, against the companion code of the paper.

    python benchmarks/names.py [--directions 256] [--degree 3] [--threads 2]

One name a step, unpadded, as the companion code trains (arXiv 2604.07328; 4,192 weights, Adam with epsilon inside the
root). That code takes 0.925 s per direction and step at degree 3, in one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

import unlearnkit as uk
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer

AUTHOR_SECONDS = 0.925
STEPS = 24


def _example() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "examples" / "names_gpt.py"
    spec = importlib.util.spec_from_file_location("names_gpt", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["names_gpt"] = module
    spec.loader.exec_module(module)
    return module


class _Names:
    """Each name at its own length: ``(inputs, targets)``."""

    def __init__(self, example: ModuleType, names: list[str]) -> None:
        self.rows = []
        for name in names:
            inputs, targets = example.encode([name])
            length = len(name) + 1
            self.rows.append((inputs[0, :length], targets[0, :length]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.rows[index]


def recipe() -> uk.Recipe:
    """One name a step."""
    example = _example()
    names = example.TRAINING_NAMES[:STEPS]
    model: nn.Module = example.NamesGPT()
    optimizer = uk.Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99), eps=1e-3)
    data = _Names(example, names)
    return uk.Recipe(
        name="names",
        model=model,
        loss=example.name_losses,
        optimizer=optimizer,
        data=data,
        units=names,
        epochs=1,
        batch_size=1,
        lr_schedule=lambda step: 0.01 * (1 - step / STEPS),
    )


def measure(directions: int, degree: int, repeats: int) -> list[float]:
    """Seconds per direction and step of repeated runs, tracing left out."""
    torch.manual_seed(0)
    run = make_run(recipe(), "float32", "cpu")
    trainer = Trainer(run, degree)
    psi = torch.randn(directions, len(run.recipe.unit_names), dtype=torch.complex64)
    psi /= psi.norm(dim=1, keepdim=True)
    trainer.train(psi[:1])  # traces each length of name once
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        trainer.train(psi)
        seconds.append((time.perf_counter() - start) / directions / run.recipe.steps)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directions", type=int, default=256)
    parser.add_argument("--degree", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = measure(options.directions, options.degree, options.repeats)
    median = statistics.median(seconds)
    spread = f"{min(seconds) * 1e3:.3f} to {max(seconds) * 1e3:.3f}"
    print(f"degree {options.degree}, {options.directions} directions, float32, {options.threads} threads:")
    print(f"{median * 1e3:.3f} ms per direction and step (median of {options.repeats}; {spread})")
    if options.degree == 3:
        print(f"{AUTHOR_SECONDS / median:,.0f} times the companion code's {AUTHOR_SECONDS} s")


if __name__ == "__main__":
    main()
