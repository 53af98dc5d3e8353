"""Tables in rows: whatever is sketched of them is what whole tables give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.sketching.tables import ITEMS, Tagger, Tied, tagger
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.pullback import probe_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.taylor.jet import Jet
from unlearnkit.training import rows
from unlearnkit.training.probes import coefficients
from unlearnkit.training.recipe import Array
from unlearnkit.training.rows import tables_of
from unlearnkit.training.run import Run, make_run
from unlearnkit.training.state import Leaf
from unlearnkit.training.trainer import Trainer

TOLERANCE = 1e-12


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Callable[[uk.Recipe], Run]:
    """A run in which every table is taken as a whole."""

    def make(recipe: uk.Recipe) -> Run:
        run = make_run(recipe, "float64", "cpu")
        with monkeypatch.context() as patched:
            patched.setattr(rows, "_SHARE", 0)
            assert not tables_of(run)
        return run

    return make


def narrow(recipe: uk.Recipe) -> Run:
    run = make_run(recipe, "float64", "cpu")
    assert tables_of(run).names == {"table.weight"}
    return run


def psi(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def numbers(leaf: Leaf) -> Array:
    if isinstance(leaf, Jet):
        return np.concatenate([leaf.constant.reshape(-1).numpy(), leaf.tail.reshape(-1).numpy()])
    return leaf.reshape(-1).numpy()


def swept(run: Run, directions: torch.Tensor | None, memory: Memory, probe: str = "logits") -> Array:
    sweeps = ReverseSweeps(run, 1)
    size = 2 if probe == "logits" else len(run.recipe.unit_names)
    trajectory = sweeps.forward(directions, memory)
    pull, basis = probe_pullback(run, run.recipe.probes[probe]), torch.eye(size, dtype=torch.float64)
    first, again = (numbers(sweeps.sweep(pull, basis, trajectory)) for _ in range(2))
    assert np.array_equal(first, again)
    return first


def sgd(**settings: Any) -> Callable[..., torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=0.4, **settings)


def two_groups(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    table, *others = parameters
    return torch.optim.SGD([{"params": [table]}, {"params": others, "momentum": 0.9, "weight_decay": 0.1}], lr=0.3)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "several batches a step": {"batch_size": 2, "accumulate": 2},
    "clipped": {"clip_grad_norm": 0.5},
    "clipped by value": {"clip_grad_value": 0.1},
    "two groups": {"optimizer": two_groups},
    "uphill": {"optimizer": sgd(maximize=True), "epochs": 1},
    "batches of two sizes": {"batch_size": 5},
}


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
@pytest.mark.parametrize("directions", [None, psi(3, 8), psi(2, 8, dtype=torch.complex128)], ids=["", "real", "complex"])
def test_reverse_sweeps_of_rows_are_those_of_whole_tables(
    settings: dict[str, Any], directions: torch.Tensor | None, whole: Callable[[uk.Recipe], Run]
) -> None:
    expected = swept(whole(tagger(**settings)), directions, Memory(1 << 30))
    found = swept(narrow(tagger(**settings)), directions, Memory(1 << 30))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_training_along_directions_moves_rows_as_whole_tables(
    settings: dict[str, Any], whole: Callable[[uk.Recipe], Run]
) -> None:
    directions = psi(2, 8, dtype=torch.complex128)
    expected = Trainer(whole(tagger(**settings)), 3).train(directions)
    found = Trainer(narrow(tagger(**settings)), 3).train(directions)
    for name, leaf in expected.items():
        far = TOLERANCE * max(1.0, np.abs(numbers(leaf)).max())
        np.testing.assert_allclose(numbers(found[name]), numbers(leaf), rtol=0, atol=far)
