"""Whether a rule is what its optimizer does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers.registry import rule_class

_SHAPE = (3, 2)


def verify_rule(make: Callable[[Iterable[Tensor]], torch.optim.Optimizer], *, steps: int = 8, seed: int = 0) -> None:
    """Step an optimizer and its rule side by side, in float64, with the same gradients.

    The parameter is a matrix. Some coordinates have gradients at every step, one at none, one at later steps only.

    Args:
        make: the optimizer of some parameters.
        steps: how many.
        seed: of the gradients.

    Raises:
        RecipeError: the two part, or the rule is none of a single coordinate.

    """
    p = nn.Parameter(torch.linspace(-1, 1, math.prod(_SHAPE), dtype=torch.float64).reshape(_SHAPE))
    optimizer = make([p])
    rules = rule_class(optimizer)
    (group,) = optimizer.param_groups
    rule = rules.of(group)
    own = p.detach().clone()
    cuts = [slice(None)] if rule.whole else [slice(0, 1), slice(1, None)]
    state = tuple(torch.full_like(own, value) for value in rule.initial)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        gradient = torch.randn(_SHAPE, generator=generator, dtype=torch.float64)
        gradient[0, 0] = 0
        gradient[0, 1] *= step >= steps // 2
        numbers = [own.new_tensor(scalar) for scalar in rule.scalars(group, step)]
        pieces = [rule.update(own[cut], gradient[cut], [s[cut] for s in state], numbers) for cut in cuts]
        own = torch.cat([new for new, _ in pieces])
        state = tuple(torch.cat(parts) for parts in zip(*(kept for _, kept in pieces), strict=True))
        p.grad = gradient
        optimizer.step()
        if not torch.allclose(own, p.detach(), rtol=1e-7, atol=1e-9):
            apart = float((own - p.detach()).abs().max())
            message = f"the rule {rules.__name__} is not what {type(optimizer).__name__} does"
            hint = "compare it with the optimizer's own step, setting by setting"
            raise RecipeError(f"{message}: they are {apart:.1e} apart after step {step}", hint=hint)
