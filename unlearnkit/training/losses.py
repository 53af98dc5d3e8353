"""What a loss returns: one number an example, or sums over tokens and how many tokens they are over."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unlearnkit.errors import RecipeError


def verified_losses(losses: Any, count: int) -> Tensor:  # noqa: ANN401  what a loss returns
    """One real loss for each of ``count`` examples, ``[count]``. RecipeError for anything else."""
    if not isinstance(losses, Tensor):
        found = f"is a {type(losses).__name__}"
    elif losses.shape != (count,):
        found = f"has shape {tuple(losses.shape)}"
    elif not losses.is_floating_point():
        found = f"is {losses.dtype}"
    else:
        return losses
    message = f"loss(model, batch) {found}, expected a tensor of one loss per example, shape {(count,)}, real numbers"
    raise RecipeError(message, hint='use reduction="none", and average over everything but the examples')


def verified_sums(result: Any, count: int) -> tuple[Tensor, Tensor]:  # noqa: ANN401  what a loss returns
    """Sums of losses and how many tokens each is over, both ``[count]``. RecipeError for anything else."""
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Tensor):
        message = f'loss(model, batch) is a {type(result).__name__}, expected (sums, counts) for reduction="tokens"'
        raise RecipeError(message, hint="return for each example the sum of its losses, and over how many tokens")
    sums, counts = verified_losses(result[0], count), result[1]
    if counts.shape != (count,):
        message = f"loss(model, batch) counts tokens in the shape {tuple(counts.shape)}, expected {(count,)}"
        raise RecipeError(message, hint="return one count for each example")
    return sums, counts


def mean_losses(result: Any) -> Tensor:  # noqa: ANN401  what a loss returns
    """One loss per example; of sums and how many tokens they are over, their means."""
    if isinstance(result, tuple):
        sums, counts = result
        return sums / counts.clamp_min(1)  # type: ignore[no-any-return]
    return result  # type: ignore[no-any-return]
