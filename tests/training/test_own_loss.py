"""Own losses: the mean loss of each unit on its own examples, and nothing of others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.training.small import OWNERS, X, Y, model, probe, recipe
from unlearnkit.errors import RecipeError
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.own_loss import own_batches
from unlearnkit.training.probes import OwnLossFunction
from unlearnkit.training.run import make_run


def with_own(**settings) -> uk.Recipe:
    return recipe(probes={"own_loss": uk.OwnLoss()}, **settings)


def by_hand(m: torch.nn.Module, r: uk.Recipe) -> list[float]:
    """One unit after the other, each with its examples alone."""
    owners, found = [str(owner) for owner in OWNERS], []
    for name in r.unit_names:
        rows = [i for i, owner in enumerate(owners) if owner == name]
        with torch.no_grad():
            found.append(float(cross_entropy(m(X[rows]), Y[rows])))
    return found


def test_it_is_the_mean_loss_on_each_units_own_examples():
    r, m = with_own(), model().eval()
    with torch.no_grad():
        np.testing.assert_allclose(r.probes["own_loss"](m).numpy(), by_hand(m, r), rtol=1e-12)


@pytest.mark.parametrize("units", [None, [2, 0], [5]])
def test_over_jets_it_is_the_same_and_moves_with_the_weights(units):
    """A jet whose tail is a step of the weights: its slope is the difference quotient of the plain losses."""
    r = with_own(batch_size=4)
    run = make_run(r, "float64", "cpu")
    weights = run.initial_weights()
    step = {
        name: torch.randn(w.shape, dtype=w.dtype, generator=torch.Generator().manual_seed(0))
        for name, w in weights.items()
    }
    jets = {name: Jet.of(w, step[name][None, None]) for name, w in weights.items()}
    found = OwnLossFunction(run)(jets, run.fixed, None if units is None else np.array(units))
    chosen = list(range(8)) if units is None else units

    def plain(h: float) -> np.ndarray:
        m = r.model.eval()
        m.load_state_dict(
            m.state_dict() | {name: w + h * step[name] for name, w in weights.items()} | tied(weights, step, h)
        )
        return np.array(by_hand(m, r))[chosen]

    def tied(weights, step, h: float) -> dict[str, torch.Tensor]:
        return {"second.weight": weights["first.weight"] + h * step["first.weight"]}

    np.testing.assert_allclose(found.constant.numpy(), plain(0.0), rtol=1e-12)
    slope = (plain(1e-5) - plain(-1e-5)) / 2e-5
    np.testing.assert_allclose(found.coefficients[0, 0].numpy(), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
def test_batches_hold_every_example_of_the_units_once(size):
    r = with_own(batch_size=size)
    for units in (None, np.array([2, 0])):
        chosen = np.arange(8) if units is None else units
        seen: dict[int, float] = {}
        for batch in own_batches(r, units):
            assert len(batch.rows) == len(batch.places) == len(batch.shares) == size
            for row, place, share in zip(batch.rows, batch.places, batch.shares, strict=True):
                assert chosen[place] == r.unit_of_example[row]
                if share:
                    assert row not in seen
                    seen[row] = share
        expected = [i for i, unit in enumerate(r.unit_of_example) if unit in chosen]
        assert sorted(seen) == expected
        for unit in chosen:
            assert sum(share for row, share in seen.items() if r.unit_of_example[row] == unit) == pytest.approx(1)


def test_a_model_in_another_precision_gets_its_data_so():
    r = with_own()
    with torch.no_grad():
        single = r.probes["own_loss"](model().float().eval())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), by_hand(model().eval(), r), rtol=1e-4)


def test_the_digest_says_that_there_are_own_losses_and_not_which_object_they_are():
    assert with_own().digest == with_own().digest
    assert with_own().digest != recipe(probes={"own_loss": probe}).digest
    assert with_own().own_loss == "own_loss"
    assert recipe().own_loss == ""


def test_a_recipe_gives_them_its_own_data():
    marker = uk.OwnLoss()
    one, other = recipe(probes={"own": marker}), recipe(probes={"own": marker}, data=(X * 2, Y))
    m = model().eval()
    with torch.no_grad():
        assert not torch.allclose(one.probes["own"](m), other.probes["own"](m))
        np.testing.assert_allclose(one.probes["own"](m).numpy(), by_hand(m, one), rtol=1e-12)


def test_there_are_own_losses_once_and_of_a_recipe():
    with pytest.raises(RecipeError, match=r"several OwnLoss\(\), expected at most one"):
        recipe(probes={"one": uk.OwnLoss(), "two": uk.OwnLoss()})
    with pytest.raises(RecipeError, match="own losses of no data"):
        uk.OwnLoss()(model())
