"""A small recipe, and its training loop written out in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk

EXAMPLES, FEATURES, CLASSES, BATCH = 12, 4, 3, 4
# Units own one to three examples; example 5 belongs to nobody.
OWNERS = ["a", "b", "b", "c", "c", None, "c", "d", "e", "f", 7, "g"]
_GENERATOR = torch.Generator().manual_seed(4)
X = torch.randn(EXAMPLES, FEATURES, generator=_GENERATOR, dtype=torch.float64)
Y = torch.randint(CLASSES, (EXAMPLES,), generator=_GENERATOR)


class Classifier(nn.Module):
    """A tied weight, a frozen one, a buffer, dropout: what the bookkeeping must get right."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.second.weight = self.first.weight
        self.last = nn.Linear(FEATURES, CLASSES)
        self.dropout = nn.Dropout(dropout)
        self.last.bias.requires_grad_(False)
        self.register_buffer("shift", torch.linspace(-1, 1, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x + self.shift))
        return self.last(self.dropout(torch.nn.functional.gelu(self.second(hidden))))


def model(dropout: float = 0.0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Classifier(dropout).double()


def loss(m: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(m(batch[0]), batch[1], reduction="none")


def probe(m: nn.Module) -> Tensor:
    return m(X[:2]).softmax(1)


def scalar_probe(m: nn.Module) -> Tensor:
    return cross_entropy(m(X[:6]), Y[:6])


def trained(m: nn.Module) -> list[nn.Parameter]:
    return [p for p in m.parameters() if p.requires_grad]


OPTIMIZERS: Mapping[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda m: torch.optim.SGD(trained(m), lr=0.2),
    "momentum": lambda m: torch.optim.SGD(trained(m), lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.02),
    "nesterov": lambda m: torch.optim.SGD(trained(m), lr=0.1, momentum=0.8, nesterov=True),
    "adam": lambda m: torch.optim.Adam(trained(m), lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01),
    "adamw": lambda m: torch.optim.AdamW(trained(m), lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    "analytic adam": lambda m: uk.Adam(trained(m), lr=0.05, betas=(0.8, 0.95), eps=1e-3),
    "groups": lambda m: torch.optim.SGD(
        [{"params": list(m.first.parameters()), "lr": 0.3}, {"params": [m.last.weight], "momentum": 0.5}], lr=0.1
    ),
}

OTHER_OPTIMIZERS: Mapping[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "amsgrad": lambda m: torch.optim.AdamW(trained(m), lr=0.05, betas=(0.8, 0.6), eps=1e-3, amsgrad=True),
    "climbing": lambda m: torch.optim.SGD(trained(m), lr=0.05, momentum=0.5, weight_decay=0.1, maximize=True),
    "nadam": lambda m: torch.optim.NAdam(trained(m), lr=0.05, eps=1e-3, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda m: torch.optim.RAdam(trained(m), lr=0.05, betas=(0.8, 0.5), eps=1e-3),
    "adafactor": lambda m: torch.optim.Adafactor(trained(m), lr=0.05, weight_decay=0.1),
    "several": lambda m: [
        torch.optim.Muon([m.first.weight], lr=0.005),
        torch.optim.AdamW([m.first.bias, m.second.bias, m.last.weight], lr=0.05, eps=1e-3),
    ],
    "rmsprop": lambda m: torch.optim.RMSprop(trained(m), lr=0.02, eps=1e-3, momentum=0.5, centered=True),
    "adagrad": lambda m: torch.optim.Adagrad(
        trained(m), lr=0.1, lr_decay=0.1, weight_decay=0.01, initial_accumulator_value=0.1
    ),
}


def recipe(optimizer: str = "momentum", *, dropout: float = 0.0, **settings: Any) -> uk.Recipe:
    m = model(dropout)
    defaults: dict[str, Any] = {
        "name": "small",
        "model": m,
        "loss": loss,
        "optimizer": (OPTIMIZERS | OTHER_OPTIMIZERS)[optimizer](m),
        "data": (X, Y),
        "units": OWNERS,
        "epochs": 2,
        "batch_size": BATCH,
        "probes": {"probe": probe, "scalar": scalar_probe},
    }
    if "optimizer_made" in settings:
        settings["optimizer"] = settings.pop("optimizer_made")
    schedule = settings.pop("schedule", None)
    if schedule is not None:
        defaults["lr_schedule"] = schedule(defaults["optimizer"])
    return uk.Recipe(**(defaults | settings))
