"""Reading a torch optimizer for its settings, and its update as a pure function."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training import small
from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers import (
    Rule,
    as_one,
    group_names,
    refuse_stepped,
    register,
    registry,
    rule_class,
    verify_rule,
)

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
    "sgd climbs": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, maximize=True),
    "adam climbs": lambda p: torch.optim.Adam(p, lr=0.1, maximize=True),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.5, 0.6), amsgrad=True),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1, weight_decay=0.1),
    "nadam decoupled": lambda p: torch.optim.NAdam(p, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1),
    "radam decoupled": lambda p: torch.optim.RAdam(p, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, weight_decay=0.1),
    "rmsprop centred": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.8, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.1),
    "adagrad from a start": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.3),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.1, weight_decay=0.1, maximize=True),
    "adafactor of its own": lambda p: torch.optim.Adafactor(p, lr=2, beta2_decay=-0.5, eps=(1e-3, 0.7), d=2.0),
    "muon": lambda p: torch.optim.Muon(p, lr=0.1),
    "muon of its own": lambda p: torch.optim.Muon(
        p, lr=0.1, momentum=0.3, nesterov=False, weight_decay=0, ns_steps=3, adjust_lr_fn="match_rms_adamw"
    ),
    "adamw climbs": lambda p: torch.optim.AdamW(p, lr=0.1, maximize=True, amsgrad=True),
    "sgd with everything": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.1, maximize=True
    ),
    "adam capturable": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1, dtype=torch.float64), foreach=False),
}


def pure_steps(optimizer: torch.optim.Optimizer, gradients: list[torch.Tensor]) -> torch.Tensor:
    """The rule applied again and again, from zero moments."""
    (group,) = optimizer.param_groups
    rule = rule_class(optimizer).of(group)
    p = group["params"][0].detach().clone()
    moments = tuple(torch.full_like(p, value) for value in rule.initial)
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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rule_holds_coordinate_by_coordinate_also_without_a_gradient(name):
    verify_rule(OPTIMIZERS[name])


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


class Sign(torch.optim.Optimizer):
    """Steps of nearly one size, of a library of somebody's own."""

    def __init__(self, params, lr: float = 0.1, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad / (1 + p.grad.square()).sqrt())


@dataclass(frozen=True, slots=True)
class SignRule(Rule):
    """Its rule; ``wrong`` by a factor."""

    wrong: float = 1.0
    kind: ClassVar[str] = "sign"

    @classmethod
    def of(cls, group):
        return cls(wrong=group.get("wrong", 1.0))

    @property
    def initial(self):
        return ()

    def scalars(self, group, step):
        return (group["lr"],)

    def descend(self, p, g, state, scalars):
        return p - self.wrong * scalars[0] * g * torch.rsqrt(1 + g * g), ()


def test_others_are_made_known_and_held_to_their_optimizer(tmp_path):
    register(Sign)(SignRule)
    try:
        verify_rule(Sign)
        with pytest.raises(RecipeError, match=r"SignRule is not what Sign does: they are .* apart after step 0"):
            verify_rule(lambda p: Sign([{"params": list(p), "wrong": 1.1}]))
        with pytest.raises(ValueError, match="Sign has a rule already: SignRule"):
            register(Sign)(SignRule)
        m = small.model()
        r = small.recipe(model=m, optimizer_made=Sign(small.trained(m)), probes={"probe": small.scalar_probe})
        swept = uk.sketch(r, tmp_path / "bundle", dtype="float64", device="cpu").probe("probe")
        changed = small.scalar_probe(uk.retrain(r, ["b"], weight=1e-5, device="cpu"))
        base = small.scalar_probe(uk.retrain(r, device="cpu"))
        assert float(swept.predict(["b"]).change) == pytest.approx(float((changed - base).detach()) / 1e-5, rel=1e-3)
    finally:
        registry._RULES.pop(Sign)


@pytest.mark.parametrize(
    "make",
    [torch.optim.Adamax, torch.optim.Rprop, lambda p: type("MySGD", (torch.optim.SGD,), {})(p, lr=0.1)],
)
def test_what_has_no_rule_is_refused_by_name(make):
    optimizer = make(model().parameters())
    with pytest.raises(RecipeError, match=f"optimizer={type(optimizer).__name__} is not supported") as caught:
        rule_class(optimizer)
    assert "extend-the-engine" in caught.value.hint


def test_an_optimizer_that_has_been_stepped_is_refused():
    m = model()
    optimizer = torch.optim.Adam(m.parameters())
    m(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with pytest.raises(RecipeError, match="stepped already") as caught:
        refuse_stepped(optimizer)
    assert "make a new one" in caught.value.hint


def two(m: nn.Module, **changes) -> list[torch.optim.Optimizer]:
    first, others = [p for p in m.parameters() if p.ndim == 2], [p for p in m.parameters() if p.ndim == 1]
    return [torch.optim.Muon(first, lr=0.02), torch.optim.SGD([*others, *changes.get("again", [])], lr=0.1)]


def test_several_step_together_each_by_its_own_schedule():
    m = model().double()
    made = two(m)
    schedules = [
        torch.optim.lr_scheduler.ExponentialLR(made[0], 0.5),
        torch.optim.lr_scheduler.StepLR(made[1], 2, gamma=0.1),
    ]
    settings = {"loss": lambda m, b: m(b[0]).squeeze(1), "data": (small.X[:, :2], small.Y), "units": small.OWNERS}
    r = uk.Recipe(name="two", model=m, optimizer=made, lr_schedule=schedules, epochs=1, batch_size=3, **settings)
    assert [[group["lr"] for group in step] for step in r.settings] == [
        pytest.approx(rates) for rates in ([0.02, 0.1], [0.01, 0.1], [0.005, 0.01], [0.0025, 0.01])
    ]
    for step, rates in enumerate(r.settings):
        for optimizer, own in zip(made, rates, strict=True):
            optimizer.param_groups[0].update(own)
            optimizer.zero_grad()
        m(small.X[r.parts[step][0], :2]).mean().backward()
        for optimizer in made:
            optimizer.step()
    assert max(uk.compare(r, m, device="cpu").values()) < 1e-12
    assert [group["kind"] for group in r.description["optimizer"]] == ["muon", "sgd"]
    assert uk.compare(r.replace(), m, device="cpu").first_step is None


def test_of_several_what_is_wrong_is_named():
    m = model()
    for made, message in (
        ([], "got an empty list"),
        ([torch.optim.SGD(m.parameters(), lr=0.1), torch.optim.Rprop], "optimizer: got the class Rprop"),
        (two(m, again=[m[0].weight]), "a parameter is in two of them"),
    ):
        with pytest.raises(RecipeError, match=message):
            as_one(made)


def test_groups_are_named_after_the_model_and_leave_frozen_parameters_out():
    m = model()
    m[0].bias.requires_grad_(False)
    groups = [{"params": [m[1].bias, m[0].bias]}, {"params": [m[0].weight], "lr": 1.0}]
    assert group_names(torch.optim.SGD(groups, lr=0.1), m) == [("1.bias",), ("0.weight",)]


def test_parameters_of_another_model_are_refused():
    with pytest.raises(RecipeError, match="group 0 holds 4 parameters not in the model"):
        group_names(torch.optim.SGD(model().parameters(), lr=0.1), model())


@pytest.mark.parametrize("flag", ["foreach", "fused", "capturable"])
def test_how_an_optimizer_steps_changes_nothing_and_asks_for_no_gpu(flag):
    found = []
    for value in (True, False):
        m = small.model()
        optimizer = torch.optim.AdamW(small.trained(m), lr=0.02, **{flag: value})
        made = small.recipe(model=m, optimizer_made=optimizer)
        found.append(uk.retrain(made, device="cpu").parameters())
    assert all(torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(*found, strict=True))
