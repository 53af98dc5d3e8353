"""Predictions against real retrainings of digits classifiers, and what they cost in plain retrainings (processor time).

    python benchmarks/digits.py [--only rank] [--threads 1]

Margins: 1000 images, each a unit of its own, 40 margins; 80 retrainings come with the tests (`tests/vectors/digits`):
50 without random 5 % of the images, 30 without 20 images of one class. For each way to sketch: the mean rank
correlation of predicted and true changes over the deletions (LDS), and the mean absolute error over the standard
deviation of the true change.

Own losses: the packaged example, 1000 images of 200 people, each of whom is retrained without, and so are nine sets of
five people and three of twenty. Relative error: the sum of absolute errors of own losses over the sum of their absolute
changes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from unlearnkit.examples import digits

import unlearnkit as uk

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.sketching.digits import load_truth, make_recipe, scores  # noqa: E402  where the retrainings are

Array = np.ndarray[Any, Any]

SEED = 0
FIRST = uk.Reverse(rank=0, residual=0)


@dataclass(frozen=True)
class Way:
    """One way to sketch the margins. solo: with the series along every image alone beside it."""

    settings: Mapping[str, Any]
    solo: bool = False

    @classmethod
    def swept(cls, rank: int, cubic: int = 0, *, solo: bool = False) -> Way:
        """Reverse sweeps."""
        return cls({"reverse": {"margins": uk.Reverse(rank=rank, residual=0, cubic=cubic)}}, solo)


WAYS = {
    "forward, 128 directions": Way({"forward": uk.Forward(directions=128)}),
    "forward, 512 directions: exact degree 1": Way({"forward": uk.Forward(directions=512)}),
    "informed, 128 directions, degree 1": Way({"informed": uk.Informed(128)}),
    "informed, 256 directions, degree 1": Way({"informed": uk.Informed(256)}),
    "exact degree 1": Way.swept(0),
    "solo 3": Way({}, solo=True),
    "rank 16, cubic 4, solo 3": Way.swept(16, 4, solo=True),
    "rank 64": Way.swept(64),
    "rank 64, solo 3": Way.swept(64, solo=True),
    "rank 64, cubic 4, solo 3": Way.swept(64, 4, solo=True),
    "rank 64, cubic 16, solo 3": Way.swept(64, 16, solo=True),
}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, and its processor time: others on the machine do not count."""
    start = time.process_time()
    return work(), time.process_time() - start


def plain_cost(recipe: uk.Recipe) -> float:
    """Processor seconds of a plain retraining in float32: the median of five."""
    uk.retrain(recipe, dtype="float32")
    return float(np.median([timed(lambda: uk.retrain(recipe, dtype="float32"))[1] for _ in range(5)]))


def margins_of(recipe: uk.Recipe, settings: Mapping[str, Any]) -> tuple[uk.Sketch, float]:
    """The margins' sketch, and what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        bundle, cost = timed(lambda: uk.sketch(recipe, path, seed=SEED, progress=False, device="cpu", **settings))
        return bundle.probe("margins"), cost


def margins(only: str) -> None:
    """The table of ways."""
    truth = load_truth(ROOT / "tests" / "vectors")
    recipe = make_recipe(truth)
    plain, ways = plain_cost(recipe), {name: way for name, way in WAYS.items() if only in name}
    print("| sketch | random 5 %: LDS, error | one class: LDS, error | plain retrainings |\n|---|---|---|---|")
    for name, way in ways.items():
        sketch, cost = margins_of(recipe, {**way.settings, **({"solo": uk.Solo(3)} if way.solo else {})})
        cells = [scores(truth, kind, lambda masks, s=sketch: s.predict(masks).change) for kind in ("rand", "class")]
        text = " | ".join(f"{lds:.4f}, {error:.4f}" for lds, error in cells)
        print(f"| {name} | {text} | {cost / plain:.0f} |", flush=True)


def own_losses(recipe: uk.Recipe, delete: Sequence[str]) -> Array:
    """The own losses of these people after a real training without them."""
    model = uk.retrain(recipe, delete=delete).eval()
    with torch.no_grad():
        found: Array = recipe.probes["own_loss"](model).numpy()
    return np.asarray(found[[recipe.unit_names.index(name) for name in delete]], dtype=np.float64)


def relative(predicted: Sequence[Array], true: Sequence[Array]) -> float:
    """Sum of absolute errors over sum of absolute changes."""
    error = sum(float(np.abs(p - t).sum()) for p, t in zip(predicted, true, strict=True))
    return error / sum(float(np.abs(t).sum()) for t in true)


def own_recipe() -> uk.Recipe:
    """The packaged example with own losses alone."""
    base = digits.recipe()
    model = copy.deepcopy(base.model)
    return uk.Recipe(
        name="digits, own losses",
        model=model,
        loss=base.loss,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=base.data,
        units=base.units,
        epochs=base.epochs,
        batch_size=base.batch_size,
        probes={"own_loss": uk.OwnLoss()},
    )


def people() -> None:
    """The tables of own losses."""
    recipe = own_recipe()
    plain, names = plain_cost(recipe), list(recipe.unit_names)
    for degree in (2, 3):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bundle"
            cost = timed(partial(uk.sketch, recipe, path, solo=uk.Solo(degree), progress=False))[1]
        print(f"\nSolo degree {degree} of all 200 people: {cost / plain / len(names):.3f} plain retrainings a person")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        reverse = {"own_loss": FIRST}
        bundle, cost = timed(lambda: uk.sketch(recipe, path, solo=uk.Solo(3), reverse=reverse, progress=False))
        print(f"Solo degree 3 and one reverse sweep of all own losses: {cost / plain:.0f} plain retrainings\n")
        _tables(recipe, bundle)


def _tables(recipe: uk.Recipe, bundle: uk.Bundle) -> None:
    names = list(recipe.unit_names)
    base = {name: bundle.probe("own_loss").base[i] for i, name in enumerate(names)}

    def change(delete: Sequence[str]) -> Array:
        return np.asarray(own_losses(recipe, delete) - np.array([base[name] for name in delete]))

    drawn = [names[i] for i in np.random.default_rng(1).choice(len(names), 24, replace=False)]
    single, random = {name: change([name]) for name in names}, np.random.default_rng(3)
    print("| one person | relative error: 24 drawn ones | all |\n|---|---|---|")
    for degree in (1, 2, 3):
        terms = {name: bundle.own_loss([name]).terms[:degree] for name in names}
        found = {name: np.sum([term.value for term in few], axis=0) for name, few in terms.items()}
        cells = [relative([found[n] for n in some], [single[n] for n in some]) for some in (drawn, names)]
        print(f"| degree {degree} | {cells[0]:.4f} | {cells[1]:.4f} |", flush=True)
    print("\n| people together | relative error of their own losses, set by set |\n|---|---|")
    fives = [[names[i] for i in random.choice(len(names), 5, replace=False)] for _ in range(6)]
    fives += [[name for i, name in enumerate(names) if i % 10 == digit][:5] for digit in (9, 3, 7)]
    twenties = [[names[i] for i in random.choice(len(names), 20, replace=False)] for _ in range(3)]
    for title, sets in (("5", fives), ("20", twenties)):
        errors = [relative([bundle.own_loss(people).change], [change(people)]) for people in sets]
        print(f"| {title} | {', '.join(f'{value:.3f}' for value in errors)}; mean {np.mean(errors):.3f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="ways to sketch whose names hold this; with it, no own losses")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    margins(options.only)
    if not options.only:
        people()


if __name__ == "__main__":
    main()
