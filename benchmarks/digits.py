"""Predictions against real retrainings: a digits classifier, 1000 images, each a unit of its own, 40 margins.

    python benchmarks/digits.py [--retrainings 60]

Deletions are half random (5 % of the images) and half of one class (30 to 100 % of a digit's images). For each way to
sketch: the mean rank correlation of predicted and true changes over the deletions (LDS), and the mean abs. error over
the standard deviation of the true change, and what it cost in plain trainings of the same recipe. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from unlearnkit.examples import digits

import unlearnkit as uk

Array = np.ndarray[Any, Any]

SEED = 0
WAYS: dict[str, dict[str, Any]] = {
    "forward, 128 directions": {"forward": uk.Forward(directions=128)},
    "forward, 512 directions: exact degree 1": {"forward": uk.Forward(directions=512)},
    "informed, 128 directions, degree 1": {"informed": uk.Informed(128)},
    "informed, 256 directions, degree 1": {"informed": uk.Informed(256)},
    "reverse sweep: exact degree 1": {"rank": 0},
    "reverse sweeps, degree 2, rank 64": {"rank": 64},
    "reverse sweeps, degree 2, rank 128": {"rank": 128},
}


@dataclass(frozen=True)
class Truth:
    """Deletions ``[sets, units]`` of one kind, and how the margins changed in real retrainings, ``[sets, 40]``."""

    masks: Array
    changes: Array

    def scores(self, predicted: Array) -> str:
        """LDS, and error over spread."""
        pairs = zip(predicted.T, self.changes.T, strict=True)
        lds = np.mean([spearmanr(guess, change).statistic for guess, change in pairs])
        error = (np.abs(predicted - self.changes).mean(0) / self.changes.std(0)).mean()
        return f"{lds:.3f}, {error:.3f}"


def retrainings(recipe: uk.Recipe, masks: Array) -> tuple[Truth, float]:
    """Retrain without each set, in float64; also the median seconds of one retraining."""
    base, seconds = margins_after(recipe, []), []
    changes = []
    for mask in masks:
        start = time.perf_counter()
        changes.append(margins_after(recipe, [recipe.unit_names[i] for i in np.flatnonzero(mask)]) - base)
        seconds.append(time.perf_counter() - start)
    return Truth(masks, np.stack(changes)), float(np.median(seconds))


def margins_after(recipe: uk.Recipe, delete: list[str | int]) -> Array:
    """The margins of a real training without some units."""
    model = uk.retrain(recipe, delete=delete)
    with torch.no_grad():
        return np.asarray(recipe.probes["margins"](model).numpy(), dtype=np.float64)


def deletions(labels: Array, count: int) -> tuple[Array, Array]:
    """Half the sets random, 5 % of all images each; half a share of the images of one class."""
    random, units = np.random.default_rng(SEED), len(labels)
    masks = np.zeros((2, count // 2, units))
    for row in masks[0]:
        row[random.choice(units, units // 20, replace=False)] = 1
    for place, row in enumerate(masks[1]):
        images = np.flatnonzero(labels == place % 10)
        row[random.choice(images, int(len(images) * random.uniform(0.3, 1)), replace=False)] = 1
    return masks[0], masks[1]


def sketched(recipe: uk.Recipe, folder: Path, way: dict[str, Any]) -> tuple[uk.Sketch, float]:
    """The margins' sketch, and the seconds that it took."""
    settings = dict(way)
    if "rank" in settings:
        settings["reverse"] = {"margins": uk.Reverse(rank=settings.pop("rank"), residual=0)}
    start = time.perf_counter()
    bundle = uk.sketch(recipe, folder, seed=SEED, progress=False, **settings)
    return bundle.probe("margins"), time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrainings", type=int, default=60)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = digits.images_as_units()
    labels = np.asarray([int(recipe.dataset[i][1]) for i in range(digits.TRAINING_IMAGES)])
    found = [retrainings(recipe, masks) for masks in deletions(labels, options.retrainings)]
    plain = float(np.median([seconds for _, seconds in found]))
    print(f"{options.retrainings} real retrainings, {plain:.2f} s each, {options.threads} threads\n")
    print("| sketch | random 5 % | one class | plain trainings |")
    print("|---|---|---|---|")
    nothing = [truth.scores(np.zeros_like(truth.changes)).split(", ")[1] for truth, _ in found]
    print(f"| no change | {nothing[0]} | {nothing[1]} | 0 |")
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            sketch, seconds = sketched(recipe, Path(folder) / "bundle", way)
            cells = [truth.scores(sketch.predict(truth.masks).change) for truth, _ in found]
        print(f"| {name} | {cells[0]} | {cells[1]} | {seconds / plain:.0f} |", flush=True)


if __name__ == "__main__":
    main()
