"""Recipes with a table of which each step looks up some rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk

ITEMS, WIDTH, CLASSES, EXAMPLES, UNITS = 60, 3, 3, 24, 8


class Tagger(nn.Module):
    """A class for an item beside another one, by their rows of one table; the first row pads."""

    def __init__(self, *, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(ITEMS, WIDTH, padding_idx=0, sparse=sparse)
        nn.init.normal_(self.table.weight)  # of the first row too
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of pairs ``[B, 2]``."""
        return self.head(self.table(pairs[:, 0]).tanh() * (1 + self.table(pairs).sum(1)))  # type: ignore[no-any-return]


def pairs() -> Tensor:
    """Of items, ``[EXAMPLES, 2]``: some twice in a batch, and some padded."""
    found = torch.randint(1, ITEMS, (EXAMPLES, 2), generator=torch.Generator().manual_seed(1))
    found[::3, 1] = 0
    found[1::4, 1] = found[1::4, 0]
    found[2::8] = found[3::8]
    return found


def tagger(model: nn.Module | None = None, optimizer: Any = None, **settings: Any) -> uk.Recipe:
    """Twelve steps of two examples each, by SGD. optimizer: of a model's parameters."""
    if model is None:
        torch.manual_seed(0)
        model = Tagger()
    data = pairs(), torch.randint(0, CLASSES, (EXAMPLES,), generator=torch.Generator().manual_seed(2))
    made = (optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.4)))(model.parameters())
    whole: dict[str, Any] = {
        "name": "tagger",
        "model": model.double(),
        "loss": lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        "optimizer": made,
        "data": data,
        "units": [f"unit-{i % UNITS}" for i in range(EXAMPLES)],
        "epochs": 2,
        "batch_size": 4,
        "probes": {"logits": lambda m: m(data[0][:2])[:, 0], "own_loss": uk.OwnLoss()},
    }
    return uk.Recipe(**(whole | settings))
