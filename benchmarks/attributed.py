"""Training runs whose examples are left out for real, for `benchmarks/attribution.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

import tests
import unlearnkit as uk
from unlearnkit.training.run import make_run

ROOT = Path(__file__).resolve().parents[1]
tests.__path__ = [str(ROOT / "tests")]  # kronfluence installs a package of that name
from benchmarks.attributors import Array, Case, State  # noqa: E402
from tests.sketching.digits import images, load_truth, make_recipe  # noqa: E402

Predict = Callable[[Array], Array]  # sets [sets, units] to changes [sets, queries]
SETS, SEEDS, TOGETHER = 50, 5, 50


@dataclass(frozen=True, eq=False)
class Truth:
    """Real retrainings: sets by kind ``[sets, units]``, changes ``[sets, queries]``."""

    masks: Mapping[str, Array]
    changes: Mapping[str, Array]

    def scores(self, predict: Predict) -> dict[str, tuple[float, float]]:
        """LDS and error, by kind."""
        return {kind: self._of(predict(self.masks[kind]), true) for kind, true in self.changes.items()}

    @staticmethod
    def _of(predicted: Array, true: Array) -> tuple[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a constant prediction has no ranks
            ranks = [spearmanr(p, t).statistic for p, t in zip(predicted.T, true.T, strict=True)]
        error = np.mean(np.abs(predicted - true).mean(0) / true.std(0))
        return float(np.mean(np.nan_to_num(ranks))), float(np.nan_to_num(error, nan=np.inf))


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """``z_y - logsumexp(the others)``, under vmap too."""
    right = torch.arange(logits.shape[1]) == labels.long()[:, None]
    return logits.where(right, 0).sum(1) - logits.masked_fill(right, -torch.inf).logsumexp(1)


def digits() -> tuple[Case, Truth]:
    """The images of the tests."""
    known = load_truth(ROOT / "tests" / "vectors")
    x, y = images()
    train, test = known["train_idx"], known["test_idx"][:40]

    def seeded(seed: int) -> uk.Recipe:
        recipe = make_recipe(known)
        if not seed:
            return recipe
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10)).double()
        order = np.stack([np.random.default_rng([seed, epoch]).permutation(1000) for epoch in range(10)])
        return recipe.replace(
            model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), order=order
        )

    case = Case(
        seeded=seeded,
        train=(x[train].float(), y[train]),
        queries=(x[test].float(), y[test]),
        rate=0.05 / (1 - 0.9),
        loss=lambda outputs, targets: cross_entropy(outputs, targets.long(), reduction="none"),
        measure=margins,
        score=margins,
        slope=lambda outputs, targets: -margins(outputs, targets).neg().sigmoid(),
        chain=lambda outputs, _: outputs.new_ones(len(outputs)),
        sample=lambda outputs: outputs.softmax(1).multinomial(1)[:, 0],
    )
    kinds = {"random 5 %": "rand", "one class": "class"}
    masks = {kind: known[f"masks_{short}"].astype(float) for kind, short in kinds.items()}
    return case, Truth(masks, {k: known[f"{s}_margin"][:, :40] - known["base_margin"][:40] for k, s in kinds.items()})


def table(path: str) -> tuple[Case, Truth]:
    """The regression of kronfluence's `examples/uci`. path: a table, the target last; "": diabetes."""
    numbers = np.loadtxt(path) if path else np.column_stack(load_diabetes(return_X_y=True, scaled=False))
    order = np.random.RandomState(0).choice(len(numbers), len(numbers), replace=False)
    first = round(0.9 * len(numbers))
    scaled = (numbers - numbers[order[:first]].mean(0)) / numbers[order[:first]].std(0)
    rows = torch.from_numpy(scaled[order]).float()
    train, queries = ((part[:, :-1], part[:, -1:]) for part in (rows[:first], rows[first:]))

    def squares(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(1)

    def slope(outputs: Tensor, targets: Tensor) -> Tensor:
        return 2 * (outputs - targets)[:, 0]

    def seeded(seed: int) -> uk.Recipe:
        torch.manual_seed(1004 + seed)
        sizes = [rows.shape[1] - 1, 128, 128, 128]
        layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), nn.ReLU())]
        model = nn.Sequential(*layers, nn.Linear(128, 1))
        return uk.Recipe(
            name="table",
            model=model,
            loss=lambda model, batch: squares(model(batch[0]), batch[1]),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.03, weight_decay=1e-5),
            data=train,
            units=list(range(first)),
            epochs=40,
            batch_size=32,
            order_seed=seed,
            drop_last=True,
            allow_piecewise=True,
            probes={"errors": lambda model: squares(model(queries[0]), queries[1])},
        )

    case = Case(
        seeded=seeded,
        train=train,
        queries=queries,
        rate=0.03,
        loss=squares,
        measure=squares,
        score=lambda outputs, _: outputs[:, 0],
        slope=slope,
        chain=slope,
        sample=lambda outputs: torch.normal(outputs, 0.5**0.5),
    )
    few, half = (_drawn(first, round(share * first)) for share in (0.05, 0.5))
    true = [changes(case, seeded(seed), few) for seed in range(SEEDS)]
    masks = {"5 %": few, "half": half, f"5 %, average of {SEEDS} seeds": few}
    kinds = (true[0], changes(case, case.recipe, half), np.mean(true, axis=0))
    return case, Truth(masks, dict(zip(masks, kinds, strict=True)))


def _drawn(units: int, size: int) -> Array:
    """Random sets of a size ``[sets, units]``."""
    random = np.random.default_rng(0)
    sets = [random.choice(units, size, replace=False) for _ in range(SETS)]
    return np.stack([np.isin(np.arange(units), some) for some in sets]).astype(float)


def changes(case: Case, recipe: uk.Recipe, masks: Array) -> Array:
    """Of the queries ``[sets, queries]``, by real retraining without each set of ``masks`` ``[sets, units]``.

    Sets are trained side by side: SGD written out once more, on torch's own vmap.
    """
    pieces = np.array_split(masks, -(-len(masks) // TOGETHER))
    found = [_trained(case, recipe, np.vstack([np.zeros(masks.shape[1]), piece])) for piece in pieces]
    return np.concatenate([piece[1:] - piece[:1] for piece in found])


def _trained(case: Case, recipe: uk.Recipe, masks: Array) -> Array:
    """What the queries measure after training without each set."""
    model, dtype = recipe.model, next(recipe.model.parameters()).dtype

    def loss(weights: State, x: Tensor, y: Tensor, shares: Tensor) -> Tensor:
        return (shares * case.loss(functional_call(model, weights, (x,)), y)).sum()

    def measured(weights: State) -> Tensor:
        return case.measure(functional_call(model, weights, (case.queries[0].to(dtype),)), case.queries[1])

    keep = 1 - torch.from_numpy(masks).to(dtype)
    weights = {name: p.detach().expand(len(keep), *p.shape).clone() for name, p in model.named_parameters()}
    speed = {name: torch.zeros_like(w) for name, w in weights.items()}
    slopes: Callable[..., State] = vmap(grad(loss), in_dims=(0, None, None, 0))
    run = make_run(recipe, str(dtype).removeprefix("torch."), "cpu")
    for step in range(recipe.steps):
        (batch,), (rule,) = run.batches(step), recipe.settings[step]
        found = slopes(weights, *batch.examples, keep[:, batch.units] / batch.denominator)
        for name, w in weights.items():
            speed[name].mul_(rule["momentum"]).add_(found[name]).add_(w, alpha=rule["weight_decay"])
            w.sub_(speed[name], alpha=rule["lr"])
    last: Array = vmap(measured)(weights).double().numpy()
    return last
