"""Compiled parts of a model, compiled losses and probes: run as what was compiled, sketched and retrained alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.small import OWNERS, X, Y, loss


def logits(m: nn.Module) -> torch.Tensor:
    return m(X[:2])


def recipe(compiled) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    model[0] = compiled(model[0])
    settings = {"data": (X, Y), "units": OWNERS, "epochs": 1, "batch_size": 4, "probes": {"logits": compiled(logits)}}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return uk.Recipe(name="compiled", model=model, loss=compiled(loss), optimizer=optimizer, **settings)


def test_what_was_compiled_is_sketched_as_if_it_were_not(tmp_path):
    runs = {
        "compiled": recipe(lambda thing: torch.compile(thing, backend="eager")),
        "plain": recipe(lambda thing: thing),
    }
    found = {n: uk.sketch(r, tmp_path / n, dtype="float64", device="cpu").probe("logits") for n, r in runs.items()}
    changes = [found[name].predict(["b"]).change for name in runs]
    assert changes[0] == pytest.approx(changes[1], rel=1e-12)
    weights = [[p.detach() for p in uk.retrain(r, ["b"], device="cpu").parameters()] for r in runs.values()]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
