"""``torch.optim.NAdam``: Adam with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State, root


@register(torch.optim.NAdam)
@dataclass(frozen=True, slots=True)
class NAdam(Rule):
    """``p -= (lr_g * g + lr_m * m) / (sqrt(v_hat) + eps)`` with rates that follow from the momentum's schedule."""

    decoupled: bool = False

    kind: ClassVar[str] = "nadam"

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> NAdam:
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
        powers = (0.96 ** (t * float(group["momentum_decay"])) for t in range(1, step + 3))
        *past, following = [beta1 * (1 - 0.5 * power) for power in powers]
        # torch keeps the product in single precision.
        product = float(np.prod(np.asarray(past, dtype=np.float32), dtype=np.float32))
        of_gradient = lr * (1 - past[-1]) / (1 - product)
        of_moment = lr * following / (1 - product * following)
        correction2 = 1 - beta2 ** (step + 1)
        return lr * decay, decay, beta1, 1 - beta1, beta2, 1 - beta2, eps, correction2, of_gradient, of_moment

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        shrink, decay, beta1, share1, beta2, share2, eps, correction2, of_gradient, of_moment = scalars
        if self.weight_decay:
            p, g = (p * (1 - shrink), g) if self.decoupled else (p, g + decay * p)
        first = beta1 * state[0] + share1 * g
        second = beta2 * state[1] + share2 * (g * g)
        size = root(second) / torch.sqrt(correction2) + eps
        return p - (of_gradient * g + of_moment * first) / size, (first, second)

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        return Rule.described(self) | {"decoupled_weight_decay": self.decoupled}
