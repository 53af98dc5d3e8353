"""What was recorded of a training run: batches, random states, settings, and sums over the weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError
from unlearnkit.training.batches import Array, Steps
from unlearnkit.training.randomness import RandomState

PARTS = 8
"""How many sums stand for a parameter: over every eighth number, from each of the first eight on."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedBatch:
    """One batch as it was handed out. indices: ``[B]``. random: before its forward pass. epoch: passes before its."""

    indices: Array
    random: RandomState
    epoch: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RecordedStep:
    """One step of the optimizer.

    settings: of each parameter group, as torch keeps them. gradient_norm: of the gradient that it used, clipped.
    checksums: of the weights after it, where they were taken.
    """

    batches: tuple[RecordedBatch, ...]
    settings: tuple[Mapping[str, Any], ...]
    gradient_norm: float
    checksums: Mapping[str, Array] | None = field(default=None)


@dataclass(frozen=True, eq=False)
class Recording:
    """A training run as it was.

    accumulate: how many batches the loss of each batch was averaged over; None: as many as its step has.
    """

    steps: tuple[RecordedStep, ...]
    accumulate: int | None = None

    @cached_property
    def parts(self) -> Steps:
        """Which examples each step saw, batch by batch."""
        return tuple(tuple(batch.indices for batch in step.batches) for step in self.steps)

    def epoch_of(self, step: int) -> int:
        """Which pass over the data the batches of a step are from. RecipeError where they are from several."""
        first, *others = {batch.epoch for batch in self.steps[step].batches}
        if others:
            message = f"augmented: step {step} was recorded over the end of epoch {min(first, *others)}"
            raise RecipeError(message, hint="accumulate batches of one epoch at a time")
        return first

    def refuse_skipped_steps(self) -> None:
        """RecipeError for a step whose gradient was not finite."""
        for number, step in enumerate(self.steps):
            if not math.isfinite(step.gradient_norm):
                message = f"recorded: the gradient of step {number} is not finite, and such steps GradScaler skips"
                hint = "train without skipped steps: in bfloat16, which needs no GradScaler, or with a lower init_scale"
                raise RecipeError(message, hint=hint)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the random states; the rest is in other parts of a recipe's description."""
        state = hashlib.sha256()
        for step in self.steps:
            for batch in step.batches:
                state.update(batch.random.digest)
                state.update(f"epoch {batch.epoch}".encode() if batch.epoch else b"")
        return state.hexdigest()


def checksums(model: nn.Module) -> dict[str, Array]:
    """Sums over interleaved parts of each trained parameter, ``[PARTS]`` in float64.

    Where two runs differ by ``d``, numbers of either sign, the sums differ by about ``|d|`` in norm.
    """
    return {name: parameter_sums(p) for name, p in model.named_parameters() if p.requires_grad}


def parameter_sums(parameter: Tensor) -> Array:
    """The sums of one parameter."""
    flat = parameter.detach().reshape(-1)
    sums = torch.stack([flat[part::PARTS].double().sum() for part in range(PARTS)])
    found: Array = np.asarray(sums.cpu().numpy())
    return found


def gradient_norm(groups: Sequence[Mapping[str, Any]]) -> float:
    """The norm of all gradients together of some parameter groups; 0 without any."""
    norms = [p.grad.detach().norm() for group in groups for p in group["params"] if p.grad is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
