"""Every tensor says where it is: none is left where torch makes them by default, which a GPU would not find.

Torch without a GPU refuses to compute with fake tensors on one. So the other way round: the run is on the processor,
and what is made without a place is on "meta", where there are no numbers, and with which nothing else can be combined.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.pullback import probe_pullback, weights_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.training.probes import probe_function
from unlearnkit.training.run import Run, make_run
from unlearnkit.training.trainer import Trainer

UNITS, EXAMPLES, CLASSES = 4, 8, 3
OPTIMIZERS = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.01, eps=1e-3),
}


class Model(nn.Module):
    """Embedding, convolution, normalisation, attention of a kind, dropout: rules of every family."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.rows, self.mix = nn.Embedding(5, 4), nn.Conv1d(4, 4, 3, padding=1)
        self.norm, self.drop, self.last = nn.LayerNorm(4), nn.Dropout(dropout), nn.Linear(4, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.mix(self.rows(ids).transpose(1, 2)).transpose(1, 2))
        x = (x @ x.transpose(1, 2)).softmax(-1) @ x
        return self.last(self.drop(nn.functional.gelu(x)).mean(1))


def run(optimizer: str, *, dropout: float = 0.2, **settings) -> Run:
    torch.manual_seed(0)
    model, ids = Model(dropout), torch.randint(0, 5, (EXAMPLES, 6))
    labels = torch.randint(0, CLASSES, (EXAMPLES,))
    recipe = uk.Recipe(
        name="device",
        model=model,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=OPTIMIZERS[optimizer](model),
        data=(ids, labels),
        units=[f"unit-{i % UNITS}" for i in range(EXAMPLES)],
        epochs=1,
        batch_size=4,
        probes={"logits": lambda m: m(ids[:2]), "own_loss": uk.OwnLoss()},
        **settings,
    )
    return make_run(recipe, "float32", "cpu")


@pytest.fixture
def nowhere():
    with torch.device("meta"):
        yield


@pytest.mark.parametrize(("optimizer", "dtype"), [("sgd", torch.complex64), ("adamw", torch.float32)])
def test_training_over_jets_and_probes_make_nothing_in_the_default_place(optimizer, dtype, request):
    here = run(optimizer, clip_grad_norm=0.5)
    request.getfixturevalue("nowhere")
    directions = torch.ones(2, UNITS, dtype=dtype, device=here.device)
    weights = Trainer(here, 2).train(directions)
    for name, probe in here.recipe.probes.items():
        found = probe_function(here, name, probe)(weights, here.fixed)
        assert found.constant.device == found.tail.device == here.device
    assert all(leaf.tail.device == here.device for leaf in weights.values())


@pytest.mark.parametrize(("optimizer", "along"), [("sgd", False), ("adamw", True)])
def test_reverse_sweeps_make_nothing_in_the_default_place(optimizer, along, request, tmp_path):
    here = run(optimizer)
    request.getfixturevalue("nowhere")
    sweeps = ReverseSweeps(here, 1)
    directions = torch.ones(2, UNITS, device=here.device) if along else None
    count = sum(w.numel() for w in here.initial_weights().values())
    logits = torch.ones(1, 2, CLASSES, device=here.device)
    own, every = torch.ones(1, UNITS, device=here.device), torch.ones(1, count, device=here.device)
    pulls = [(probe_pullback(here, here.recipe.probes[n]), b) for n, b in {"logits": logits, "own_loss": own}.items()]
    for pull, basis in pulls if along else [*pulls, (weights_pullback(here), every)]:
        path = sweeps.forward(directions, Memory(0, tmp_path))
        found = sweeps.sweep(pull, basis, path)
        path.release()
        assert (found.tail if along else found).device == here.device


def test_arrays_are_brought_to_the_run_where_they_become_tensors():
    """``torch.from_numpy`` leaves them on the processor."""
    left = []
    for folder in ("taylor", "training", "sketching"):
        for path in Path(uk.__file__).parent.joinpath(folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            moved = {
                id(call.func.value)
                for call in ast.walk(tree)
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "to"
            }
            left += [
                f"{path.name}:{call.lineno}"
                for call in ast.walk(tree)
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.from_numpy" and id(call) not in moved
            ]
    assert left == []
