"""Two questions on the digits example: what this run would be without some people, and what the average run would be.

    python -m benchmarks.seeds [--seeds 5] [--sets 40]

For each of five seeds, of the initial weights and the order, a sketch; for each of 40 random sets of ten of the 200
people, five real retrainings, one a seed. The rank correlation over the sets (LDS, mean of 40 margins), and the mean
absolute error over the standard deviation of the true change, of a single sketch and of `uk.Ensemble`, against each of
both truths. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from unlearnkit.examples import digits

import unlearnkit as uk

PEOPLE = 10

Array = np.ndarray[Any, Any]


def margins(recipe: uk.Recipe, leaving: list[str]) -> Array:
    """Of the real model, ``[40]``."""
    model = uk.retrain(recipe, leaving, device="cpu")
    with torch.no_grad():
        found: Array = recipe.probes["margins"](model).double().numpy()
    return found


def row(what: str, question: str, predicted: Array, true: Array) -> str:
    """predicted, true: changes ``[sets, margins]``."""
    lds = np.mean([spearmanr(predicted[:, i], true[:, i]).statistic for i in range(true.shape[1])])
    missed = np.mean(np.abs(predicted - true).mean(0) / true.std(0))
    return f"| {what} | {question} | {lds:.3f} | {missed:.3f} |"


def main() -> None:
    """Sketch, retrain, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", type=int, default=40)
    asked = parser.parse_args()
    recipes = [digits.recipe(seed=seed) for seed in range(asked.seeds)]
    names, random = recipes[0].unit_names, np.random.default_rng(0)
    sets = [[names[i] for i in random.choice(len(names), PEOPLE, replace=False)] for _ in range(asked.sets)]
    with tempfile.TemporaryDirectory() as folder:
        reverse = {"margins": uk.Reverse(rank=16, residual=0)}
        bundles = [
            uk.sketch(recipe, Path(folder) / f"bundle-{seed}", reverse=reverse, solo=uk.Solo(degree=3), seed=0)
            for seed, recipe in enumerate(recipes)
        ]
        single = np.stack([bundles[0].probe("margins").predict(leaving).change for leaving in sets])
        average = np.stack([uk.Ensemble(bundles).predict("margins", leaving).change for leaving in sets])
    true = np.stack([[margins(recipe, leaving) for leaving in sets] - margins(recipe, []) for recipe in recipes])
    print("| predicted by | truth | LDS | error |\n| --- | --- | --- | --- |")
    for what, predicted in (("one sketch", single), (f"ensemble of {asked.seeds}", average)):
        print(row(what, "its own run, one retraining a set", predicted, true[0]))
        print(row(what, f"the average of {asked.seeds} runs", predicted, true.mean(0)))


if __name__ == "__main__":
    main()
