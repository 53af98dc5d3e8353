"""Reading a torch optimizer for its settings, and its update as a pure function."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import unlearnkit as uk
from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers import Rule, group_names, kind_of

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "dampening": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "sgd with decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.3),
    "everything": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam with decay": lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.7, 0.9), eps=1e-2, weight_decay=0.1),
    "adam decoupled": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "adam capturable": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1, dtype=torch.float64), foreach=False),
}


def pure_steps(optimizer: torch.optim.Optimizer, gradients: list[torch.Tensor]) -> torch.Tensor:
    """The rule applied again and again, from zero moments."""
    (group,) = optimizer.param_groups
    rule = Rule.of(kind_of(optimizer), group)
    p = group["params"][0].detach().clone()
    moments = tuple(torch.zeros_like(p) for _ in range(rule.states))
    for step, gradient in enumerate(gradients):
        scalars = [torch.tensor(s, dtype=p.dtype) for s in rule.scalars(group, step)]
        p, moments = rule.update(p, gradient, moments, scalars)
    return p


@pytest.fixture
def gradients():
    return list(torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_pure_update_is_torchs(name, gradients):
    p = parameter()
    optimizer = OPTIMIZERS[name]([p])
    expected = pure_steps(optimizer, gradients)
    for gradient in gradients:
        p.grad = gradient
        optimizer.step()
    assert torch.allclose(p.detach(), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("decoupled", [True, False])
def test_our_adam_steps_as_its_formula_says(inside, decoupled, gradients):
    """Kingma & Ba 2015, algorithm 1; decay as Loshchilov & Hutter 2019, algorithm 2; epsilon inside or outside."""
    p = parameter()
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-2, "weight_decay": 0.2}
    optimizer = uk.Adam([p], **settings, eps_inside_sqrt=inside, decoupled_weight_decay=decoupled)
    x, m, v = [value.item() for value in p.detach().flatten()], [0.0] * 6, [0.0] * 6
    for t, gradient in enumerate(gradients, start=1):
        p.grad = gradient
        optimizer.step()
        for i, value in enumerate(gradient.flatten().tolist()):
            g = value + (0 if decoupled else 0.2 * x[i])
            x[i] -= 0.1 * 0.2 * x[i] if decoupled else 0
            m[i], v[i] = 0.8 * m[i] + 0.2 * g, 0.9 * v[i] + 0.1 * g * g
            first, second = m[i] / (1 - 0.8**t), v[i] / (1 - 0.9**t)
            x[i] -= 0.1 * first / (math.sqrt(second + 1e-2) if inside else math.sqrt(second) + 1e-2)
    assert torch.allclose(p.detach().flatten(), torch.tensor(x, dtype=torch.float64), rtol=1e-13)


def test_our_adam_is_a_torch_optimizer(gradients):
    """Closures, parameters without a gradient, saving and loading, a scheduler on top."""
    p, idle = parameter(), parameter()
    optimizer = uk.Adam([p, idle], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(parameter().detach().square().sum().item())
    assert torch.equal(idle, parameter())
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05

    q, other_idle = nn.Parameter(p.detach().clone()), parameter()
    resumed = uk.Adam([q, other_idle], lr=0.7)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for optimizer_, parameter_ in ((optimizer, p), (resumed, q)):
        parameter_.grad = gradients[0]
        optimizer_.step()
    assert torch.equal(p, q)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: torch.optim.Adam(p, amsgrad=True), r"amsgrad=True \(group 0\) is not supported"),
        (lambda p: torch.optim.AdamW(p, maximize=True), "maximize=True"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize=True"),
        (
            lambda p: torch.optim.Adam([{"params": [next(p)]}, {"params": list(p), "amsgrad": True}]),
            r"amsgrad=True \(group 1\)",
        ),
        (torch.optim.RMSprop, "optimizer=RMSprop is not supported"),
        (torch.optim.Adamax, "optimizer=Adamax is not supported"),
        (lambda p: type("MySGD", (torch.optim.SGD,), {})(p, lr=0.1), "optimizer=MySGD is not supported"),
    ],
)
def test_what_the_update_does_not_cover_is_refused_by_name(make, message):
    with pytest.raises(RecipeError, match=message) as caught:
        kind_of(make(model().parameters()))
    assert caught.value.hint


def test_an_optimizer_that_has_been_stepped_is_refused():
    m = model()
    optimizer = torch.optim.Adam(m.parameters())
    m(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with pytest.raises(RecipeError, match="stepped already") as caught:
        kind_of(optimizer)
    assert "make a new one" in caught.value.hint


def test_groups_are_named_after_the_model_and_leave_frozen_parameters_out():
    m = model()
    m[0].bias.requires_grad_(False)
    groups = [{"params": [m[1].bias, m[0].bias]}, {"params": [m[0].weight], "lr": 1.0}]
    assert group_names(torch.optim.SGD(groups, lr=0.1), m) == [("1.bias",), ("0.weight",)]


def test_parameters_of_another_model_are_refused():
    with pytest.raises(RecipeError, match=r"group 0 holds 4 parameter\(s\) that are not in the model"):
        group_names(torch.optim.SGD(model().parameters(), lr=0.1), model())
