"""``uk.check`` tells everything that stands in the way at once, before any work is done."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, Y, loss, recipe
from unlearnkit.errors import NonFiniteError, PiecewiseOpsError, RecipeError, TraceError, UnsupportedOpsError
from unlearnkit.taylor.check import Kind


class Bad(nn.Module):
    """Several things at once that cannot be sketched, or not without a kink."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
        self.norm = nn.BatchNorm1d(6)
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        hidden = self.norm(self.first(x)).abs()
        kth = hidden.topk(2, dim=1).values.sum(1, keepdim=True)
        return self.last(torch.special.bessel_j0(hidden) + kth)


def bad(**settings) -> uk.Recipe:
    m = Bad().double()
    probes = {"clamped": lambda m: m.last(torch.ones(1, 6, dtype=torch.float64)).clamp(max=0.1).sum()}
    return recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1), probes=probes, **settings)


def test_everything_is_reported_at_once_with_its_place_and_cure():
    found = uk.check(bad())
    by_name = {problem.operation: problem for problem in found}
    for name, kind in {
        "aten.relu": Kind.PIECEWISE,
        "aten.abs": Kind.PIECEWISE,
        "aten.clamp": Kind.PIECEWISE,
        "aten.special_bessel_j0": Kind.UNSUPPORTED,
    }.items():
        assert by_name[name].kind is kind, name
    norm = next(problem for problem in found if "batch_norm" in problem.operation)
    assert norm.kind is Kind.UNSUPPORTED
    assert norm.module == "norm"
    assert "let one example act on the others" in norm.hint
    assert by_name["aten.relu"].module == "first.1"
    assert "GELU" in by_name["aten.relu"].hint
    assert "test_inspection.py" in by_name["aten.abs"].where
    assert ".abs()" in by_name["aten.abs"].where
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("allow", [False, True])
def test_sketching_refuses_all_of_it_in_one_error(tmp_path, allow):
    with pytest.raises(UnsupportedOpsError, match="cannot be sketched") as caught:
        sketched(bad(allow_piecewise=allow), tmp_path / "bundle", directions=1, device="cpu")
    text = str(caught.value)
    assert "batch_norm" in text
    assert "bessel_j0" in text
    assert ("aten.relu" in text) is not allow
    assert not list(tmp_path.iterdir())


def test_a_probe_that_only_jumps_is_refused(tmp_path):
    accuracy = {"accuracy": lambda m: (m(X).argmax(1) == Y).double().mean()}
    with pytest.raises(PiecewiseOpsError, match="only ever jumps"):
        sketched(recipe(probes=accuracy), tmp_path / "bundle", directions=1, device="cpu")


def test_the_first_steps_are_trained_although_a_kink_is_not_accepted_yet():
    """So a run that is not finite is told before anybody looks at its kinks."""
    m = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).double()
    wild = recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=1e300), probes={}, allow_piecewise=False)
    with pytest.raises(NonFiniteError):
        uk.check(wild)


def test_a_good_recipe_has_no_problems():
    assert uk.check(recipe()) == ()


def test_checking_trains_nothing_and_changes_nothing():
    r = recipe(dropout=0.5)
    before, state = r.digest, torch.get_rng_state()
    uk.check(r)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(r.model.parameters(), recipe().model.parameters(), strict=True))
    assert r.digest == before


def test_a_loss_that_fails_on_its_own_says_so():
    def broken(m, batch):
        return loss(m, (batch[0].reshape(-1, 7), batch[1]))

    with pytest.raises(
        RecipeError, match=r"loss\(model, batch\) raised RuntimeError: shape .*test_inspection.py"
    ) as caught:
        uk.check(recipe(loss=broken))
    assert caught.value.hint


def test_what_torch_cannot_trace_says_so():
    def leaving(m, batch):
        return loss(m, batch) * float(m.last.weight.detach().numpy().sum())

    with pytest.raises(TraceError, match=r"leaves torch, as .numpy\(\) does.*test_inspection.py") as caught:
        uk.check(recipe(loss=leaving))
    assert caught.value.hint
