"""Averages of the weights over the steps of a run, as torch's ``AveragedModel`` keeps them: EMA and SWA."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_swa_avg_fn

from unlearnkit.errors import RecipeError
from unlearnkit.names import counted

AverageFunction = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """What is probed, and kept as the trained model, is an average of the weights over the steps.

    Attributes:
        avg_fn: as of ``torch.optim.swa_utils.AveragedModel``: ``(average, weights, how many so far) -> average``, such
            as ``get_ema_avg_fn(0.999)``. None: all weigh the same (SWA).
        multi_avg_fn: the same for lists of tensors, in place, such as ``get_ema_multi_avg_fn(0.999)``; instead of it.
        start: the step, counted from 0, after which ``update_parameters`` is called first.
        every: how many steps later it is called again.

    Example:
        >>> from torch.optim.swa_utils import get_ema_avg_fn
        >>> averaged = recipe.replace(average=uk.Average(avg_fn=get_ema_avg_fn(0.9)))
        >>> max(uk.compare(averaged, uk.retrain(averaged)).values())
        0.0

    """

    avg_fn: AverageFunction | None = None
    multi_avg_fn: Callable[[Any, Any, Any], None] | None = None
    start: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or self.every < 1:
            message = f"average: start={self.start}, every={self.every}, expected whole numbers >= 0 and >= 1"
            raise RecipeError(message, hint="count steps from 0")
        if self.avg_fn is not None and self.multi_avg_fn is not None:
            raise RecipeError("average: avg_fn and multi_avg_fn are given", hint="choose one of them")
        one, another, both = (self._share(a, b) for a, b in ((1.0, 0.0), (0.0, 1.0), (2.0, -3.0)))
        if not math.isclose(both, 2 * one - 3 * another, abs_tol=1e-9):
            name = "avg_fn" if self.multi_avg_fn is None else "multi_avg_fn"
            message = f"average: {name} is not linear in the average and the weights"
            raise RecipeError(message, hint=f"use torch.optim.swa_utils.get_ema_{name}(decay), or None")

    def of(self, model: nn.Module) -> AveragedModel:
        """Torch's own, of a model."""
        return AveragedModel(model, avg_fn=self.avg_fn, multi_avg_fn=self.multi_avg_fn)

    def _share(self, average: float, weights: float, number: int = 1) -> float:
        """What becomes of one number, in double precision."""
        if self.multi_avg_fn is None:
            function: AverageFunction = self.avg_fn or get_swa_avg_fn()  # type: ignore[no-untyped-call]
            return float(function(average, weights, number))
        kept, given = (torch.tensor([value], dtype=torch.float64) for value in (average, weights))
        self.multi_avg_fn([kept], [given], torch.tensor(number))  # which torch divides by in single precision
        return float(kept)

    def falls_on(self, step: int) -> bool:
        """Whether the average is taken after a step."""
        return step >= self.start and (step - self.start) % self.every == 0

    def shares(self, steps: int) -> list[tuple[float, float]]:
        """At each step, what of the average before, and of the weights after it, makes the average."""
        found, number = [], 0
        for step in range(steps):
            if not self.falls_on(step):
                found.append((1.0, 0.0))
                continue
            first, shares = (0.0, 1.0), (self._share(1.0, 0.0, number), self._share(0.0, 1.0, number))
            found.append(shares if number else first)
            number += 1
        if not number:
            message = (
                f"average: start={self.start}, and the run has {counted(steps, 'step')}, so that nothing is averaged"
            )
            raise RecipeError(message, hint="count steps from 0")
        return found
