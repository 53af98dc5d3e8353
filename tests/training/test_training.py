"""Training over jets: its constant term is the plain run, its tails are the derivatives of the plain run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

import unlearnkit as uk
from tests.training.slow import derivatives
from tests.training.small import BATCH, OPTIMIZERS, OWNERS, X, Y, loss, model, probe, recipe
from unlearnkit.errors import NonFiniteError
from unlearnkit.training import trainer as trainer_module
from unlearnkit.training.probes import probe_function
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer

UNITS = len(set(OWNERS) - {None})
START = model()
SCHEDULES = {
    "constant": (None, "step"),
    "step": (lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5), "epoch"),
    "one cycle": (lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.3, total_steps=6), "step"),
    "callable": (lambda _: lambda step: 0.1 / (1 + step), "step"),
}


def plain_loop(r: uk.Recipe, optimizer: str, schedule=None, every: int = 1, w=None):
    """What a user would write: ``zero_grad``, ``backward``, ``step``."""
    m = model()
    o = OPTIMIZERS[optimizer](m)
    scheduler = schedule(o) if schedule else None
    w = torch.zeros(UNITS + 1, dtype=torch.float64) if w is None else w
    for step, (rows,) in enumerate(r.parts):
        if callable(scheduler) and not hasattr(scheduler, "step"):
            factor = scheduler(step) / o.param_groups[0]["lr"]  # groups keep their ratios
            for group in o.param_groups:
                group["lr"] *= factor
        o.zero_grad()
        losses = loss(m, (X[rows], Y[rows]))
        ((1 - w[r.unit_of_example[rows]]) * losses).sum().div(BATCH).backward()
        o.step()
        if hasattr(scheduler, "step") and (step + 1) % every == 0:
            scheduler.step()
    return m


def difference(m, weights) -> float:
    return max(float((p - weights[name]).detach().abs().max()) for name, p in m.named_parameters() if name in weights)


def complex_directions(count: int, seed: int = 5) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    psi = generator.standard_normal((count, UNITS)) + 1j * generator.standard_normal((count, UNITS))
    return torch.from_numpy(psi / np.linalg.norm(psi, axis=1, keepdims=True))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_constant_term_and_retraining_are_the_plain_loop(optimizer, schedule):
    make, interval = SCHEDULES[schedule]
    if schedule == "one cycle" and optimizer in ("sgd", "groups"):
        make = lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.3, total_steps=6, cycle_momentum=False)  # noqa: E731
    r = recipe(optimizer, schedule=make, lr_interval=interval)
    expected = plain_loop(r, optimizer, make, every=1 if interval == "step" else 3)
    weights = Trainer(make_run(r, "float64", "cpu"), 1).train(complex_directions(1))
    assert difference(expected, {name: jet.constant for name, jet in weights.items()}) < 1e-12
    assert difference(expected, dict(uk.retrain(r, device="cpu").named_parameters())) < 1e-12


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_retraining_without_units_is_the_plain_loop_with_their_losses_reduced(weight):
    r = recipe("momentum")
    w = torch.zeros(UNITS + 1, dtype=torch.float64)
    w[[1, 6]] = weight
    expected = plain_loop(r, "momentum", w=w)
    gone = [r.unit_names[1], r.unit_names[6]]
    assert difference(expected, dict(uk.retrain(r, gone, weight=weight, device="cpu").named_parameters())) < 1e-12


def unrolled(r: uk.Recipe, w: torch.Tensor) -> torch.Tensor:
    """The probe as a function of the downweights, by the groups' own numbers; pure torch, for torch's derivatives."""
    weights, fixed = (
        {n: p.detach() for n, p in START.named_parameters() if p.requires_grad is q} for q in (True, False)
    )
    states: dict = {}
    everybody = torch.cat([w, w.new_zeros(1)])
    m = START
    for step, (rows,) in enumerate(r.parts):

        def objective(p, rows=rows):
            losses = loss_with(m, {**fixed, **p}, rows)
            return ((1 - everybody[torch.from_numpy(r.unit_of_example[rows])]) * losses).sum() / BATCH

        gradients = torch.func.grad(objective)(weights)
        for group, settings in zip(r.groups, r.settings[step], strict=True):
            for name in group.parameters:
                step_of = ADAM if "betas" in settings else SGD
                weights[name], states[name] = step_of(weights[name], gradients[name], states.get(name), step, settings)
    return functional_call(m, {**fixed, **weights}, (X[:2],)).softmax(1)


def loss_with(m, weights, rows):
    logits = functional_call(m, weights, (X[rows],))
    return torch.nn.functional.cross_entropy(logits, Y[rows], reduction="none")


def SGD(p, g, state, step, settings):  # noqa: N802  named like the optimizer
    g = g + settings["weight_decay"] * p
    mu = settings["momentum"]
    if mu:
        state = g if step == 0 else mu * state + (1 - settings["dampening"]) * g
        g = g + mu * state if settings["nesterov"] else state
    return p - settings["lr"] * g, state


def ADAM(p, g, state, step, settings):  # noqa: N802
    decay, lr, (b1, b2), eps = (settings[k] for k in ("weight_decay", "lr", "betas", "eps"))
    if settings.get("decoupled_weight_decay"):
        p = p - lr * decay * p
    else:
        g = g + decay * p
    first, second = (torch.zeros_like(p), torch.zeros_like(p)) if step == 0 else state
    first, second = b1 * first + (1 - b1) * g, b2 * second + (1 - b2) * g * g
    hat, scale = first / (1 - b1 ** (step + 1)), second / (1 - b2 ** (step + 1))
    root = torch.sqrt(scale + eps) if settings.get("eps_inside_sqrt") else torch.sqrt(scale) + eps
    return p - lr * hat / root, (first, second)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tails_are_the_derivatives_of_the_unrolled_loop(optimizer):
    r = recipe(optimizer, epochs=1)
    degree, real = 3, complex_directions(2).real.contiguous()
    run = make_run(r, "float64", "cpu")
    found = probe_function(run, "probe", probe)(Trainer(run, degree).train(real.to(torch.complex128)), run.fixed)
    for j, direction in enumerate(real):
        zero = torch.zeros(UNITS, dtype=torch.float64)
        expected = derivatives(lambda w: unrolled(r, w), [[zero, direction, zero, zero]])
        for order in range(1, degree + 1):
            tail = found.coefficients[order - 1, j]
            assert tail.imag.abs().max() < 1e-12
            assert (tail.real - expected[order][0] / math.factorial(order)).norm() < 1e-9 * max(1, tail.abs().norm())


def test_turning_a_direction_turns_the_coefficients():
    """Coefficient r of ``exp(i phi) psi`` is ``exp(i r phi)`` times that of psi."""
    run = make_run(recipe("analytic adam"), "float64", "cpu")
    psi, phi = complex_directions(3), 0.7
    plain, turned = (Trainer(run, 3).train(p) for p in (psi, psi * np.exp(1j * phi)))
    for name, jet in plain.items():
        for r in range(1, 4):
            assert torch.allclose(
                turned[name].coefficients[r - 1], jet.coefficients[r - 1] * np.exp(1j * r * phi), atol=1e-12
            )


def test_directions_together_are_directions_alone():
    run = make_run(recipe("adam"), "float64", "cpu")
    psi = complex_directions(3)
    together, alone = Trainer(run, 2).train(psi), [Trainer(run, 2).train(p[None]) for p in psi]
    for name, jet in together.items():
        assert torch.allclose(jet.coefficients, torch.cat([a[name].coefficients for a in alone], 1), atol=1e-13)


def test_the_update_may_be_cut_into_pieces(monkeypatch):
    run = make_run(recipe("adam"), "float64", "cpu")
    psi = complex_directions(2)
    whole = Trainer(run, 2).train(psi)
    monkeypatch.setattr(trainer_module, "UPDATE_ELEMENTS", 28)
    pieces = Trainer(run, 2).train(psi)
    assert all(
        torch.allclose(whole[name].coefficients, pieces[name].coefficients, rtol=1e-13, atol=1e-15) for name in whole
    )


def test_dropout_masks_are_those_of_retraining():
    r = recipe("momentum", dropout=0.4)
    weights = Trainer(make_run(r, "float64", "cpu"), 1).train(complex_directions(1))
    again = dict(uk.retrain(r, device="cpu").named_parameters())
    assert all(torch.allclose(again[name], jet.constant, atol=1e-13) for name, jet in weights.items())
    other = dict(uk.retrain(recipe("momentum", dropout=0.4, seed=1), device="cpu").named_parameters())
    assert any(not torch.allclose(other[name], jet.constant, atol=1e-3) for name, jet in weights.items())


def test_a_vanishing_second_moment_is_reported_with_its_cure():
    """A weight whose gradient is zero in the real run, but not along a direction: sqrt(v) has no Taylor series."""
    m = torch.nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        m.weight.zero_()
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)  # the two gradients cancel
    r = uk.Recipe(
        name="cancelling",
        model=m,
        loss=lambda m, batch: m(batch[0])[:, 0].exp() * 1.0,
        optimizer=torch.optim.Adam(m.parameters(), lr=0.1),
        data=(x,),
        units=["a", "b"],
        epochs=1,
        batch_size=2,
        order=[[0, 1]],
    )
    psi = torch.tensor([[1.0, 0.0]], dtype=torch.complex128)
    with pytest.raises(NonFiniteError, match=r"step 0.*'weight'") as caught:
        Trainer(make_run(r, "float64", "cpu"), 2).train(psi)
    assert caught.value.step == 0
    assert "eps_inside_sqrt" in caught.value.hint


def test_weights_that_never_get_a_gradient_do_not_stop_adam():
    """An embedding row that no example uses: zero in every direction, so its root vanishes identically."""

    class Bag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = torch.nn.Embedding(4, 2).double()

        def forward(self, i):
            return self.rows(i).tanh().sum(-1)

    m = Bag()
    r = uk.Recipe(
        name="rows",
        model=m,
        loss=lambda m, batch: m(batch[0]),
        optimizer=torch.optim.Adam(m.parameters(), lr=0.1),
        data=(torch.tensor([0, 1, 0, 1]),),
        units=list("abcd"),
        epochs=2,
        batch_size=2,
    )
    psi = torch.randn(2, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    weights = Trainer(make_run(r, "float64", "cpu"), 2).train(psi)
    tail = weights["rows.weight"].coefficients
    assert tail.isfinite().all()
    assert not tail[:, :, 2:].any()
    assert tail[:, :, :2].abs().min() > 0


def test_an_overflow_names_step_operation_and_module():
    r = recipe("sgd", schedule=lambda _: lambda step: 1e200 if step else 0.1)
    with pytest.raises(NonFiniteError, match="training step 2") as caught:
        Trainer(make_run(r, "float64", "cpu"), 2).train(complex_directions(1))
    assert caught.value.step == 2
    assert caught.value.node
    assert caught.value.hint
