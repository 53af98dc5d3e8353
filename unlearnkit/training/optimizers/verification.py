"""Whether a rule is what its optimizer does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers.registry import rule_class

_SIZE = 6


def verify_rule(make: Callable[[Iterable[Tensor]], torch.optim.Optimizer], *, steps: int = 8, seed: int = 0) -> None:
    """Step an optimizer and its rule side by side, in float64, with the same gradients.

    Some coordinates have gradients at every step, one at none, one at later steps only.

    Args:
        make: the optimizer of some parameters.
        steps: how many.
        seed: of the gradients.

    Raises:
        RecipeError: the two part, or the rule is none of a single coordinate.

    """
    p = nn.Parameter(torch.linspace(-1, 1, _SIZE, dtype=torch.float64))
    optimizer = make([p])
    rules = rule_class(optimizer)
    (group,) = optimizer.param_groups
    rule = rules.of(group)
    own = p.detach().clone()
    state = tuple(torch.full_like(own, value) for value in rule.initial)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        gradient = torch.randn(_SIZE, generator=generator, dtype=torch.float64)
        gradient[0] = 0
        gradient[1] *= step >= steps // 2
        numbers = [own.new_tensor(scalar) for scalar in rule.scalars(group, step)]
        pieces = [
            rule.update(own[part], gradient[part], [s[part] for s in state], numbers)
            for part in (slice(0, 2), slice(2, None))
        ]
        own = torch.cat([new for new, _ in pieces])
        state = tuple(torch.cat(parts) for parts in zip(*(kept for _, kept in pieces), strict=True))
        p.grad = gradient
        optimizer.step()
        if not torch.allclose(own, p.detach(), rtol=1e-7, atol=1e-9):
            apart = float((own - p.detach()).abs().max())
            message = f"the rule {rules.__name__} is not what {type(optimizer).__name__} does"
            hint = "compare it with the optimizer's own step, setting by setting"
            raise RecipeError(f"{message}: they are {apart:.1e} apart after step {step}", hint=hint)
