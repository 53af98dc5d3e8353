"""``torch.optim.RAdam``: Adam that begins as momentum, until the second moment is known well enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State, root


@register(torch.optim.RAdam)
@dataclass(frozen=True, slots=True)
class RAdam(Rule):
    """``p -= lr * m_hat * (rectified / (sqrt(v) + eps))``, or ``p -= lr * m_hat`` in the first steps."""

    decoupled: bool = False

    kind: ClassVar[str] = "radam"

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> RAdam:
        """As `Rule.of`."""
        return cls(
            weight_decay=float(group["weight_decay"]) != 0,
            maximize=bool(group["maximize"]),
            decoupled=bool(group["decoupled_weight_decay"]),
        )

    @property
    def initial(self) -> tuple[float, ...]:
        """First and second moment."""
        return 0.0, 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return "exp_avg", "exp_avg_sq"

    @property
    def size(self) -> int | None:
        """The second moment."""
        return 1

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """As `Rule.scalars`."""
        beta1, beta2 = (float(b) for b in group["betas"])
        lr, decay, eps = (float(group[name]) for name in ("lr", "weight_decay", "eps"))
        t = step + 1
        correction1, correction2 = 1 - beta1**t, 1 - beta2**t
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / correction2
        rate = lr / correction1
        adaptive, plain = 0.0, rate
        if length > 5:
            rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            adaptive, plain = rate * math.sqrt(rectified * correction2), 0.0
        return lr * decay, decay, beta1, 1 - beta1, beta2, 1 - beta2, eps, adaptive, plain

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        shrink, decay, beta1, share1, beta2, share2, eps, adaptive, plain = scalars
        if self.weight_decay:
            p, g = (p * (1 - shrink), g) if self.decoupled else (p, g + decay * p)
        first = beta1 * state[0] + share1 * g
        second = beta2 * state[1] + share2 * (g * g)
        return p - first * (adaptive / (root(second) + eps) + plain), (first, second)

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        return Rule.described(self) | {"decoupled_weight_decay": self.decoupled}
