"""Adam whose update is analytic everywhere: epsilon inside the root (docs/theory.md section 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from unlearnkit.training.optimizers.adam import AdamRule
from unlearnkit.training.optimizers.registry import register


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
            rule = AdamRule.of(group)
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, rule, group)
        return loss

    def _update(self, p: Tensor, gradient: Tensor, rule: AdamRule, group: Mapping[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(step=0, **{key: torch.zeros_like(p) for key in rule.keys})
        scalars = rule.scalars(group, state["step"])
        new, moments = rule.update(p, gradient, rule.kept(state, p), [p.new_tensor(s) for s in scalars])
        p.copy_(new)
        state.update(step=state["step"] + 1, **dict(zip(rule.keys, moments, strict=True)))


register(Adam)(AdamRule)
