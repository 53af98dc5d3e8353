"""Which composite operations are taken apart before the Taylor rules see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._ops import OpOverload

from unlearnkit.taylor.rules import PIECEWISE, SMOOTH

aten = torch.ops.aten

# Composite operations that the core set keeps, but that are simplest taken apart.
_ALSO_TAKEN_APART = (
    aten.native_layer_norm,
    aten._native_batch_norm_legit_no_training,
    aten.std,
    aten.elu_backward,
)

# Random numbers must be drawn by the kernels that the plain program calls, or the masks would be others.
_KEPT_FOR_RANDOMNESS = (aten.bernoulli.default, aten.native_dropout.default)


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, batch: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``native_group_norm`` without the strided views that torch's own decomposition takes on the CPU."""
    grouped = x.reshape(batch, groups, channels // groups, size)
    variance, mean = torch.var_mean(grouped, dim=[2, 3], correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + eps)
    result = ((grouped - mean) * inverse).view(x.shape)
    per_channel = [1, channels] + [1] * (x.dim() - 2)
    if weight is not None:
        result = result * weight.view(per_channel)
    if bias is not None:
        result = result + bias.view(per_channel)
    return result, mean.view(batch, groups), inverse.view(batch, groups)


def table() -> dict[OpOverload, Callable[..., Any]]:
    """The core decompositions, less every operation that has a Taylor rule of its own."""
    entries = dict(core_aten_decompositions())
    entries.update(get_decompositions(list(_ALSO_TAKEN_APART)))
    for operation in (*SMOOTH, *PIECEWISE, *_KEPT_FOR_RANDOMNESS):
        entries.pop(operation, None)
    entries[aten.native_group_norm.default] = _group_norm
    return entries
