"""A recipe holds everything that decides a training run, refuses what it cannot honour, and has a digest of it all."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import OWNERS, X, Y, model, probe, recipe, scalar_probe
from tests.training.small import loss as small_loss
from unlearnkit.errors import RecipeError, UnknownNameError
from unlearnkit.training.run import make_run


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0, expected a whole number >= 1"),
        ({"epochs": 2.0}, r"epochs=2.0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"accumulate": 0}, "accumulate=0, expected a whole number >= 1"),
        ({"reduction": "median"}, 'reduction=.median., expected "mean" or "sum" or "tokens"'),
        ({"lr_interval": "batch"}, "lr_interval='batch', expected"),
        (
            {"batches": [[0, 1]], "epochs": None, "batch_size": None, "lr_interval": "epoch"},
            "batches, which have no epochs",
        ),
        ({"units": OWNERS[:3]}, "got 3 owners for 12 examples"),
        ({"order": [[0, 1, 2, 99]] * 2}, "indices from 0 to 99"),
        ({"probes": {"Test Loss": probe}}, "'Test Loss' cannot be a file name"),
        ({"probes": {"../up": probe}}, "cannot be a file name"),
        ({"probes": {"a" * 65: probe}}, "cannot be a file name"),
        ({"data": (X, Y[:3])}, "equally many"),
    ],
)
def test_settings_out_of_range_are_refused_when_the_recipe_is_made(settings, message):
    with pytest.raises(RecipeError, match=message):
        recipe(**settings)


def test_optimizer_and_schedule_are_read_when_the_recipe_is_made():
    m = model()
    with pytest.raises(RecipeError, match="Adamax is not supported"):
        recipe(model=m, optimizer_made=torch.optim.Adamax(m.parameters()))
    with pytest.raises(RecipeError, match="not in the model"):
        recipe(optimizer_made=torch.optim.SGD(model().parameters(), lr=0.1))
    with pytest.raises(RecipeError, match="another optimizer"):
        recipe(lr_schedule=torch.optim.lr_scheduler.StepLR(torch.optim.SGD(m.parameters(), lr=0.1), 1))
    for p in m.parameters():
        p.requires_grad_(False)
    with pytest.raises(RecipeError, match="no parameter that requires a gradient"):
        recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1))


def test_a_schedule_that_switches_momentum_on_is_refused():
    """torch leaves the momentum buffer alone while momentum is zero; the update that is traced would not."""

    class Switch(torch.optim.lr_scheduler.LRScheduler):
        def get_lr(self):
            for group in self.optimizer.param_groups:
                group["momentum"] = 0.9 * (self.last_epoch > 1)
            return [group["lr"] for group in self.optimizer.param_groups]

    m = model()
    optimizer = torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    with pytest.raises(RecipeError, match="switches momentum or weight_decay of group 0 on or off"):
        recipe(model=m, optimizer_made=optimizer, lr_schedule=Switch(optimizer))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda m, b: small_loss(m, b).mean(), r"has shape \(\), expected a tensor of .*, shape \(4,\)"),
        (lambda m, b: m(b[0]), r"has shape \(4, 3\)"),
        (lambda m, b: 1.0, "is a float"),
    ],
)
def test_a_loss_that_is_not_one_number_per_example_is_refused(loss, message, tmp_path):
    for call in (uk.check, uk.retrain, lambda r: sketched(r, tmp_path / "bundle", directions=1)):
        with pytest.raises(RecipeError, match=message) as caught:
            call(recipe(loss=loss))
        assert 'reduction="none"' in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_probe_that_is_not_real_numbers_is_refused(tmp_path):
    for result, kind in ((lambda m: m(X).argmax(1), "torch.int64"), (lambda m: float(m(X).sum()), "float")):
        with pytest.raises(RecipeError, match=f"probe 'bad' returned {kind}, expected a tensor of real numbers"):
            uk.check(recipe(probes={"good": probe, "bad": result}))


def test_downweights_by_name():
    r = recipe()
    assert r.unit_names == ("a", "b", "c", "d", "e", "f", "7", "g")
    assert r.weights_of(["b", 7]).tolist() == [0, 1, 0, 0, 0, 0, 1, 0]
    assert r.weights_of(["7", "7", np.int64(7)], 0.25).tolist() == [0, 0, 0, 0, 0, 0, 0.25, 0]
    assert not r.weights_of(()).any()
    with pytest.raises(UnknownNameError, match="no unit 'x', 8"):
        r.weights_of(["a", "x", 8])
    with pytest.raises(TypeError, match="expected a list of units, got one text"):
        r.weights_of("a")
    with pytest.raises(ValueError, match=r"weight=1\.5"):
        r.weights_of(["a"], 1.5)


def test_the_recipe_keeps_its_own_copy_of_the_model():
    m = model()
    optimizer = torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.2)
    r = recipe(model=m, optimizer_made=optimizer)
    digest, expected = r.digest, recipe("sgd").digest
    small_loss(m, (X, Y)).sum().backward()
    optimizer.step()  # the user trains the model after all
    later = recipe(model=m, optimizer_made=torch.optim.SGD([p for p in m.parameters() if p.requires_grad], lr=0.2))
    assert digest == expected != later.digest
    start = make_run(r, "float64", "cpu").initial_weights()
    assert all(torch.equal(p, start[name]) for name, p in model().named_parameters() if name in start)


# -- the digest ------------------------------------------------------------------------------------------------------

BASE = recipe().digest


def nudged() -> nn.Module:
    m = model()
    with torch.no_grad():
        m.last.weight[0, 0] += 1e-12
    return m


def buffered() -> nn.Module:
    m = model()
    m.shift[0] += 1e-12
    return m


def evaluating() -> nn.Module:
    m = model()
    m.dropout.eval()
    return m


def with_model(m: nn.Module, **settings):
    """The recipe of ``small`` with another model and momentum SGD."""
    kept = {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.02} | settings
    return recipe(model=m, optimizer_made=torch.optim.SGD([p for p in m.parameters() if p.requires_grad], **kept))


RENAMED = [None if owner is None else f"person {owner}" for owner in OWNERS]
CHANGES = {
    "weights": lambda: with_model(nudged()),
    "buffers": lambda: with_model(buffered()),
    "dtype": lambda: with_model(model().float()),
    "mode of a module": lambda: with_model(evaluating()),
    "frozen": lambda: with_model(model().requires_grad_()),
    "dropout": lambda: recipe(dropout=0.1),
    "data": lambda: recipe(data=(X * (1 + 1e-15), Y)),
    "labels": lambda: recipe(data=(X, (Y + 1) % 3)),
    "order": lambda: recipe(order_seed=1),
    "explicit order": lambda: recipe(order=[list(range(12)), list(range(12))]),
    "epochs": lambda: recipe(epochs=3),
    "batch size": lambda: recipe(batch_size=3),
    "rate": lambda: with_model(model(), lr=0.1 + 1e-9),
    "momentum": lambda: with_model(model(), momentum=0.95),
    "nesterov": lambda: with_model(model(), dampening=0, nesterov=True),
    "dampening": lambda: with_model(model(), dampening=0.2),
    "weight decay": lambda: with_model(model(), weight_decay=0.03),
    "optimizer": lambda: recipe("adam"),
    "epsilon": lambda: recipe("analytic adam"),
    "schedule": lambda: recipe(schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 1)),
    "interval": lambda: recipe(schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 1), lr_interval="epoch"),
    "loss": lambda: recipe(loss=lambda m, b: 2 * small_loss(m, b)),
    "probe": lambda: recipe(probes={"probe": scalar_probe, "scalar": scalar_probe}),
    "name of a probe": lambda: recipe(probes={"other": probe, "scalar": scalar_probe}),
    "fewer probes": lambda: recipe(probes={"probe": probe}),
    "seed": lambda: recipe(seed=1),
    "owners": lambda: recipe(units=[*OWNERS[:-1], "a"]),
    "nobody's": lambda: recipe(units=[None, *OWNERS[1:]]),
    "piecewise": lambda: recipe(allow_piecewise=True),
    "name": lambda: recipe(name="other"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_with(change):
    changed = CHANGES[change]().digest
    assert changed != BASE
    assert changed == CHANGES[change]().digest  # and is the same whenever the same is made


def test_every_change_gives_another_digest():
    digests = [make().digest for make in CHANGES.values()]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    "same",
    [
        lambda: recipe(units=RENAMED),
        lambda: recipe(data=(X.clone(), Y.clone())),
        lambda: recipe(order=np.concatenate(recipe().parts, axis=None).reshape(2, -1)),
        lambda: with_model(model()),
        lambda: with_model(model(), lr=torch.tensor(0.1, dtype=torch.float64)),
        lambda: with_model(model(), foreach=False),
        lambda: recipe(lr_schedule=lambda step: 0.1),
        lambda: recipe(probes={"scalar": scalar_probe, "probe": probe}),
    ],
    ids=["unit names", "copies", "the same order", "a copy", "a tensor", "speed", "a constant rate", "order of probes"],
)
def test_the_digest_does_not_change_with(same):
    assert same().digest == BASE


def test_the_digest_is_the_same_after_running(tmp_path):
    r = recipe()
    sketched(r, tmp_path / "bundle", directions=1, dtype="float32", device="cpu")
    uk.retrain(r, ["a"], device="cpu")
    assert r.digest == recipe().digest == BASE


def test_the_description_names_settings_but_nobody():
    description = json.dumps(recipe().description)
    assert all(f'"{owner}"' not in description for owner in recipe(units=RENAMED).unit_names)
    group = recipe().description["optimizer"][0]
    assert group["kind"] == "sgd"
    assert group["first_step"] == [0.1, 0.02, 0.9, 1.0]
    assert group["parameters"] == ["first.weight", "first.bias", "second.bias", "last.weight"]
