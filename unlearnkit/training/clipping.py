"""Clipping of gradients over jets, as ``torch.nn.utils`` does it, on the branch that the constant term takes.

By norm, ``g * limit / (|g| + 1e-6)`` where that makes it smaller; by value, each coordinate cut off. Both have a kink
where clipping sets in: a manifest lists at how many steps it was active, and how near a step came to the kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import vjp, vmap

from unlearnkit.names import counted
from unlearnkit.taylor.check import Kind, Problem
from unlearnkit.training.optimizers import Rule
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.run import Run
from unlearnkit.training.state import Leaf, constant_of

Gradients = list[Tensor]
_TINY = 1e-6  # as in torch.nn.utils.clip_grad_norm_


class Clipping:
    """Clips the gradients of a run, flat, one leaf a parameter group, and remembers where it did."""

    def __init__(self, run: Run) -> None:
        self.recipe = run.recipe
        self._clip = run.over_jets("clip", _clip(run.recipe))
        self._pull = run.over_jets("pull clip", _pull(run.recipe))
        self._sizes: dict[int, float] = {}  # of each step's gradient, in units of the limit

    @property
    def limit(self) -> float | None:
        """What gradients are clipped to; None: they are not."""
        return self.recipe.clip_grad_value if self.recipe.clip_grad_norm is None else self.recipe.clip_grad_norm

    def clipped(self, step: int, gradients: Sequence[Leaf]) -> list[Leaf]:
        """The gradients that the optimizer gets at a step."""
        return self._clip(list(gradients)) if self._is_active(step, gradients) else list(gradients)

    def pull(self, step: int, gradients: Sequence[Leaf], cotangents: Sequence[Leaf]) -> list[Leaf]:
        """The reverse of `clipped`, for cotangents ``[elements, P]``."""
        active = self._is_active(step, gradients)
        return self._pull(list(gradients), list(cotangents)) if active else list(cotangents)

    def _is_active(self, step: int, gradients: Sequence[Leaf]) -> bool:
        if self.limit is None:
            return False
        constants = torch.cat([constant_of(gradient) for gradient in gradients])
        size = constants.norm() if self.recipe.clip_grad_norm is not None else constants.abs().max()
        self._sizes[step] = float(size) / self.limit
        return self._sizes[step] > 1

    def problems(self) -> tuple[Problem, ...]:
        """What the manifest lists, once training is done."""
        if self.limit is None:
            return ()
        name = "clip_grad_norm" if self.recipe.clip_grad_norm is not None else "clip_grad_value"
        active = sum(size > 1 for size in self._sizes.values())
        nearest = min((abs(size - 1) for size in self._sizes.values()), default=math.inf)
        steps = counted(len(self._sizes), "step")
        operation = f"{name}={self.limit:g}: active at {active} of {steps}, nearest miss {nearest:.1%}"
        return (Problem(operation, "", "gradients of a step", Kind.KINK, ""),)


def kink_of(rule: Rule) -> Problem:
    """What the manifest lists of an update rule that is analytic only piece by piece."""
    return Problem(rule.kink, "", "the optimizer's update", Kind.KINK, "")


def clipping_of(run: Run) -> Clipping:
    """The clipping of a run, which all who train or sweep over it share."""
    return run.remembered("clipping", lambda: Clipping(run))


def _clip(recipe: Recipe) -> Callable[[Gradients], Gradients]:
    """Active clipping as a function of flat gradients."""
    if recipe.clip_grad_norm is not None:
        return _by_norm(recipe.clip_grad_norm)
    return _by_value(recipe.clip_grad_value or 0.0)


def _by_norm(limit: float) -> Callable[[Gradients], Gradients]:
    def clip(gradients: Gradients) -> Gradients:
        size = torch.sqrt(torch.stack([gradient.square().sum() for gradient in gradients]).sum())
        return [gradient * (limit / (size + _TINY)) for gradient in gradients]

    return clip


def _by_value(limit: float) -> Callable[[Gradients], Gradients]:
    def clip(gradients: Gradients) -> Gradients:
        return [torch.where(g > limit, limit, torch.where(g < -limit, -limit, g)) for g in gradients]

    return clip


def _pull(recipe: Recipe) -> Callable[[Gradients, Gradients], Gradients]:
    """The reverse of active clipping."""
    clip = _clip(recipe)

    def pull(gradients: Gradients, cotangents: Gradients) -> Gradients:
        back = vjp(clip, gradients)[1]
        return vmap(lambda c: back(c)[0])(cotangents)  # type: ignore[no-any-return]

    return pull
