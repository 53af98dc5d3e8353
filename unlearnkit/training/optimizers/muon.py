"""``torch.optim.Muon``: matrices whose momentum is made orthogonal, nearly, by Newton and Schulz's iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State


@register(torch.optim.Muon)
@dataclass(frozen=True, slots=True)
class Muon(Rule):
    """``p -= lr * orthogonal(momentum)``, in bfloat16 as torch computes it; series are not rounded.

    heavy: the momentum is at least a half, where torch interpolates from the other end: bfloat16 would tell.
    """

    nesterov: bool = True
    heavy: bool = True
    coefficients: tuple[float, float, float] = (0.0, 0.0, 0.0)
    iterations: int = 5
    eps: float = 0.0
    adjusted: str = "original"

    kind: ClassVar[str] = "muon"
    whole: ClassVar[bool] = True

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> Muon:
        """As `Rule.of`."""
        return cls(
            weight_decay=float(group["weight_decay"]) != 0,
            nesterov=bool(group["nesterov"]),
            heavy=float(group["momentum"]) >= 0.5,
            coefficients=tuple(group["ns_coefficients"]),
            iterations=int(group["ns_steps"]),
            eps=float(group["eps"]),
            adjusted=group["adjust_lr_fn"] or "original",
        )

    @property
    def initial(self) -> tuple[float, ...]:
        """The momentum."""
        return (0.0,)

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return ("momentum_buffer",)

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:  # noqa: ARG002  as Rule's
        """As `Rule.scalars`."""
        lr, decay, momentum = (float(group[name]) for name in ("lr", "weight_decay", "momentum"))
        return lr, decay, momentum, 1 - momentum

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        lr, decay, momentum, share = scalars
        old = state[0]
        buffer = old + share * (g - old) if self.heavy else g - (g - old) * (1 - share)
        direction = buffer
        if self.nesterov:
            direction = buffer - (buffer - g) * (1 - momentum) if self.heavy else g + momentum * (buffer - g)
        if self.weight_decay:
            p = p * (1 - lr * decay)
        return p - lr * self._ratio(*p.shape) * self._orthogonal(direction).to(p.dtype), (buffer,)

    def _ratio(self, rows: int, columns: int) -> float:
        """By how much the rate is larger for a matrix of this shape."""
        if self.adjusted == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1, rows / columns))

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        """``U V'`` of ``U S V'``, nearly: a polynomial of degree five again and again."""
        a, b, c = self.coefficients
        x = matrix.bfloat16()
        x = x.T if (tall := matrix.shape[0] > matrix.shape[1]) else x
        # As torch takes norms: of squares that are added up in more digits, and rounded once.
        size = torch.sqrt(x.to(matrix.dtype).square().sum()).to(x.dtype)
        x = x / torch.where(size > self.eps, size, self.eps)
        for _ in range(self.iterations):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.T if tall else x

    def described(self) -> dict[str, Any]:
        """As `Rule.described`."""
        return Rule.described(self) | {
            "nesterov": self.nesterov,
            "coefficients": list(self.coefficients),
            "iterations": self.iterations,
            "eps": self.eps,
            "adjusted": self.adjusted,
        }
