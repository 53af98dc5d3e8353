"""``torch.optim.Adafactor``: second moments of matrices by their rows and columns, steps in units of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unlearnkit.training.optimizers.registry import register
from unlearnkit.training.optimizers.rule import Rule, State, root


@register(torch.optim.Adafactor)
@dataclass(frozen=True, slots=True)
class Adafactor(Rule):
    """``p -= rate * rms(p) * u / max(1, rms(u) / d)``, ``u = g / sqrt(v)``, with ``v`` of rank one for matrices.

    Its state has the shape of the parameter: means over rows stand in all columns, and those over columns in all rows.
    """

    kind: ClassVar[str] = "adafactor"
    whole: ClassVar[bool] = True

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> Adafactor:
        """As `Rule.of`."""
        return cls(weight_decay=float(group["weight_decay"]) != 0, maximize=bool(group["maximize"]))

    @property
    def initial(self) -> tuple[float, ...]:
        """Means over rows, or the second moment of a vector; means over columns."""
        return 0.0, 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        """As `Rule.keys`."""
        return "row_var", "col_var"

    def kept(self, state: Mapping[str, Any], p: Tensor) -> tuple[Tensor, ...]:
        """As `Rule.kept`; the second moment of a vector stands for both."""
        if "variance" in state:
            return state["variance"].detach(), state["variance"].detach()
        return Rule.kept(self, state, p)

    @property
    def size(self) -> int | None:
        """The first of them."""
        return 0

    @property
    def kink(self) -> str:
        """The limits of its sizes."""
        return "adafactor limits the sizes of weights, second moments and updates"

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """As `Rule.scalars`; without a first epsilon -1, which stands for that of the precision."""
        lr, decay, limit = (float(group[name]) for name in ("lr", "weight_decay", "d"))
        share = float(step + 1) ** float(group["beta2_decay"])
        eps1, eps2 = group["eps"]
        eps = -1.0 if eps1 is None else float(eps1)
        return lr * decay, min(lr, (step + 1) ** -0.5), share, limit, eps, float(eps2)

    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """As `Rule.descend`."""
        shrink, rate, share, limit, eps1, eps2 = scalars
        eps1 = torch.where(eps1 < 0, torch.finfo(p.dtype).eps, eps1)
        rate = rate * _larger(_rms(p), eps2)
        if self.weight_decay:
            p = p * (1 - shrink)
        square = g * g
        rows = columns = square
        if g.dim() > 1:
            rows, columns = (square.mean(dim, keepdim=True).expand_as(g) for dim in (-1, -2))
        kept = tuple(old + share * (new - old) for old, new in zip(state, (rows, columns), strict=True))
        second = kept[0]
        if g.dim() > 1:
            second = kept[0] * kept[1] / _larger(kept[0].mean(-2, keepdim=True), eps1)
        change = g * torch.rsqrt(_larger(second, eps1 * eps1))
        return p - rate / _larger(_rms(change) / limit, torch.ones_like(limit)) * change, kept


def _larger(x: Tensor, least: Tensor) -> Tensor:
    return torch.where(x > least, x, least)


def _rms(x: Tensor) -> Tensor:
    return root(x.square().mean())
