"""Corrected models beside other ways to forget somebody: how far each is from the model that retraining gives.

    python benchmarks/unlearning.py --run digits
    python benchmarks/unlearning.py --run names
    python benchmarks/unlearning.py --run names-sgd --alone
    python benchmarks/unlearning.py --run fine-tuned

Digits: 200 people, 24 single ones, 9 sets of 5, 6 of 20. Names: a GPT trained by AdamW from random weights, 100 people
of four names; 8 single ones, 4 sets of 5; names-sgd: the same, by SGD with momentum. Fine-tuned: such a GPT, trained on
1,600 other names and then on theirs, by AdamW at a tenth of the rate. Sets of which a correction is refused are
counted, and left out.

Peers (`benchmarks/peers.py`), unless --alone leaves them out, get the best of their settings for each size, chosen by
the truth that is judged against: more than anybody would have. Remaining share: distance of all weights to the
retrained model's over that of the kept model, median. Own loss: sum of absolute errors of the leaving people's own
losses over the sum of their absolute changes; of sets: the same of each set's sum. Test loss: mean absolute difference
to the retrained model's. Membership: how often a loss threshold ranks an example of who left before a stranger's (area
under the curve). Seconds: of one deletion, median. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from unlearnkit.examples import digits

import unlearnkit as uk

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import peers
from tests.sketching.people import distance, loaded, names_recipe, own_losses, pretrained_gpt, strangers_names

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Bench:
    """A run, its optimizer anew, strangers' examples, and how many sets of each size leave."""

    recipe: uk.Recipe
    optimizer: Callable[..., torch.optim.Optimizer]
    strangers: tuple[Tensor, ...]
    sizes: dict[int, int]

    def sets(self) -> dict[int, list[list[int]]]:
        """Who leaves, by size."""
        rng = np.random.default_rng(3)
        units = len(self.recipe.unit_names)
        return {
            size: [sorted(rng.choice(units, size, replace=False).tolist()) for _ in range(count)]
            for size, count in self.sizes.items()
        }

    def losses(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Array:
        """One for each example."""
        with torch.no_grad():
            found: Array = self.recipe.loss(model.eval(), batch).numpy()
        return found


@dataclass(eq=False)
class Row:
    """What one method reached over some sets."""

    share: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    of_sets: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    left: list[Array] = field(default_factory=list)
    strange: list[Array] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def area(left: Sequence[Array], strange: Sequence[Array]) -> float:
    """Chance that an example of who left has the lower loss: 0.5 tells nothing."""
    a, b = np.concatenate(left), np.concatenate(strange)
    ranks = rankdata(-np.concatenate([a, b]))
    return float((ranks[: len(a)].sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def judge(bench: Bench, row: Row, model: nn.Module, real: nn.Module, kept: nn.Module, leaving: Sequence[int]) -> None:
    """Add what one model reached."""
    owner = np.asarray(bench.recipe.unit_of_example)
    parts = tuple(part[torch.as_tensor(np.isin(owner, leaving))] for part in bench.recipe.dataset.parts)
    same = model.state_dict().keys() == real.state_dict().keys()
    row.share.append(distance(model, real) / distance(kept, real) if same else np.nan)
    off = (own_losses(bench.recipe, model) - own_losses(bench.recipe, real))[leaving]
    row.errors.append(float(np.abs(off).sum()))
    row.of_sets.append(float(abs(off.sum())))
    strange = bench.losses(model, bench.strangers)
    row.test.append(abs(float(strange.mean() - bench.losses(real, bench.strangers).mean())))
    row.left.append(bench.losses(model, parts))
    row.strange.append(strange)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is made once: the sketch, the kept model, its Hessian, the shards."""

    recipe: uk.Recipe
    bundle: uk.Bundle
    kept: nn.Module
    curvature: peers.Curvature | None
    sharded: peers.Sharded | None

    def corrects(self, leaving: list[int]) -> bool:
        """Whether a correction is made, or refused."""
        try:
            self.bundle.correction([self.recipe.unit_names[i] for i in leaving])
        except uk.RefusedError:
            return False
        return True

    def methods(self, leaving: list[int]) -> list[tuple[str, tuple[float, ...], Callable[[], nn.Module]]]:
        """Each with its settings."""
        recipe, owner = self.recipe, torch.as_tensor(self.recipe.unit_of_example)
        names = [recipe.unit_names[i] for i in leaving]
        inside, positions = torch.isin(owner, torch.tensor(leaving)), torch.arange(len(owner))
        task = peers.Task(recipe, self.kept, positions[inside], positions[~inside])
        made: list[tuple[str, tuple[float, ...], Callable[[], nn.Module]]] = [
            ("retrained", (), lambda: uk.retrain(recipe, delete=names, device="cpu").eval()),
            ("kept", (), lambda: self.kept),
            ("unlearnkit", (), lambda: loaded(recipe, self.bundle.corrected_model(recipe.model, names))),
        ]
        if self.sharded is None or self.curvature is None:
            return made
        made.append(("SISA, 5 shards", (), partial(self.sharded.without, leaving)))
        made += [("Newton step", s, partial(peers.newton, task, self.curvature, *s)) for s in peers.DAMPINGS]
        grids = ((method, s) for method, grid in peers.GRIDS.items() for s in grid)
        return made + [(method.__name__.replace("_", " "), s, partial(method, task, *s)) for method, s in grids]


def prepare(bench: Bench, folder: Path, *, alone: bool) -> Prepared:
    """Says how long it takes. alone: without peers."""
    recipe, start = bench.recipe, time.perf_counter()
    people = sorted({who for sets in bench.sets().values() for leaving in sets for who in leaving})
    solo = uk.Solo(3, units=[recipe.unit_names[who] for who in people], keep_weights=True)
    bundle = uk.sketch(recipe, folder / "bundle", solo=solo, reverse={}, seed=0, device="cpu", progress=False)
    print(f"\nSketch of {len(people)} people's series: {time.perf_counter() - start:.1f} s.", flush=True)
    kept = loaded(recipe, {n: torch.from_numpy(a.copy()) for n, a in bundle.model_state().items()})
    if alone:
        return Prepared(recipe, bundle, kept, None, None)
    everybody = torch.arange(len(recipe.unit_of_example))
    curvature = peers.Curvature(peers.Task(recipe, kept, everybody[:0], everybody))
    return Prepared(recipe, bundle, kept, curvature, peers.Sharded(recipe, bench.optimizer))


def run(bench: Bench, *, alone: bool) -> None:
    """A table for each size."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(bench, Path(folder), alone=alone)
        for size, sets in bench.sets().items():
            rows: dict[tuple[str, tuple[float, ...]], Row] = {}
            within = [leaving for leaving in sets if prepared.corrects(leaving)]
            print(f"\n{len(sets) - len(within)} of {len(sets)} deletions of {size} are refused: the series diverges")
            for leaving in within:
                real: nn.Module | None = None
                for method, settings, make in prepared.methods(leaving):
                    row = rows.setdefault((method, settings), Row())
                    start = time.perf_counter()
                    model = make()
                    row.seconds.append(time.perf_counter() - start)
                    real = real or model  # the first is the retrained one
                    judge(bench, row, model, real, prepared.kept, leaving)
            if within:
                show(size, len(within), rows)


def show(size: int, count: int, rows: dict[tuple[str, tuple[float, ...]], Row]) -> None:
    """As a table; of each method its best settings."""
    kept = rows["kept", ()]
    print(f"\n{count} deletions of {size}\n")
    print("| method | remaining share | own loss | of sets | test loss | membership | seconds | settings |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for method in dict.fromkeys(method for method, _ in rows):
        settings, row = min(
            ((s, row) for (m, s), row in rows.items() if m == method), key=lambda pair: float(np.sum(pair[1].errors))
        )
        share = f"{np.median(row.share):.3g}" if np.isfinite(row.share).all() else "another model"
        print(
            f"| {method} | {share} | {np.sum(row.errors) / np.sum(kept.errors):.3g} | "
            f"{np.sum(row.of_sets) / np.sum(kept.of_sets):.3g} | {np.mean(row.test):.2g} | "
            f"{area(row.left, row.strange):.4f} | {np.median(row.seconds):.3f} | "
            f"{', '.join(f'{value:g}' for value in settings)} |",
            flush=True,
        )


def of_digits() -> Bench:
    """The packaged example; strangers are images that nobody owns."""
    images, labels = digits.digits()
    return Bench(
        digits.recipe(),
        partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        (images[1000:], labels[1000:]),
        {1: 24, 5: 9, 20: 6},
    )


def of_names() -> Bench:
    """A GPT that spells names, trained by AdamW."""
    return Bench(names_recipe("adamw"), partial(torch.optim.AdamW, lr=0.01), strangers_names(100), {1: 8, 5: 4})


def of_names_sgd() -> Bench:
    """The same, trained by SGD with momentum."""
    made = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    return Bench(names_recipe("sgd"), made, strangers_names(100), {1: 8, 5: 4})


def of_fine_tuned() -> Bench:
    """A GPT that could spell before, fine-tuned by AdamW."""
    recipe = names_recipe("adamw", rate=0.001, start=pretrained_gpt())
    return Bench(recipe, partial(torch.optim.AdamW, lr=0.001), strangers_names(100), {1: 8, 5: 4})


RUNS = {"digits": of_digits, "names": of_names, "names-sgd": of_names_sgd, "fine-tuned": of_fine_tuned}


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=list(RUNS), default="digits")
    parser.add_argument("--alone", action="store_true", help="without peers")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run(RUNS[asked.run](), alone=asked.alone)


if __name__ == "__main__":
    main()
