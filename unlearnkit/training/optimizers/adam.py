"""``torch.optim.Adam`` and ``AdamW``, and the form with epsilon inside the root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State, root


@register(torch.optim.Adam, torch.optim.AdamW)
@dataclass(frozen=True, slots=True)
class AdamRule(Rule):
    """``p -= lr * m_hat / (sqrt(v_hat) + eps)``, and its variants."""

    decoupled: bool = False
    eps_inside_sqrt: bool = False
    amsgrad: bool = False

    kind: ClassVar[str] = "adam"

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> AdamRule:
        """As `Rule.of`."""
        return cls(
            weight_decay=float(group["weight_decay"]) != 0,
            maximize=bool(group.get("maximize")),
            decoupled=bool(group.get("decoupled_weight_decay")),
            eps_inside_sqrt=bool(group.get("eps_inside_sqrt")),
            amsgrad=bool(group.get("amsgrad")),
        )

    @property
    def initial(self) -> tuple[float, ...]:
        """First and second moment, and the largest second moment so far."""
        return (0.0, 0.0, 0.0) if self.amsgrad else (0.0, 0.0)

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: len(self.initial)]

    @property
    def size(self) -> int | None:
        """The second moment that the root is taken of."""
        return None if self.eps_inside_sqrt else len(self.initial) - 1

    @property
    def kink(self) -> str:
        """The larger of two second moments."""
        return "amsgrad takes the larger of two second moments" if self.amsgrad else ""

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """As `Rule.scalars`."""
        beta1, beta2 = (float(b) for b in group["betas"])
        correction = (1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1))
        # Shares of the new gradient by themselves: in single precision 1 - 0.99999 has lost most of its digits.
        lr, decay, eps = (float(group[name]) for name in ("lr", "weight_decay", "eps"))
        return lr, decay, beta1, 1 - beta1, beta2, 1 - beta2, eps, *correction

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        lr, decay, beta1, share1, beta2, share2, eps, correction1, correction2 = scalars
        if self.weight_decay:
            p, g = (p * (1 - lr * decay), g) if self.decoupled else (p, g + decay * p)
        first = beta1 * state[0] + share1 * g
        second = beta2 * state[1] + share2 * (g * g)
        largest = torch.where(second > state[2], second, state[2]) if self.amsgrad else second
        if self.eps_inside_sqrt:
            change = first * torch.rsqrt(largest / correction2 + eps)
        else:
            change = first / (root(largest) / torch.sqrt(correction2) + eps)
        kept = (first, second, largest) if self.amsgrad else (first, second)
        return p - (lr / correction1) * change, kept

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        found = Rule.described(self) | {
            "nesterov": False,
            "decoupled_weight_decay": self.decoupled,
            "eps_inside_sqrt": self.eps_inside_sqrt,
        }
        return found | ({"amsgrad": True} if self.amsgrad else {})
