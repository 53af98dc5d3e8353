"""Whatever couples the examples of a batch is found by trying; what only looks like it is let through.

The independent check is the harm itself: real retrainings without a person, whose data were once these and once
others, end at the same weights exactly when nothing of that person's data is left.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.training.calls import sketched
from unlearnkit.errors import RecipeError
from unlearnkit.taylor.check import Kind
from unlearnkit.training.coupling import _swapped, coupling, require_uncoupled
from unlearnkit.training.run import make_run

EXAMPLES, PEOPLE, LENGTH, CLASSES = 24, 12, 6, 3
_GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(EXAMPLES, LENGTH, 4, generator=_GENERATOR, dtype=torch.float64)
OTHERS = torch.randn(2, LENGTH, 4, generator=_GENERATOR, dtype=torch.float64)
Y = torch.randint(CLASSES, (EXAMPLES,), generator=_GENERATOR)
LENGTHS = torch.randint(1, LENGTH + 1, (EXAMPLES,), generator=_GENERATOR)
KEPT = (torch.arange(LENGTH) < LENGTHS[:, None]).double()
OWNERS = [f"u{i % PEOPLE}" for i in range(EXAMPLES)]
WEIGHTS = torch.tensor([1.0, 2.0, 0.5])


class Net(nn.Module):
    """Averages over the sequence; before and after its first layer, whatever is given."""

    def __init__(self, before: nn.Module | None = None, between: nn.Module | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.last, self.dropout = nn.Linear(4, 5), nn.Linear(5, CLASSES), nn.Dropout(dropout)
        self.before, self.between = before or nn.Identity(), between or nn.Identity()

    def forward(self, x):
        return self.last(self.hidden(self.before(x)).mean(1))

    def hidden(self, x):
        return self.dropout(torch.tanh(self.between(self.first(x))))


class Standardised(nn.Module):
    """Batch norm by hand."""

    def forward(self, x):
        return (x - x.mean(0)) / (x.var(0) + 1e-5).sqrt()


class StandardisedInputs(Net):
    """The same, written into the model's own forward pass."""

    def forward(self, x):
        return super().forward((x - x.mean(0)) / x.std(0))


class AcrossTheBatch(nn.Module):
    """Attention that takes the sequence first, and is given the batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(4, 2), nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.last(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Blind(Net):
    """A last layer that starts at zero, so that no loss depends on any input."""

    def __init__(self) -> None:
        super().__init__(Standardised())
        nn.init.zeros_(self.last.weight)


def losses(m, batch, **settings):
    return cross_entropy(m(batch[0]), batch[1], reduction="none", **settings)


def negatives(m, batch):
    z = m(batch[0])
    return cross_entropy(z @ z.T, torch.arange(len(z)), reduction="none")


def mixed(m, batch):
    other = torch.randperm(len(batch[0]))
    return losses(m, (0.7 * batch[0] + 0.3 * batch[0][other], batch[1]))


def against_the_hardest(m, batch):
    own = losses(m, batch)
    return own * (own / own.detach().max())


def balanced(m, batch):
    return losses(m, batch) / torch.bincount(batch[1], minlength=CLASSES)[batch[1]]


def focal(m, batch):
    own = losses(m, batch)
    return (1 - torch.exp(-own)).square() * own


def of_tokens(m, batch, *, kept: torch.Tensor) -> torch.Tensor:
    """Mean over the valid tokens of each example of a batch that is cut to its longest one."""
    x = batch[0][:, : int(kept.sum(1).max())]
    kept = kept[:, : x.shape[1]]
    logits = m.last(m.hidden(x)).transpose(1, 2)
    own = cross_entropy(logits, batch[1][:, None].expand(-1, x.shape[1]), reduction="none")
    return (own * kept).sum(1)


class Case(NamedTuple):
    model: type[nn.Module] | object
    loss: object
    place: str = ""


def padded(m, batch):
    return of_tokens(m, batch, kept=batch[2]) / batch[2].sum(1)


def by_all_tokens(m, batch):
    return of_tokens(m, batch, kept=batch[2]) / batch[2].sum()


COUPLED = {
    "in-batch negatives": Case(Net, negatives, "the loss itself"),
    "batch norm by hand": Case(lambda: Net(between=Standardised()), losses, "module 'between'"),
    "batch norm": Case(lambda: nn.Sequential(Net(), nn.BatchNorm1d(CLASSES)), losses, "module '1'"),
    "inputs standardised over the batch": Case(StandardisedInputs, losses, "the model's forward"),
    "behind a layer of zeros": Case(Blind, losses, "module 'before'"),
    "attention across the batch": Case(AcrossTheBatch, losses, "module 'attention'"),
    "mixup": Case(Net, mixed, "the loss itself"),
    "the hardest example of the batch": Case(Net, against_the_hardest, "the loss itself"),
    "classes balanced in the batch": Case(Net, balanced, "the loss itself"),
    "a mean over all tokens of the batch": Case(Net, by_all_tokens, "the loss itself"),
}
SEPARATE = {
    "plain": Case(Net, losses),
    "dropout": Case(lambda: Net(dropout=0.5), losses),
    "label smoothing": Case(Net, lambda m, b: losses(m, b, label_smoothing=0.1)),
    "class weights": Case(Net, lambda m, b: losses(m, b, weight=WEIGHTS)),
    "focal loss": Case(Net, focal),
    "layer norm": Case(lambda: Net(between=nn.LayerNorm(5)), losses),
    "frozen batch norm": Case(lambda: nn.Sequential(Net(), nn.BatchNorm1d(CLASSES).eval()), losses),
    "padding to the longest": Case(Net, padded),
    "padding to the longest, with dropout": Case(lambda: Net(dropout=0.5), padded),
}


DATA = (X, Y, KEPT)
_OF_U0 = torch.arange(EXAMPLES) % PEOPLE == 0
_OTHER_LENGTHS = torch.where(_OF_U0, LENGTHS % LENGTH + 1, LENGTHS)
# u0's examples are others, with other labels; and of other lengths.
OTHER_DATA = (
    X.index_copy(0, torch.tensor([0, PEOPLE]), OTHERS),
    (Y + _OF_U0) % CLASSES,
)
OTHER_KEPT = (torch.arange(LENGTH) < _OTHER_LENGTHS[:, None]).double()


def recipe(case: Case, data: tuple[torch.Tensor, ...] = DATA, **settings) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = case.model().double()
    return uk.Recipe(
        name="batch",
        model=model,
        loss=case.loss,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data=data,
        epochs=2,
        batch_size=8,
        **({"units": OWNERS} | settings),
    )


def left_of(case: Case, other: tuple[torch.Tensor, ...]) -> float:
    """How far trained weights are apart, after deleting u0, that saw other data of u0."""
    trained = [uk.retrain(recipe(case, data), ["u0"], dtype="float64", device="cpu") for data in (DATA, other)]
    one, two = (torch.cat([p.detach().reshape(-1) for p in model.parameters()]) for model in trained)
    return float((one - two).abs().max())


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", COUPLED)
def test_examples_that_act_on_each_other_are_found_with_their_place(name, precision):
    found = coupling(make_run(recipe(COUPLED[name]), precision, "cpu"))
    assert found.kind is Kind.COUPLED
    assert f"first in {COUPLED[name].place}:" in found.where
    assert "(step 0)" in found.where
    assert 'coupled="accept"' in found.hint


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", SEPARATE)
def test_examples_that_do_not_are_let_through(name, precision):
    run = make_run(recipe(SEPARATE[name]), precision, "cpu")
    assert coupling(run) is None
    assert require_uncoupled(run) == ()


@pytest.mark.parametrize("name", COUPLED)
def test_what_is_refused_leaves_something_of_the_deleted(name):
    assert left_of(COUPLED[name], (*OTHER_DATA, OTHER_KEPT)) > 1e-6


@pytest.mark.parametrize("name", SEPARATE)
def test_what_is_let_through_leaves_nothing_of_the_deleted(name):
    assert left_of(SEPARATE[name], (*OTHER_DATA, KEPT)) < 1e-13


def test_a_sketch_refuses_before_any_work_and_check_lists_it(tmp_path):
    case = COUPLED["in-batch negatives"]
    with pytest.raises(RecipeError, match="examples of a batch act on each other's losses") as caught:
        sketched(recipe(case), tmp_path / "bundle", directions=1, device="cpu")
    assert 'coupled="accept"' in caught.value.hint
    assert not list(tmp_path.iterdir())
    assert [problem.kind for problem in uk.check(recipe(case))] == [Kind.COUPLED]
    assert uk.check(recipe(SEPARATE["plain"])) == ()


def test_what_the_recipe_accepts_is_in_the_manifest(tmp_path):
    r = recipe(COUPLED["batch norm by hand"], coupled="accept", probes={"weight": lambda m: m.last.weight})
    bundle = sketched(r, tmp_path / "bundle", directions=1, degree=1, dtype="float64", device="cpu")
    entry = {"operation": "loss(model, batch)", "where": "module 'between'", "kind": "coupled"}
    assert [asdict(found) for found in bundle.manifest.piecewise] == [entry]
    assert np.allclose(bundle.probe("weight").base, uk.retrain(r, device="cpu").last.weight.detach(), atol=1e-13)
    assert uk.Bundle.open(tmp_path / "bundle").manifest.piecewise == bundle.manifest.piecewise


def test_accepting_changes_the_digest_and_other_words_are_refused():
    assert recipe(SEPARATE["plain"]).digest != recipe(SEPARATE["plain"], coupled="accept").digest
    with pytest.raises(RecipeError, match='coupled=True, expected "refuse" or "accept"'):
        recipe(SEPARATE["plain"], coupled=True)


def test_one_persons_examples_may_act_on_each_other():
    """They are deleted together, and what they do to nobody's examples is nobody's business but the deleted one's."""
    assert coupling(make_run(recipe(COUPLED["in-batch negatives"], units=["a"] * EXAMPLES), "float64", "cpu")) is None
    half = ["a" if i % 2 else None for i in range(EXAMPLES)]
    assert coupling(make_run(recipe(COUPLED["in-batch negatives"], units=half), "float64", "cpu")) is not None


class Pairs(NamedTuple):
    """Only neighbours of the batch act on each other."""

    def __call__(self, m, batch):
        own = losses(m, batch)
        return own + own.detach().reshape(-1, 2).flip(1).reshape(-1)


def test_pairs_of_the_batch_are_found():
    assert coupling(make_run(recipe(Case(Net, Pairs())), "float64", "cpu")) is not None


class Counting(Net):
    """Its forward pass changes what the next one does: at every call, or once after some."""

    calls = 0

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self.after = after

    def forward(self, x):
        self.calls += 1
        return super().forward(x) / (self.calls if not self.after else 1 + (self.calls > self.after))


def test_losses_that_are_others_each_time_are_not_taken_for_coupled_ones():
    found = coupling(make_run(recipe(Case(Counting, losses)), "float64", "cpu"))
    assert "cannot be told" in found.where
    assert coupling(make_run(recipe(Case(lambda: Counting(7), losses)), "float64", "cpu")) is None


def test_what_cannot_be_told_is_said():
    """Every example draws as many random numbers as its class says, in training and in evaluation."""

    def drawing(m, batch):
        torch.rand(int((batch[1] * 7 ** torch.arange(8)).sum()))
        return losses(m, batch)

    found = coupling(make_run(recipe(Case(Net, drawing)), "float64", "cpu"))
    assert found.kind is Kind.COUPLED
    assert "cannot be told" in found.where


def test_examples_that_are_rows_of_tensors_are_swapped_for_others():
    run = make_run(recipe(Case(Net, padded)), "float64", "cpu")
    indices, positions = np.arange(8), np.array([1, 4, 6])
    for seed in range(20):
        swapped = _swapped(run, indices, positions, np.random.default_rng(seed))
        assert np.flatnonzero(swapped != indices).tolist() == positions.tolist()
        assert 0 <= swapped.min() <= swapped.max() < EXAMPLES
