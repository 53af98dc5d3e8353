"""``torch.optim.RMSprop``, centred or not, with momentum or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State, root


@register(torch.optim.RMSprop)
@dataclass(frozen=True, slots=True)
class RMSprop(Rule):
    """``p -= lr * g / (sqrt(v) + eps)``; centred, ``v`` is less the square of the mean gradient."""

    centered: bool = False
    momentum: bool = False

    kind: ClassVar[str] = "rmsprop"

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> RMSprop:
        """As `Rule.of`."""
        return cls(
            weight_decay=float(group["weight_decay"]) != 0,
            maximize=bool(group["maximize"]),
            centered=bool(group["centered"]),
            momentum=float(group["momentum"]) > 0,
        )

    @property
    def initial(self) -> tuple[float, ...]:
        """Second moment, mean gradient, buffer of the momentum."""
        return (0.0,) * (1 + self.centered + self.momentum)

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return ("square_avg", *["grad_avg"] * self.centered, *["momentum_buffer"] * self.momentum)

    @property
    def size(self) -> int | None:
        """The second moment."""
        return 0

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:  # noqa: ARG002  as Rule's
        """As `Rule.scalars`."""
        alpha = float(group["alpha"])
        lr, decay, eps, momentum = (float(group[name]) for name in ("lr", "weight_decay", "eps", "momentum"))
        return lr, decay, alpha, 1 - alpha, eps, momentum

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        lr, decay, alpha, share, eps, momentum = scalars
        if self.weight_decay:
            g = g + decay * p
        second = alpha * state[0] + share * (g * g)
        kept, variance = [second], second
        if self.centered:
            kept.append(alpha * state[1] + share * g)
            variance = second - kept[1] * kept[1]
        change = g / (root(variance) + eps)
        if self.momentum:
            change = momentum * state[-1] + change
            kept.append(change)
        return p - lr * change, tuple(kept)

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        return Rule.described(self) | {"centered": self.centered}
