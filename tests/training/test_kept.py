"""What forward keeps between calls is refused by name where it matters, and reproduced where it does not."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import loss, recipe
from unlearnkit.errors import RecipeError, TraceError
from unlearnkit.taylor.draws import outside_state


class Stateful(nn.Module):
    """``temper(model, hidden)`` between two layers, and whatever it keeps in the model."""

    def __init__(self, temper, **attributes) -> None:
        super().__init__()
        self.first, self.last, self.temper = nn.Linear(4, 5), nn.Linear(5, 3), temper
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.last(self.temper(self, torch.tanh(self.first(x))))


def made(temper, objective=loss, epochs: int = 4, **attributes) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Stateful(temper, **attributes).double()
    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    return recipe(model=model, optimizer_made=sgd, loss=objective, probes={}, epochs=epochs)


def counter(m, hidden):
    m.calls += 1
    return hidden / m.calls


def schedule(m, hidden):
    return hidden * m.schedule.pop(0)


def own_generator(m, hidden):
    return hidden * m.generator.random()


def running_mean(m, hidden):
    m.center = 0.9 * m.center + 0.1 * hidden.detach().mean(0)
    return hidden - m.center


COUNT = [0]


def counting_loss(m, batch):
    COUNT[0] += 1
    return loss(m, batch) / COUNT[0]


def identity(_m, hidden):
    return hidden


REFUSED = {
    "a counter": (lambda: made(counter, calls=0), "it changes model.calls"),
    "a schedule": (lambda: made(schedule, schedule=list(np.linspace(0.1, 1, 99))), "it changes model.schedule"),
    "Python's generator": (lambda: made(own_generator, generator=random.Random(1)), "it changes model.generator"),
    "numpy's generator": (lambda: made(own_generator, generator=np.random.default_rng(1)), "model.generator"),
    "a running mean": (lambda: made(running_mean, center=torch.zeros(5)), "it changes model.center"),
    "a counter outside the model": (lambda: made(identity, counting_loss), "it changes what the loss refers to"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_kept_between_calls_is_refused_by_name(kind, tmp_path):
    make, message = REFUSED[kind]
    for refuse in (uk.check, lambda r: sketched(r, tmp_path / "bundle", directions=1, device="cpu")):
        with pytest.raises(RecipeError, match=f"with the same weights and random numbers: .*{message}") as caught:
            refuse(make())
        assert "only weights may change" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_torch_generator_of_its_own_is_refused():
    def noise(m, hidden):
        return hidden * torch.rand(5, generator=m.generator, dtype=hidden.dtype)

    r = made(noise)
    object.__setattr__(r, "loss", lambda m, b: loss(setattr(m, "generator", torch.Generator()) or m, b))
    with pytest.raises(TraceError, match=r"a torch.Generator of its own .*test_kept.py"):
        uk.check(r)


def late(m, hidden):
    m.calls += 1
    return hidden * (0.5 if m.calls > 60 else 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_matters_only_later_is_found_at_its_step(dtype, tmp_path):
    r = made(late, calls=0, epochs=25)
    assert uk.check(r) == ()
    r = made(late, calls=0, epochs=25)
    message = r"training step 60: the gradient of 'first.weight' is off by .*; the model changes model.calls while it"
    with pytest.raises(RecipeError, match=message) as caught:
        sketched(r, tmp_path / "bundle", directions=1, device="cpu", dtype=dtype)
    assert caught.value.hint
    assert not (tmp_path / "bundle").exists()


def logged(m, hidden):
    m.calls += 1
    m.seen = hidden.detach()
    return hidden


def auxiliary(m, hidden):
    m.penalty = hidden.square().mean(1)
    return hidden


def loss_with_penalty(m, batch):
    return loss(m, batch) + m.penalty


def dropped_layer(_m, hidden):
    return hidden * 0.1 if random.random() < 0.5 else hidden


def masked_by_numpy(_m, hidden):
    return hidden * torch.from_numpy(np.random.rand(5)).to(hidden)  # noqa: NPY002  as user code draws


def dropped_by_torch(_m, hidden):
    return hidden * 0.1 if torch.rand([]) < 0.5 else hidden


EXACT = {
    "a log": lambda: made(logged, calls=0),
    "an auxiliary loss": lambda: made(auxiliary, loss_with_penalty),
    "Python's random numbers": lambda: made(dropped_layer),
    "numpy's random numbers": lambda: made(masked_by_numpy),
    "branches on torch's random numbers": lambda: made(dropped_by_torch),
}


@pytest.mark.parametrize("kind", EXACT)
def test_what_plain_torch_does_again_is_exactly_reproduced(kind, tmp_path):
    r = EXACT[kind]()
    assert uk.check(r) == ()
    states = outside_state(), torch.get_rng_state()
    axes = np.eye(8) + 0j
    bundle = sketched(r, tmp_path / "bundle", directions=axes, degree=1, dtype="float64", device="cpu")
    plain, again = (uk.retrain(r, device="cpu").state_dict() for _ in range(2))
    assert outside_state() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    for name, array in bundle.model_state().items():
        assert np.abs(array - plain[name].numpy()).max() < 1e-12
        assert torch.equal(plain[name], again[name])


@pytest.mark.parametrize("seed", range(12))
def test_a_branch_on_a_random_number_works_at_every_seed(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        assert uk.check(made(dropped_by_torch)) == ()
