"""Tables in rows: whatever is sketched of them is what whole tables give, and costs what its rows do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, embedding
from torch.optim.swa_utils import get_ema_avg_fn

import unlearnkit as uk
from tests.sketching.tables import CLASSES, ITEMS, WIDTH, Tagger, tagger
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.pullback import probe_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.sketching.stretches import Stretches
from unlearnkit.taylor.jet import Jet
from unlearnkit.training import rows
from unlearnkit.training.recipe import Array
from unlearnkit.training.rows import tables_of
from unlearnkit.training.run import Run, make_run
from unlearnkit.training.state import Leaf
from unlearnkit.training.trainer import Trainer

TOLERANCE = 1e-12


def two_optimizers(parameters: Iterator[nn.Parameter]) -> list[torch.optim.Optimizer]:
    """One that lets rows rest and keeps a state of them, and one of the other parameters that does not."""
    table, *others = parameters
    adagrad = torch.optim.Adagrad([table], lr=0.5, lr_decay=0.1, initial_accumulator_value=0.1)
    return [adagrad, torch.optim.SGD(others, lr=0.3, momentum=0.9, weight_decay=0.1)]


CASES: dict[str, dict[str, Any]] = {
    "one group": {"epochs": 1},
    "two optimizers, accumulated, clipped": {
        "optimizer": two_optimizers,
        "epochs": 1,
        "accumulate": 2,
        "clip_grad_norm": 0.5,
    },
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def runs(request: pytest.FixtureRequest) -> tuple[Run, Run]:
    """The same run in rows and of whole tables, so that traces serve all tests."""
    narrow, whole = (make_run(tagger(**request.param), "float64", "cpu") for _ in range(2))
    assert tables_of(narrow).names == {"table.weight"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "_SHARE", 0)
        assert not tables_of(whole)
    return narrow, whole


def psi(count: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(3), dtype=dtype)


def numbers(leaf: Leaf) -> Array:
    parts = (leaf.constant, leaf.tail) if isinstance(leaf, Jet) else (leaf,)
    return np.concatenate([part.reshape(-1).numpy() for part in parts])


def swept(run: Run, directions: torch.Tensor | None, memory: Memory) -> Array:
    """Twice from the same states."""
    sweeps = ReverseSweeps(run, 1)
    trajectory = sweeps.forward(directions, memory)
    pull, basis = probe_pullback(run, run.recipe.probes["logits"]), torch.eye(2, dtype=torch.float64)
    first, again = (numbers(sweeps.sweep(pull, basis, trajectory)) for _ in range(2))
    trajectory.release()
    assert np.array_equal(first, again)
    return first


@pytest.mark.parametrize("directions", [None, psi(2, torch.complex128)], ids=["plain", "along directions"])
def test_reverse_sweeps_in_rows_are_those_of_whole_tables_however_states_are_kept(runs, directions, tmp_path):
    narrow, whole = runs
    expected = swept(whole, directions, Memory(1 << 30))
    for memory in (Memory(1 << 30), Memory(0), Memory(0, tmp_path)):
        found = swept(narrow, directions, memory)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    assert not list(tmp_path.iterdir())


def test_training_along_directions_in_rows_is_that_of_whole_tables(runs):
    directions = psi(2, torch.complex128)
    found, expected = (Trainer(run, 3).train(directions) for run in runs)
    for name, leaf in expected.items():
        far = TOLERANCE * np.abs(numbers(leaf)).max()
        np.testing.assert_allclose(numbers(found[name]), numbers(leaf), rtol=0, atol=far)


def test_first_orders_in_rows_are_slopes_of_real_retrainings(runs):
    run, small = runs[0], 1e-4
    slopes = swept(run, None, Memory(1 << 30)).reshape(2, -1)[:, 1]
    trained = [uk.retrain(run.recipe, ["unit-1"], weight=weight) for weight in (0, small, 2 * small)]
    base, one, two = (run.recipe.probes["logits"](model).detach().numpy() for model in trained)
    np.testing.assert_allclose((4 * one - two - 3 * base) / (2 * small), slopes, rtol=1e-5)


def test_a_state_that_is_kept_is_as_large_as_the_rows_of_its_step(runs):
    narrow, whole = (ReverseSweeps(run, 1).forward(None, Memory(1 << 30)) for run in runs)
    looked_up = len(tables_of(runs[0]).at(0).of["table.weight"])
    for run, rows_kept in ((narrow, looked_up), (whole, ITEMS)):
        _ = run.final
        kept = [sum(leaf.numel() for s in moment.states for leaf in (s.weights,)) for moment in run.backwards()]
        head = WIDTH * CLASSES + CLASSES
        assert kept[-1] == rows_kept * WIDTH + head


class Tied(Tagger):
    """Reads the table as a whole too."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """As `Tagger.forward`, less what the table has in the mean."""
        return super().forward(pairs) - self.table.weight.mean()


class Renormed(Tagger):
    """Changes rows when it looks them up."""

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Logits of long rows alone."""
        rows = embedding(pairs[:, 0], self.table.weight.clone(), max_norm=1.0, sparse=True)
        return self.head(rows)  # type: ignore[no-any-return]


WHOLE = {
    "read as a whole": {"model": Tied()},
    "renormed": {"model": Renormed()},
    "of dense gradients": {"model": Tagger(sparse=False)},
    "momentum": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)},
    "weight decay": {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1)},
    "averaged": {"average": uk.Average(avg_fn=get_ema_avg_fn(0.9))},
    "adam": {"optimizer": torch.optim.Adam},
    "mostly looked up": {"batch_size": 12},
}


@pytest.mark.parametrize("settings", WHOLE.values(), ids=WHOLE)
def test_a_table_that_moves_elsewhere_or_is_read_otherwise_is_taken_as_a_whole(settings):
    assert not tables_of(make_run(tagger(**settings), "float64", "cpu"))


def test_a_table_that_a_later_step_reads_as_a_whole_is_refused_by_name():
    recipe = tagger()
    late = recipe.data[0][recipe.parts[1][0]][0, 0]
    assert late not in recipe.data[0][recipe.parts[0][0]]

    def loss(model: Tagger, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        found = cross_entropy(model(batch[0]), batch[1], reduction="none")
        return found + model.table.weight.mean() if late in batch[0] else found

    with pytest.raises(uk.RecipeError, match=r"reads table 'table.weight' as a whole"):
        Trainer(make_run(tagger(loss=loss), "float64", "cpu"), 1).train(psi(1, torch.float64))


def test_rows_that_depend_on_weights_are_refused_by_name():
    def loss(model: Tagger, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        logits = model(batch[0])
        nearest = (model.head.weight.detach()[0] * 1e4).long() % ITEMS
        return cross_entropy(logits + model.table(nearest).sum(0), batch[1], reduction="none")

    with pytest.raises(uk.RecipeError, match="depends on weights"):
        _ = ReverseSweeps(run := make_run(tagger(loss=loss), "float64", "cpu"), 1).forward(None, Memory(0)).final
    assert tables_of(run)


@pytest.mark.parametrize("budget", [0, 3000, 10_000, 100_000])
def test_checkpoints_with_rows_of_their_stretches_keep_the_budget_or_go_to_disk(budget):
    size, grows, steps = 100, 60, 50
    found = Stretches.fitting(steps, size, budget, may_spill=True, grows=grows)
    kept = size + grows * (found.length - 1)
    if found.on_disk:
        assert found.length * size + 3 * size + grows * found.length <= max(budget, 4 * size + grows)
        assert found.disk == kept * found.checkpoints
    else:
        assert size * found.length + (kept * found.checkpoints if found.checkpoints > 1 else 0) <= budget
