"""What an update rule is: a pure function of a parameter, its gradient, a state and the numbers of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

State = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Rule(ABC):
    """The update of one parameter group, with everything that decides its shape; numbers come as ``scalars``.

    A rule acts on each coordinate by itself: parameters are handed to it flat, and in pieces; or, where it is
    ``whole``, on each parameter by itself, in its own shape. What it computes may branch on ``self``, on shapes and by
    ``torch.where``, never on the values of tensors.

    Attributes:
        weight_decay: whether a gradient of zero moves the parameter.
        maximize: climb instead of descend.

    """

    weight_decay: bool = False
    maximize: bool = False

    kind: ClassVar[str] = ""
    """What a recipe's description calls it."""

    whole: ClassVar[bool] = False
    """Whether it needs a parameter as a whole."""

    @classmethod
    @abstractmethod
    def of(cls, group: Mapping[str, Any]) -> Self:
        """The rule that a torch parameter group asks for. RecipeError for settings that it does not cover."""

    @property
    @abstractmethod
    def initial(self) -> tuple[float, ...]:
        """What each tensor of the state, of the parameter's shape, is filled with at the start."""

    @property
    def states(self) -> int:
        """How many tensors of the parameter's shape the optimizer keeps."""
        return len(self.initial)

    @property
    def keys(self) -> tuple[str, ...]:
        """What the optimizer calls each tensor of the state; () where it cannot be continued."""
        return ()

    def kept(self, state: Mapping[str, Any], p: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the state, of the shape of ``p``, as the optimizer has them after some steps."""
        return tuple(state[key].detach().expand_as(p) for key in self.keys)

    @property
    def size(self) -> int | None:
        """Which tensor of the state the gradient is divided by the root of, however small; None: of none."""
        return None

    @property
    def rests(self) -> bool:
        """Whether the optimizer takes sparse gradients, and leaves as they are the rows that have none."""
        return False

    @property
    def kink(self) -> str:
        """What of the rule is analytic only piece by piece; "" for nothing."""
        return ""

    @abstractmethod
    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """The numbers of one step (counted from 0), in the order that ``update`` takes them."""

    def update(
        self, p: Tensor, gradient: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, State]:
        """New parameter and state. All tensors have the parameter's shape ``[*S]``; scalars are 0-dimensional."""
        return self.descend(p, -gradient if self.maximize else gradient, state, scalars)

    @abstractmethod
    def descend(self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]) -> tuple[Tensor, State]:
        """`update` along the direction ``g`` in which the loss grows."""

    def described(self) -> dict[str, Any]:
        """What a recipe's digest covers beside the numbers."""
        found: dict[str, Any] = {"kind": self.kind}
        return found | ({"maximize": True} if self.maximize else {})


def root(second: Tensor) -> Tensor:
    """``sqrt``, and 0 with slope 0 where a second moment is 0 or has underflowed.

    There ``g / (sqrt(g^2) + eps)`` is still differentiable, as ``g / eps`` is: the root is of second order beside it
    (docs/theory.md section 1). Where the gradient is zero for all weights the moment's series is 0, and so is its root.
    """
    nothing = second < torch.finfo(second.dtype).tiny
    return torch.where(nothing, 0.0, torch.sqrt(torch.where(nothing, 1.0, second)))
