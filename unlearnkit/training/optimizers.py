"""Optimizers: reading a torch optimizer for its settings, and its update as a pure function.

The update rules are torch's own (``torch.optim.SGD``, ``Adam``, ``AdamW``), and for ``uk.Adam`` the paper's form with
epsilon inside the root, which is analytic where a second moment vanishes (docs/theory.md section 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError


class Adam(torch.optim.Optimizer):
    """Adam whose update is analytic: ``p -= lr * m_hat / sqrt(v_hat + eps)``.

    Args:
        params: parameters, or groups of them, as torch's optimizers take them.
        lr: learning rate.
        betas: decay of the first and of the second moment.
        eps: added to the second moment, in the square of the gradient's unit.
        weight_decay: factor of the weights that is added to the gradient, or taken from the weights.
        eps_inside_sqrt: False gives torch's ``sqrt(v_hat) + eps``, which has no Taylor series where ``v_hat`` is zero.
        decoupled_weight_decay: shrink the weights as AdamW does, instead of adding to the gradient.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = uk.Adam(model.parameters(), lr=0.01)
        >>> model(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()

    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        eps_inside_sqrt: bool = True,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "eps_inside_sqrt": eps_inside_sqrt,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rule = Rule.of("adam", group)
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, rule, group)
        return loss

    def _update(self, p: Tensor, gradient: Tensor, rule: Rule, group: Mapping[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(step=0, moments=[torch.zeros_like(p) for _ in range(rule.states)])
        scalars = rule.scalars(group, state["step"])
        new, moments = rule.update(p, gradient, state["moments"], [p.new_tensor(s) for s in scalars])
        p.copy_(new)
        state.update(step=state["step"] + 1, moments=list(moments))


@dataclass(frozen=True, slots=True)
class Rule:
    """The update of one parameter group, with everything that decides its shape; numbers come as ``scalars``."""

    kind: str  # "sgd" or "adam"
    momentum: bool = False
    nesterov: bool = False
    weight_decay: bool = False
    decoupled: bool = False
    eps_inside_sqrt: bool = False

    @classmethod
    def of(cls, kind: str, group: Mapping[str, Any]) -> Rule:
        """The rule that a torch parameter group asks for."""
        decay = float(group["weight_decay"]) != 0
        if kind == "sgd":
            return cls("sgd", float(group["momentum"]) != 0, bool(group["nesterov"]), decay)
        decoupled = bool(group.get("decoupled_weight_decay"))
        return cls("adam", weight_decay=decay, decoupled=decoupled, eps_inside_sqrt=bool(group.get("eps_inside_sqrt")))

    @property
    def states(self) -> int:
        """How many tensors of the parameter's shape the optimizer keeps."""
        return 2 if self.kind == "adam" else int(self.momentum)

    @property
    def divides_by_size(self) -> bool:
        """Whether a gradient is divided by its own size, however small, so that rounding errors count in full."""
        return self.kind == "adam" and not self.eps_inside_sqrt

    def scalars(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """The numbers of one step (counted from 0), in the order that ``update`` takes them."""
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        if self.kind == "sgd":
            # torch starts the momentum buffer with the whole first gradient, whatever the dampening
            share = 1.0 if step == 0 else 1.0 - float(group["dampening"])
            return lr, decay, float(group["momentum"]), share
        beta1, beta2 = (float(b) for b in group["betas"])
        correction = (1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1))
        # Shares of the new gradient by themselves: in single precision 1 - 0.99999 has lost most of its digits.
        return lr, decay, beta1, 1 - beta1, beta2, 1 - beta2, float(group["eps"]), *correction

    def update(
        self, p: Tensor, gradient: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """New parameter and state. All tensors have the parameter's shape ``[*S]``; scalars are 0-dimensional."""
        return self._sgd(p, gradient, state, scalars) if self.kind == "sgd" else self._adam(p, gradient, state, scalars)

    def _sgd(
        self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        lr, decay, momentum, share = scalars
        if self.weight_decay:
            g = g + decay * p
        if not self.momentum:
            return p - lr * g, ()
        buffer = momentum * state[0] + share * g
        return p - lr * (g + momentum * buffer if self.nesterov else buffer), (buffer,)

    def _adam(
        self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        lr, decay, beta1, share1, beta2, share2, eps, correction1, correction2 = scalars
        if self.weight_decay:
            p, g = (p * (1 - lr * decay), g) if self.decoupled else (p, g + decay * p)
        first = beta1 * state[0] + share1 * g
        second = beta2 * state[1] + share2 * (g * g)
        if self.eps_inside_sqrt:
            change = first * torch.rsqrt(second / correction2 + eps)
        else:
            change = first / (_root(second) / torch.sqrt(correction2) + eps)
        return p - (lr / correction1) * change, (first, second)


def _root(second: Tensor) -> Tensor:
    """``sqrt``, with slope 0 where a second moment is exactly 0.

    There ``g / (sqrt(g^2) + eps)`` is still differentiable, as ``g / eps`` is: the root is of second order beside it
    (docs/theory.md section 1). Where the gradient is zero for all weights the moment's series is 0, and so is its root.
    """
    nothing = second == 0
    return torch.where(nothing, 0.0, torch.sqrt(torch.where(nothing, 1.0, second)))


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share a rule, and the numbers of each step."""

    parameters: tuple[str, ...]
    rule: Rule
    schedule: tuple[tuple[float, ...], ...]  # [steps][scalars]


# What a setting must be for the update above to be the whole truth; everything else torch offers is a matter of speed.
_REQUIRED = {"amsgrad": False, "maximize": False}
_KINDS: dict[type[torch.optim.Optimizer], str] = {
    torch.optim.SGD: "sgd",
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adam",
    Adam: "adam",
}


def kind_of(optimizer: torch.optim.Optimizer) -> str:
    """Which update: "sgd" or "adam". RecipeError for optimizers that are not supported, or have been used already."""
    kind = _KINDS.get(type(optimizer))
    known = "torch.optim.SGD, Adam, AdamW, unlearnkit.Adam"
    if not isinstance(optimizer, torch.optim.Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        hint = "make one from the model's parameters: torch.optim.SGD(model.parameters(), lr=0.1)"
        raise RecipeError(f"optimizer: got {got}, expected an optimizer", hint=hint)
    if kind is None:
        raise RecipeError(f"optimizer={type(optimizer).__name__} is not supported", hint=f"use one of {known}")
    if optimizer.state:
        hint = "make a new one for the recipe: a recipe describes a training run from its beginning"
        raise RecipeError("optimizer has been stepped already, so its state is not the start of a run", hint=hint)
    for number, group in enumerate(optimizer.param_groups):
        for setting, expected in _REQUIRED.items():
            if setting in group and bool(group[setting]) is not expected:
                message = f"optimizer setting {setting}={group[setting]} (group {number}) is not supported"
                raise RecipeError(message, hint=f"set {setting}={expected}")
    return kind


def group_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[tuple[str, ...]]:
    """For each parameter group, the names of its parameters in ``model``."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        foreign = sum(id(p) not in names for p in group["params"])
        if foreign:
            message = f"optimizer group {number} holds {foreign} parameter(s) that are not in the model"
            raise RecipeError(message, hint="build the optimizer from the parameters of the recipe's own model")
        groups.append(tuple(names[id(p)] for p in group["params"] if p.requires_grad))
    return groups
