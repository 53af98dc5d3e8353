"""``torch.optim.SGD``: momentum, dampening, Nesterov's form, weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State


@register(torch.optim.SGD)
@dataclass(frozen=True, slots=True)
class SGD(Rule):
    """``p -= lr * (g + momentum * buffer)`` in one of its forms."""

    momentum: bool = False
    nesterov: bool = False

    kind: ClassVar[str] = "sgd"

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> SGD:
        """As `Rule.of`."""
        return cls(
            weight_decay=float(group["weight_decay"]) != 0,
            maximize=bool(group["maximize"]),
            momentum=float(group["momentum"]) != 0,
            nesterov=bool(group["nesterov"]),
        )

    @property
    def initial(self) -> tuple[float, ...]:
        """The buffer of the momentum."""
        return (0.0,) if self.momentum else ()

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return ("momentum_buffer",) if self.momentum else ()

    @property
    def rests(self) -> bool:
        """As `Rule.rests`."""
        return not (self.momentum or self.weight_decay)

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """As `Rule.scalars`. torch starts the buffer with the whole first gradient, whatever the dampening."""
        share = 1.0 if step == 0 else 1.0 - float(group["dampening"])
        return float(group["lr"]), float(group["weight_decay"]), float(group["momentum"]), share

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        lr, decay, momentum, share = scalars
        if self.weight_decay:
            g = g + decay * p
        if not self.momentum:
            return p - lr * g, ()
        buffer = momentum * state[0] + share * g
        return p - lr * (g + momentum * buffer if self.nesterov else buffer), (buffer,)

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        # Not `super()`: slots make the class anew, and its zero-argument form looks for the old one.
        return Rule.described(self) | {
            "nesterov": self.nesterov,
            "decoupled_weight_decay": False,
            "eps_inside_sqrt": False,
        }
