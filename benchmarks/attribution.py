"""What the model does to its answers without some examples, predicted beside other libraries and by plain retraining.

    pip install kronfluence==1.0.1 dattri==0.3.0 traker==0.3.2
    python -m benchmarks.attribution [--case digits|table] [--table FILE] [--only NAME]

A library that is not installed is left out, and named. *digits*: 1000 images, 40 margins, the 80 real retrainings that
come with the tests. *table*: kronfluence's own example (`examples/uci`), its model and settings, on scikit-learn's
diabetes, or on a file of numbers whose last column is the target (its own is `examples/uci/data/concrete.data`); each
query is the squared error of a row that was held out. Real retrainings, with the same seed and batches, without 5 % and
without half of the rows; and without 5 % in five runs of other seeds, averaged.

LDS: rank correlation of predicted and true changes over the deletions, mean over the queries. Error: mean absolute
error over the standard deviation of the true change. Libraries run with the settings of their documentation, and then
with each of a grid: every number of the second row is the best of the grid by itself, judged by the truth, and the cost
that of the whole grid. Cost: seconds of a processor over those of a plain training (`uk.retrain`) just before and
after; for an ensemble, its further trainings are added. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unlearnkit as uk
from benchmarks.attributed import SEEDS, Predict, Truth, changes, digits, table
from benchmarks.attributors import Array, Case, dattri_trak, embeddings, hessian, kronfluence, tracin, traker
from benchmarks.digits import timed

MODULES = {"kronfluence": ("kronfluence.analyzer",), "dattri": ("dattri.task", "dattri.algorithm"), "traker": ("trak",)}
Grid = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Method:
    """One way to attribute. grid: settings, those of the documentation first. sized: it predicts sizes, not only order.

    run: of a case and settings, to changes without each unit ``[units, queries]``, or to what predicts them.
    """

    name: str
    library: str
    run: Callable[..., Array | Predict]
    grid: Grid = field(default=({},))
    sized: bool = True


DAMPINGS = [{"damping": damping} for damping in (1e-8, None, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)]
RIDGES = [{"regularization": ridge} for ridge in (1e-2, 5e-3, 2e-2, 5e-2, 1e-1)]
ARNOLDI = [{**RIDGES[0], "max_iter": 10}, *({**ridge, "max_iter": 50, "proj_dim": 20} for ridge in RIDGES)]
LISSA = [{"recursion_depth": 100}, {}]
LISSA += [
    {"recursion_depth": d, "batch_size": b, "scaling": s}
    for d, b, s in ((500, 100, 10), (1000, 50, 20), (1000, 50, 50))
]
TRACIN = [{"epochs": epochs, "projected": p} for p in (512, 0) for epochs in (10, 5, 1)]
FACTORED = [{"projected": 4096, "factored": kind} for kind in ("kronecker", "elementwise")]
WHOLE = {"projected": None, "factored": "none"}
DATTRI = [{"projected": p, "regularization": r} for p in (512, 2048) for r in (0.0, 0.03, 0.1, 0.3, 1.0)]
TRAKER = [{"projected": p, "regularization": r} for p in (2048, 512) for r in (0.0, 30.0, 100.0, 300.0, 1000.0)]


def methods(*, small: bool) -> list[Method]:
    """Those of the libraries. small: the Hessian has room in memory."""
    ridges = RIDGES if small else [*RIDGES, {"regularization": 0.3}, {"regularization": 1.0}]
    strategies = {"diagonal": "diagonal", "K-FAC": "kfac", "EK-FAC": "ekfac"}
    solvers: dict[str, Grid] = {
        "CG": [{**ridge, "max_iter": most} for most in (10, 50) for ridge in ridges],
        "LiSSA": LISSA if small else LISSA[::2],
        "DataInf": ridges,
        "Arnoldi": ARNOLDI,
        **({"Explicit": RIDGES} if small else {}),
    }
    found = [Method("gradient products", "kronfluence", partial(kronfluence, strategy="identity"), sized=False)]
    found += [
        Method(f"influence, {name}", "kronfluence", partial(kronfluence, strategy=strategy), DAMPINGS)
        for name, strategy in strategies.items()
    ]
    found += [Method(f"influence, {s}", "dattri", partial(hessian, solver=s), grid) for s, grid in solvers.items()]
    found += [
        Method("TracIn", "dattri", tracin, TRACIN),
        Method("data value embeddings", "dattri", embeddings, [*FACTORED, *([WHOLE] if small else [])]),
    ]
    for models, title in ((1, "TRAK, one model"), (10, "TRAK, ten models")):
        for library, run, grid in (("dattri", dattri_trak, DATTRI), ("traker", traker, TRAKER)):
            thin = grid if small else grid[::3]
            found.append(Method(title, library, partial(run, models=models), thin, sized=False))
    return [method for method in found if method.library in there()]


def alone(case: Case) -> Array:
    """The real change without each unit, fifty of them trained side by side."""
    return changes(case, case.recipe, np.eye(len(case.recipe.unit_names)))


def sketched(case: Case, seeds: int = 1, rank: int = 0) -> Predict:
    """Ours, of the first probe. seeds: more than one is an ensemble, whose predictions are averaged."""
    name = next(iter(case.recipe.probes))
    found = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            reverse = {name: uk.Reverse(rank=rank, residual=0)}
            bundle = uk.sketch(
                case.seeded(seed), Path(folder) / "b", seed=0, progress=False, device="cpu", reverse=reverse
            )
            found.append(bundle.probe(name))
    return lambda masks: np.mean([sketch.predict(masks).change for sketch in found], axis=0)


def ours(*, small: bool) -> list[Method]:
    """Sketches, and retraining for each unit."""
    found = [Method("first order, one reverse sweep", "unlearnkit", sketched)]
    if small:
        found += [Method(f"rank {rank}", "unlearnkit", partial(sketched, rank=rank)) for rank in (16, 64)]
    else:
        found.append(Method(f"first order, ensemble of {SEEDS}", "unlearnkit", partial(sketched, seeds=SEEDS)))
    return [*found, Method("a retraining without each unit, changes added", "side by side", alone)]


def measured(case: Case, method: Method, settings: Mapping[str, Any]) -> tuple[Predict, float]:
    """What it predicts by, and what it took, in plain trainings just before and after."""

    def plain() -> float:
        return timed(lambda: uk.retrain(case.recipe, dtype="float32"))[1]

    def work() -> Array | Predict:
        try:
            return method.run(case, **settings)
        except (RuntimeError, ValueError) as failure:  # a singular matrix, a sum that is no number
            print(f"{method.library} {method.name} {settings}: {failure}")
            return np.full((len(case.train[0]), len(case.queries[0])), np.nan)

    before = plain()
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, taken = timed(work)
    cost = taken * 2 / (before + plain())
    return (found if callable(found) else lambda masks: masks @ found), cost


def rows(case: Case, truth: Truth, method: Method, repeats: int) -> None:
    """Print the line of the documented settings, and of the best of the grid."""
    further = method.run.keywords.get("models", 1) - 1 if isinstance(method.run, partial) else 0
    case.states(1 + further)  # trained before the clock runs, and counted
    found: list[Mapping[str, tuple[float, float]]] = []
    costs: list[float] = []
    for i, settings in enumerate(method.grid):
        for _ in range(repeats if i == 0 and method.run is not alone else 1):
            predict, cost = measured(case, method, settings)
            costs.append(cost)
        found.append(truth.scores(predict))
    first = [further + cost for cost in costs[: -len(method.grid) + 1 or None]]
    spread = f" ({min(first):.1f} to {max(first):.1f})" if len(first) > 1 else ""
    print(line(method, "", found[:1], f"{statistics.median(first):.1f}{spread}"), flush=True)
    if len(found) > 1:
        whole = further + sum(costs[-len(method.grid) :])
        print(line(method, f", best of {len(found)}", found, f"{whole:.0f}"), flush=True)


def line(method: Method, which: str, found: Sequence[Mapping[str, tuple[float, float]]], cost: str) -> str:
    """A row of the table, each number the best of what was found."""
    cells = []
    for kind in found[0]:
        lds, error = max(f[kind][0] for f in found), min(f[kind][1] for f in found)
        cells.append(f"{lds:.3f} | {f'{error:.3g}' if method.sized else ''}")
    return f"| {method.library} | {method.name}{which} | {' | '.join(cells)} | {cost} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("digits", "table"), default="digits")
    parser.add_argument("--table", default="", help="a file of numbers, the target last; diabetes else")
    parser.add_argument("--only", default="", help="methods in whose library and name one of these is, after commas")
    parser.add_argument("--repeats", type=int, default=3, help="of the documented settings, for the spread of the cost")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    small = asked.case == "digits"
    case, truth = digits() if small else table(asked.table)
    known = there()
    versions = [
        f"{name} {metadata.version(name)}" if name in known else f"{name}: not installed, left out" for name in MODULES
    ]
    print("; ".join(versions))
    nothing = truth.scores(lambda masks: np.zeros((len(masks), len(case.queries[0]))))
    print("error of no change: ", ", ".join(f"{kind} {error:.3g}" for kind, (_, error) in nothing.items()))
    kinds = " | ".join(f"{kind}: LDS | error" for kind in truth.changes)
    print(f"| by | way | {kinds} | plain trainings |\n|{' --- |' * (2 * len(truth.changes) + 3)}")
    for method in (*methods(small=small), *ours(small=small)):
        if any(part in f"{method.library} {method.name}" for part in asked.only.split(",")):
            rows(case, truth, method, asked.repeats)


def there() -> list[str]:
    """The libraries that can be imported; importing them is not timed."""
    found = [library for library, modules in MODULES.items() if find_spec(modules[0].partition(".")[0])]
    for library in found:
        for module in MODULES[library]:
            import_module(module)
    return found


if __name__ == "__main__":
    main()
