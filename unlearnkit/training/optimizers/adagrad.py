"""``torch.optim.Adagrad``: each coordinate by the root of the sum of all its squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State, root


@register(torch.optim.Adagrad)
@dataclass(frozen=True, slots=True)
class Adagrad(Rule):
    """``p -= lr * g / (sqrt(sum of g^2) + eps)``. start: what the sum begins with."""

    start: float = 0.0

    kind: ClassVar[str] = "adagrad"

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> Adagrad:
        """As `Rule.of`."""
        return cls(
            weight_decay=float(group["weight_decay"]) != 0,
            maximize=bool(group["maximize"]),
            start=float(group["initial_accumulator_value"]),
        )

    @property
    def initial(self) -> tuple[float, ...]:
        """The sum."""
        return (self.start,)

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return ("sum",)

    @property
    def size(self) -> int | None:
        """The sum."""
        return 0

    @property
    def rests(self) -> bool:
        """As `Rule.rests`."""
        return not self.weight_decay

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """As `Rule.scalars`."""
        rate = float(group["lr"]) / (1 + step * float(group["lr_decay"]))
        return rate, float(group["weight_decay"]), float(group["eps"])

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        rate, decay, eps = scalars
        if self.weight_decay:
            g = g + decay * p
        total = state[0] + g * g
        return p - rate * g / (root(total) + eps), (total,)

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        return Rule.described(self) | {"start": self.start}
