"""Reverse sweeps give what torch's autograd gives through the unrolled training loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.pullback import probe_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.training.probes import probe_function
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer

EXAMPLES, FEATURES, CLASSES, BATCH, EPOCHS = 18, 4, 3, 6, 3
# Units own one to four examples each; example 5 belongs to nobody.
OWNERS = ["a", "b", "b", "c", "c", None, "c", "d", "e", "f", "f", "g", "h", "i", "j", "c", "a", "k"]
GENEROUS, STINGY = Memory(1 << 30), Memory(0)


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, CLASSES)).double()


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(EXAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    return x, torch.randint(CLASSES, (EXAMPLES,), generator=generator)


DATA = data()


def probe(m: nn.Module) -> torch.Tensor:
    """Two numbers that depend on the weights in different, nonlinear ways."""
    x, y = DATA
    return torch.stack([cross_entropy(m(x[:4]), y[:4]), m(x[4:8]).softmax(1)[:, 0].sum()])


def sgd(p, g, s, t, lr):
    """SGD with momentum 0.9, dampening 0.1 and weight decay 0.02, as torch documents it."""
    g = g + 0.02 * p
    s = g if t == 0 else 0.9 * s + 0.9 * g
    return p - lr * s, s


def nesterov(p, g, s, t, lr):
    s = g if t == 0 else 0.8 * s + g
    return p - lr * (g + 0.8 * s), s


def adam(p, g, s, t, lr, *, decay=0.0, decoupled=0.0, inside=False):
    """Adam with betas 0.8 and 0.95, eps 1e-3."""
    first, second = (torch.zeros_like(p), torch.zeros_like(p)) if t == 0 else s
    p, g = p - lr * decoupled * p, g + decay * p
    first, second = 0.8 * first + 0.2 * g, 0.95 * second + 0.05 * g * g
    hat, scale = first / (1 - 0.8 ** (t + 1)), second / (1 - 0.95 ** (t + 1))
    step = hat / torch.sqrt(scale + 1e-3) if inside else hat / (torch.sqrt(scale) + 1e-3)
    return p - lr * step, (first, second)


OPTIMIZERS = {
    "sgd": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.02),
        sgd,
    ),
    "nesterov": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True), nesterov),
    "adam": (
        lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01),
        lambda *a: adam(*a, decay=0.01),
    ),
    "adamw": (
        lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
        lambda *a: adam(*a, decoupled=0.1),
    ),
    "analytic adam": (
        lambda p: uk.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3),
        lambda *a: adam(*a, inside=True),
    ),
}


def rate(step: int) -> float:
    return 0.1 / (1 + step)


def recipe(name: str) -> uk.Recipe:
    m = model()
    return uk.Recipe(
        name=name,
        model=m,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=OPTIMIZERS[name][0](m.parameters()),
        data=DATA,
        units=OWNERS,
        epochs=EPOCHS,
        batch_size=BATCH,
        lr_schedule=rate,
        probes={"probe": probe},
    )


def unrolled(name: str, w: torch.Tensor) -> torch.Tensor:
    """The probe as a function of downweights ``[units]``: the training loop written out, differentiable by autograd."""
    r, update = recipe(name), OPTIMIZERS[name][1]
    m = model()
    weights = {k: p.detach().requires_grad_() for k, p in m.named_parameters()}
    states: dict[str, object] = dict.fromkeys(weights)
    x, y = DATA
    everybody = torch.cat([w, w.new_zeros(1)])
    for t, (rows,) in enumerate(r.parts):
        losses = cross_entropy(torch.func.functional_call(m, weights, (x[rows],)), y[rows], reduction="none")
        loss = ((1 - everybody[r.unit_of_example[rows]]) * losses).sum() / BATCH
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        for (k, p), g in zip(list(weights.items()), gradients, strict=True):
            weights[k], states[k] = update(p, g, states[k], t, rate(t))

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.m = m

        def forward(self) -> torch.Tensor:
            return probe(self.m)

    return torch.func.functional_call(Holder(), {f"m.{k}": p for k, p in weights.items()}, ())


def sweep(name: str, directions: torch.Tensor | None, *, degree: int = 1, budget: Memory = GENEROUS):
    run = make_run(recipe(name), "float64", "cpu")
    basis = torch.eye(2, dtype=torch.float64)
    sweeps = ReverseSweeps(run, degree)
    return sweeps.sweep(probe_pullback(run, probe), basis, sweeps.forward(directions, budget))


def real_directions(count: int) -> torch.Tensor:
    units = len(set(OWNERS) - {None})
    return torch.randn(count, units, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_gradient_is_the_one_of_the_unrolled_loop(name):
    w = torch.zeros(len(recipe(name).unit_names), dtype=torch.float64, requires_grad=True)
    values = unrolled(name, w)
    expected = torch.stack([torch.autograd.grad(v, w, retain_graph=True)[0] for v in values])
    assert relative(sweep(name, None), expected) < 1e-10


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hessian_products_are_those_of_double_backward(name):
    directions = real_directions(2)
    w = torch.zeros(directions.shape[1], dtype=torch.float64, requires_grad=True)
    values = unrolled(name, w)
    gradients = [torch.autograd.grad(v, w, create_graph=True)[0] for v in values]
    expected = torch.stack(
        [torch.stack([torch.autograd.grad(g @ d, w, retain_graph=True)[0] for g in gradients]) for d in directions]
    )
    result = sweep(name, directions)
    assert relative(result.coefficients[0], expected) < 1e-8
    assert relative(result.constant, torch.stack(gradients).detach()) < 1e-10


@pytest.mark.parametrize("name", ["sgd", "analytic adam"])
def test_checkpoints_change_nothing(name):
    directions = real_directions(2)
    whole, stretches = sweep(name, directions), sweep(name, directions, budget=STINGY)
    assert torch.equal(whole.coefficients, stretches.coefficients)
    assert torch.equal(sweep(name, None), sweep(name, None, budget=STINGY))


@pytest.mark.parametrize("name", ["sgd", "analytic adam"])
def test_euler_identity_links_sweeps_to_forward_sketches(name):
    """``<psi, grad f_r(psi)> = r f_r(psi)``, and forward sketches know ``f_r(psi)``: degrees 1 to 3."""
    real = real_directions(4)
    psi = torch.complex(real[:2], real[2:]) / 3
    result = sweep(name, psi, degree=2)
    run = make_run(recipe(name), "float64", "cpu")
    weights = Trainer(run, 3).train(psi)
    forward = probe_function(run, "probe", probe)(weights, run.fixed).coefficients  # [degree, directions, elements]
    gradients = [result.constant.expand(len(psi), -1, -1).to(psi.dtype), *result.coefficients]
    for r, gradient in enumerate(gradients, start=1):
        assert relative(torch.einsum("dn,den->de", psi, gradient), r * forward[r - 1]) < 1e-9


def test_memory_holds_about_the_square_root_of_the_steps(monkeypatch):
    """With a stingy budget, no more than ``2 sqrt(T) + 1`` states are alive at once."""
    from unlearnkit.training.state import GroupState

    alive, most = [0], [0]
    copy = GroupState.copy

    class Counted(GroupState):
        def __del__(self) -> None:
            alive[0] -= 1

    def counted(self):
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        made = copy(self)
        return Counted(made.group, made.shapes, made.weights, made.moments, made.gradient)

    monkeypatch.setattr(GroupState, "copy", counted)
    sweep("sgd", None, budget=STINGY)
    steps = recipe("sgd").steps
    assert most[0] <= 2 * math.ceil(math.sqrt(steps)) + 1 < steps + 2


def test_first_order_predicts_single_deletions_of_small_weight():
    """Against real retrainings with a small downweight: the remainder is of second order."""
    r = recipe("sgd")
    gradient = sweep("sgd", None).numpy()
    with torch.no_grad():
        base = probe(uk.retrain(r)).numpy()
        for unit in (0, 2, 9):
            changes = [probe(uk.retrain(r, [r.unit_names[unit]], weight=h)).numpy() - base for h in (1e-3, 2e-3)]
            errors = [np.abs(c - h * gradient[:, unit]).max() for c, h in zip(changes, (1e-3, 2e-3), strict=True)]
            assert errors[0] < 1e-5
            assert errors[1] / errors[0] == pytest.approx(4, rel=0.05)
