"""A run over jets beside plain torch: they part at a step and a parameter, or only by rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.training.small import OPTIMIZERS, OTHER_OPTIMIZERS, X, Y, recipe
from unlearnkit.errors import NonFiniteError, RecipeError
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import multiply
from unlearnkit.training.beside import _Beside, agree, train_beside_plain, verify_probe
from unlearnkit.training.probes import probe_function
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer

PSI = torch.full((1, 8), 8**-0.5, dtype=torch.complex128)


def beside(r: uk.Recipe, dtype: str = "float64", degree: int = 1):
    run = make_run(r, dtype, "cpu")
    return train_beside_plain(Trainer(run, degree), PSI.to(run.dtype.to_complex()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS | OTHER_OPTIMIZERS)
def test_every_optimizer_does_the_same_steps(optimizer, dtype):
    r = recipe(optimizer, dropout=0.3)
    weights = beside(r, dtype)
    plain = dict(uk.retrain(r, dtype=dtype, device="cpu").named_parameters())
    largest = 1e-12 if dtype == "float64" else 1e-4
    assert all(torch.allclose(plain[n], jet.constant, rtol=0, atol=largest) for n, jet in weights.items())


class Altered:
    """A gradient over jets, one of whose parameters is off at one step."""

    def __init__(self, function: JetFunction, at: int, factor: float) -> None:
        self.function, self.at, self.factor, self.step = function, at, factor, -1

    @property
    def resolution(self) -> float:
        return self.function.resolution

    def __call__(self, *arguments, room):
        found, self.step = self.function(*arguments, room=room), self.step + 1
        if self.step == self.at:
            found["last.weight"] = multiply(found["last.weight"], self.factor)
        return found


@pytest.mark.parametrize("factor", [1 + 1e-6, 0.0, float("nan")])
def test_the_first_step_and_parameter_are_named(factor):
    trainer = Trainer(make_run(recipe(), "float64", "cpu"), 1)
    trainer.gradient = Altered(trainer.gradient, 3, factor)
    error = NonFiniteError if math.isnan(factor) else RecipeError
    with pytest.raises(error, match=r"training step 3: the .*gradient of 'last.weight'"):
        train_beside_plain(trainer, PSI)


def test_an_update_that_is_not_plain_torchs_is_named(monkeypatch):
    update = PlainLoop.update

    def clipped(self, step):
        for p in self.weights.values():
            p.grad.mul_(0.5)
        update(self, step)

    monkeypatch.setattr(PlainLoop, "update", clipped)
    with pytest.raises(RecipeError, match=r"training step 0: the update of 'first.weight' is off by 1\.0"):
        beside(recipe("sgd"))


def test_float64_acquits_what_float32_rounds(monkeypatch):
    """With a tolerance far below rounding, every step is looked at again in float64, and passes."""
    resolution = JetFunction.resolution.fget
    monkeypatch.setattr(JetFunction, "resolution", property(lambda f: 0.0 if resolution(f) > 1e-10 else 1e-16))
    looked, exact = [], _Beside._exact_differences
    monkeypatch.setattr(_Beside, "_exact_differences", lambda self, step: looked.append(step) or exact(self, step))
    r = recipe("adam", dropout=0.3)
    beside(r, "float32")
    assert looked == list(range(r.steps))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_plain_run_that_is_not_finite_is_told_as_that(value):
    x = X.clone()
    x[5] = value
    r = recipe(data=(x, Y), order=[list(range(12))], epochs=1)
    with pytest.raises(NonFiniteError, match="training step 1: the plain run itself is not finite") as caught:
        beside(r)
    assert caught.value.step == 1
    assert "no sketch is at fault" in caught.value.hint
    with pytest.raises(NonFiniteError, match="training step 1: the constant term, the plain run, is not finite"):
        Trainer(make_run(r, "float64", "cpu"), 1).train(PSI)
    with pytest.raises(NonFiniteError, match="training step 1: the plain run itself is not finite"):
        uk.check(r)


def test_a_plain_run_that_diverges_is_told_as_that(tmp_path):
    r = recipe("sgd", schedule=lambda _: lambda step: 1e200 if step else 0.1)
    with pytest.raises(NonFiniteError, match="training step 2: the plain run itself is not finite in the gradient of"):
        uk.sketch(r, tmp_path / "bundle", dtype="float64", device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_probe_that_is_another_in_plain_torch_is_refused(dtype):
    calls = []

    def fickle(m):
        calls.append(1)
        return m.last.weight.sum() * len(calls)

    r = recipe(probes={"fickle": fickle, "steady": lambda m: m.last.weight.sum()})
    run = make_run(r, dtype, "cpu")
    weights = run.initial_weights()
    for name in r.probes:
        base = probe_function(run, name, r.probes[name])(weights, run.fixed).numpy()
        if name == "steady":
            verify_probe(run, name, weights, base)
            continue
        with pytest.raises(RecipeError, match="probe 'fickle': plain torch gives another value"):
            verify_probe(run, name, weights, base)


def test_values_agree_to_half_the_digits_of_the_largest():
    eps = 2.0**-52
    values = np.array([1.0, 1e-9, np.inf, np.nan])
    assert agree(values, values, eps)
    assert agree(values + 1e-8, values, eps)
    assert not agree(values + 1e-7, values, eps)
    assert not agree(np.zeros(4), values, eps)
    assert agree(np.array(1e-17), np.array(-1e-17), eps)
