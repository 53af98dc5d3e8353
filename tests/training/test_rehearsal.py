"""What a trace cannot tell is found out beforehand: idle parameters, and models that change more than their weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, Y, recipe
from unlearnkit.errors import RecipeError, UnsupportedOpsError
from unlearnkit.training.rehearsal import idle_parameters
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer


class Pooled(nn.Module):
    """Like BERT: a pooler that the loss does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pooler = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return torch.tanh(self.body(x))


def made(model: nn.Module, optimizer, **settings) -> uk.Recipe:
    model = model.double()
    return recipe(model=model, optimizer_made=optimizer(model), probes={}, **settings)


def directions(r: uk.Recipe) -> torch.Tensor:
    return torch.ones(1, len(r.unit_names), dtype=torch.complex128) / 3


def train(r: uk.Recipe):
    return Trainer(make_run(r, "float64", "cpu"), 1).train(directions(r))


@pytest.mark.parametrize("kind", [torch.optim.Adam, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_idle_parameters_stay_as_torch_leaves_them(kind):
    model = Pooled()
    r = made(model, lambda m: kind(m.parameters()))
    assert idle_parameters(make_run(r, "float64", "cpu")) == {"pooler.weight", "pooler.bias"}
    weights, truth = train(r), dict(uk.retrain(r, device="cpu").named_parameters())
    assert torch.equal(weights["pooler.weight"].constant, model.pooler.weight)
    assert not weights["pooler.weight"].coefficients.any()
    assert all(torch.allclose(truth[name], jet.constant, atol=1e-13) for name, jet in weights.items())


@pytest.mark.parametrize(
    "kind", [torch.optim.AdamW, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1)], ids=["adamw", "sgd"]
)
def test_a_decay_that_torch_would_not_apply_is_refused_with_its_cure(kind):
    with pytest.raises(RecipeError, match=r"weight_decay is set for .*'pooler.weight', 'pooler.bias'") as caught:
        train(made(Pooled(), lambda m: kind(m.parameters())))
    assert "requires_grad_(False)" in caught.value.hint
    frozen = Pooled()
    frozen.pooler.requires_grad_(False)
    r = made(frozen, lambda m: kind(m.parameters()))
    weights, truth = train(r), dict(uk.retrain(r, device="cpu").named_parameters())
    assert all(torch.allclose(truth[name], jet.constant, atol=1e-13) for name, jet in weights.items())


class Sometimes(nn.Module):
    """A part that only some batches use, by a number in the data."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.body, self.extra, self.first = nn.Linear(4, 3), nn.Linear(4, 3), first

    def forward(self, x):
        use = bool(x[0, 0] > 50) is self.first
        return self.body(x) + self.extra(x).tanh() if use else self.body(x)


MARKED = X.clone()
MARKED[:4, 0] += 100
IN_ORDER = [list(range(12))]


def sometimes(optimizer, *, first: bool) -> uk.Recipe:
    return made(Sometimes(first=first), optimizer, data=(MARKED, Y), order=IN_ORDER, epochs=1)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "kind",
    [lambda m: torch.optim.Adam(m.parameters()), lambda m: torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9)],
    ids=["adam", "momentum"],
)
def test_parameters_that_come_and_go_are_refused_where_torch_would_skip_their_state(kind, first):
    with pytest.raises(RecipeError, match=r"'extra.weight' at some steps only: step 1 is unlike step 0") as caught:
        train(sometimes(kind, first=first))
    assert "SGD without momentum" in caught.value.hint


@pytest.mark.parametrize("first", [True, False])
def test_parameters_may_come_and_go_with_plain_sgd(first):
    r = sometimes(lambda m: torch.optim.SGD(m.parameters(), lr=0.001), first=first)
    weights, truth = train(r), dict(uk.retrain(r, device="cpu").named_parameters())
    assert all(torch.allclose(truth[name], jet.constant, atol=1e-12) for name, jet in weights.items())


class Average(nn.Module):
    """Subtracts a running mean, kept in place or by assignment."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.linear, self.in_place = nn.Linear(4, 3), in_place
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        if self.training:
            new = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            if self.in_place:
                self.mean.copy_(new)
            else:
                self.mean = new
        return self.linear(x - self.mean)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_model_that_changes_its_buffers_is_refused(in_place, tmp_path):
    """Its plain run would not be the one that is sketched."""
    model = Average(in_place=in_place)
    r = made(model, lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    with pytest.raises(RecipeError, match="changes its buffers while it trains: 'mean'") as caught:
        sketched(r, tmp_path / "bundle", directions=1, device="cpu")
    assert "eval" in caught.value.hint
    assert not model.mean.any()
    assert not list(tmp_path.iterdir())
    train(made(Average(in_place=in_place).eval(), lambda m: torch.optim.SGD(m.parameters(), lr=0.1)))


def test_batch_norm_in_training_is_refused_with_the_reason(tmp_path):
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))

    r = made(normed(), lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    with pytest.raises(UnsupportedOpsError, match="let one example act on the others"):
        sketched(r, tmp_path / "bundle", directions=1, device="cpu")
    r = made(normed().eval(), lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    weights, truth = train(r), dict(uk.retrain(r, device="cpu").named_parameters())
    assert all(torch.allclose(truth[name], jet.constant, atol=1e-12) for name, jet in weights.items())


def test_a_loss_without_parameters_is_refused():
    r = recipe(loss=lambda m, b: cross_entropy(b[0][:, :3], b[1], reduction="none"))
    with pytest.raises(RecipeError, match="does not depend on any parameter"):
        idle_parameters(make_run(r, "float64", "cpu"))
