"""Runs as people write them: small last batches, accumulation, clipping, collators, losses averaged over tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

import unlearnkit as uk
from tests.training.small import OPTIMIZERS, OTHER_OPTIMIZERS, OWNERS, X, Y, loss, model, recipe

MAKERS = (
    OPTIMIZERS
    | OTHER_OPTIMIZERS
    | {
        "two groups": lambda m: torch.optim.SGD(
            [
                {"params": [*m.first.parameters(), m.second.bias], "lr": 0.3},
                {"params": [m.last.weight], "momentum": 0.5},
            ],
            lr=0.1,
        )
    }
)
ORDER = [[3, 0, 11, 5, 9, 2, 10, 1, 8, 4, 7, 6], [6, 1, 2, 3, 4, 5, 0, 7, 11, 9, 10, 8]]


def counted(m: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    """Each example is worth as many tokens as its number of positive features."""
    counts = (batch[0] > 0).sum(1)
    return loss(m, batch) * counts, counts


def mean(m: nn.Module, rows: list[int], _tokens: int) -> Tensor:
    return cross_entropy(m(X[rows]), Y[rows])


def named(examples: list[Any]) -> dict[str, Tensor]:
    return {"x": torch.stack([x for x, _ in examples]), "y": torch.stack([y for _, y in examples])}


@dataclass(frozen=True)
class Case:
    """Settings of a recipe, and the loss and the batches of the loop that it describes."""

    settings: dict[str, Any]
    objective: Callable[[nn.Module, list[int], int], Tensor] = mean
    size: int = 5
    accumulate: int = 1
    clip: Callable[[nn.Module], object] = field(default=lambda _: None)
    optimizer: str = "momentum"
    step: float = 1e-4  # of finite differences
    average: tuple[str, int, int] | None = None  # which, from which step on, every so many


CASES = {
    "a small last batch": Case({}),
    "accumulation": Case({"accumulate": 2}, accumulate=2, optimizer="adamw"),
    "sums": Case({"reduction": "sum"}, lambda m, rows, _: loss(m, (X[rows], Y[rows])).sum(), optimizer="analytic adam"),
    "tokens": Case(
        {"reduction": "tokens", "accumulate": 2, "loss": counted},
        lambda m, rows, tokens: counted(m, (X[rows], Y[rows]))[0].sum() / tokens,
        accumulate=2,
    ),
    "clipping by norm": Case(
        {"clip_grad_norm": 0.19}, clip=lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.19), optimizer="two groups"
    ),
    "clipping what is accumulated": Case(
        {"clip_grad_norm": 0.15, "accumulate": 2},
        accumulate=2,
        clip=lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.15),
        optimizer="adam",
    ),
    "clipping by value": Case(
        {"clip_grad_value": 0.08}, clip=lambda m: nn.utils.clip_grad_value_(m.parameters(), 0.08)
    ),
    **{name: Case({}, optimizer=name) for name in OTHER_OPTIMIZERS},
    "several": Case({}, optimizer="several", step=1e-5),  # Muon's curvature is large
    "an average": Case({"average": uk.Average(avg_fn=get_ema_avg_fn(0.7), start=1)}, average=("ema", 1, 1)),
    "a flat average": Case({"average": uk.Average(start=2, every=2)}, optimizer="adamw", average=("swa", 2, 2)),
    "a collator": Case({"collate_fn": named, "loss": lambda m, batch: loss(m, (batch["x"], batch["y"]))}),
}


def made(name: str) -> uk.Recipe:
    case = CASES[name]
    m = model()
    made = MAKERS[case.optimizer](m)
    return recipe(model=m, optimizer_made=made, order=ORDER, batch_size=case.size, **case.settings)


def user_loop(case: Case) -> nn.Module:
    """What a user would write."""
    m = model()
    made = MAKERS[case.optimizer](m)
    optimizers = made if isinstance(made, list) else [made]
    averaged, step = (
        AveragedModel(m, avg_fn=get_ema_avg_fn(0.7) if case.average and case.average[0] == "ema" else None),
        0,
    )
    for epoch in ORDER:
        batches = [epoch[first : first + case.size] for first in range(0, len(epoch), case.size)]
        for first in range(0, len(batches), case.accumulate):
            group = batches[first : first + case.accumulate]
            tokens = sum(int((X[rows] > 0).sum()) for rows in group)
            m.zero_grad()
            for rows in group:
                objective = case.objective(m, rows, tokens)
                (objective / len(group) if case.objective is mean else objective).backward()
            case.clip(m)
            for optimizer in optimizers:
                optimizer.step()
            if case.average and step in range(case.average[1], 6, case.average[2]):
                averaged.update_parameters(m)
            step += 1
    return averaged.module if case.average else m


@pytest.mark.parametrize("name", CASES)
def test_the_recipe_is_the_loop_that_it_describes(name):
    expected = user_loop(CASES[name])
    assert max(uk.compare(made(name), expected, device="cpu").values()) < 1e-12


def along(r: uk.Recipe, weight: float) -> np.ndarray:
    """The probe without so much of three people, ``[2, 3]``."""
    m = uk.retrain(r, ["b", "c", "7"], weight=weight, device="cpu")
    with torch.no_grad():
        return r.probes["probe"](m.eval()).numpy()


@pytest.mark.parametrize("name", CASES)
def test_two_orders_are_those_of_real_retrainings(name, tmp_path, monkeypatch):
    # Muon rounds to bfloat16, and so moves by steps, of which there are no finite differences.
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x)
    r = made(name)
    together = np.isin(r.unit_names, ["b", "c", "7"]).astype(float)
    forward = uk.Forward(directions=together[None] + 0j, degree=2)
    bundle = uk.sketch(r, tmp_path / "forward", forward=forward, dtype="float64", device="cpu")
    h = CASES[name].step
    base, once, twice = (along(r, weight) for weight in (0.0, h, 2 * h))
    first, second = bundle.probe("probe").coefficients[0].real
    assert np.allclose(bundle.probe("probe").base, base, atol=1e-12)
    assert np.allclose(first, (4 * once - twice - 3 * base) / (2 * h), atol=1e-6)
    assert np.allclose(second, (base - 2 * once + twice) / (2 * h * h), atol=1e-3 * np.abs(second).max() + 1e-5)
    reverse = {"scalar": uk.Reverse(rank=8, residual=0)}  # of eight units, which is exact
    swept = uk.sketch(r, tmp_path / "swept", reverse=reverse, dtype="float64", device="cpu").probe("scalar").reverse
    first, second = bundle.probe("scalar").coefficients[0].real
    assert (swept.gradient[0] @ together) == pytest.approx(first, rel=1e-9)
    assert (swept.values[0] @ (swept.vectors[0].T @ together) ** 2) / 2 == pytest.approx(second, rel=1e-9)


def test_the_manifest_counts_the_steps_that_were_clipped_and_names_the_nearest_miss(tmp_path):
    r = made("clipping by norm")
    m, sizes = model(), []
    optimizer = MAKERS["two groups"](m)
    for epoch in ORDER:
        for first in range(0, 12, 5):
            optimizer.zero_grad()
            mean(m, epoch[first : first + 5], 0).backward()
            sizes.append(float(nn.utils.clip_grad_norm_(m.parameters(), 0.19)) / 0.19)
            optimizer.step()
    active, nearest = sum(size > 1 for size in sizes), min(abs(size - 1) for size in sizes)
    assert 0 < active < 6
    bundle = uk.sketch(r, tmp_path / "b", dtype="float64", device="cpu")
    (listed,) = bundle.manifest.piecewise
    assert listed.operation == f"clip_grad_norm=0.19: active at {active} of 6 steps, nearest miss {nearest:.1%}"
    assert listed.kind == "kink"


def test_own_losses_over_tokens_are_means_over_tokens(tmp_path):
    r = made("tokens").replace(probes={"own_loss": uk.OwnLoss()})
    bundle = uk.sketch(r, tmp_path / "b", dtype="float64", device="cpu")
    m = uk.retrain(r, device="cpu").eval()
    sums, counts = counted(m, (X, Y))
    means = (sums / counts.clamp_min(1)).detach().numpy()
    expected = [means[[str(owner) == name for owner in OWNERS]].mean() for name in r.unit_names]
    assert np.allclose(bundle.probe("own_loss").base, expected, atol=1e-12)
