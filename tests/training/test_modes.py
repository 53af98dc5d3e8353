"""Eval mode that a model was left in is said aloud; where it changes nothing, or is meant, nothing is said."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.small import recipe
from unlearnkit.taylor.check import Kind
from unlearnkit.training.modes import notes


class Functional(nn.Module):
    """Dropout that no module shows, as attention in transformers has it."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.linear, self.p = nn.Linear(4, 3), p

    def forward(self, x):
        return nn.functional.dropout(self.linear(x), self.p, self.training)


def layers(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), *between, nn.Linear(5, 3))


def of(model: nn.Module) -> uk.Recipe:
    model = model.double()
    return recipe(model=model, optimizer_made=torch.optim.SGD(model.parameters(), lr=0.1))


SAID = {
    "dropout": (lambda: layers(nn.Dropout(0.1)).eval(), "the model trains in eval mode"),
    "dropout that no module shows": (lambda: Functional(0.1).eval(), "the model trains in eval mode"),
    "all of a model with batch norm": (lambda: layers(nn.BatchNorm1d(5)).eval(), "the model trains in eval mode"),
    "dropout in a part": (
        lambda: layers(nn.Dropout(0.1).eval(), nn.Dropout(0.2)),
        "off in training, in eval mode: '1'$",
    ),
}
QUIET = {
    "training mode": lambda: layers(nn.Dropout(0.1)),
    "no difference": lambda: layers(nn.Tanh()).eval(),
    "dropout of nothing": lambda: Functional(0.0).eval(),
    "frozen batch norm": lambda: layers(nn.BatchNorm1d(5).eval()),
    "dropout of nothing in a part": lambda: layers(nn.Dropout(0.0).eval()),
}


@pytest.mark.parametrize("name", SAID)
def test_eval_mode_that_makes_a_difference_is_noted_with_its_cure(name):
    make, message = SAID[name]
    r = of(make())
    (note,) = notes(r)
    assert note.kind is Kind.NOTE
    assert "model.train()" in note.hint
    assert re.search(message, note.where)
    assert notes(r) == tuple(problem for problem in uk.check(r) if problem.kind is Kind.NOTE)


@pytest.mark.parametrize("name", QUIET)
def test_eval_mode_that_makes_none_is_not(name):
    assert notes(of(QUIET[name]())) == ()


def test_a_note_stands_in_nobodys_way(tmp_path):
    r = of(SAID["dropout"][0]())
    training = r.model.training
    assert uk.sketch(r, tmp_path / "bundle", device="cpu", progress=False).manifest.piecewise == ()
    assert r.model.training is training is False


def test_a_model_of_transformers_is_noted_as_it_is_loaded():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=40, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config).eval()  # what from_pretrained does last

    def losses(m, batch):
        logits = m(input_ids=batch[0]).logits[:, :-1]
        return nn.functional.cross_entropy(logits.transpose(1, 2), batch[0][:, 1:], reduction="none").mean(1)

    ids = torch.randint(40, (12, 5), generator=torch.Generator().manual_seed(0))
    settings = {"loss": losses, "data": (ids,), "probes": {}}
    r = recipe(model=model, optimizer_made=torch.optim.SGD(model.parameters(), lr=0.1), **settings)
    assert [note.operation for note in notes(r)] == ["model.eval()"]
    model.train()
    assert notes(recipe(model=model, optimizer_made=torch.optim.SGD(model.parameters(), lr=0.1), **settings)) == ()
