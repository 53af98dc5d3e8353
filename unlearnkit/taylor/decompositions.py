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
_ALSO_TAKEN_APART = (aten.native_layer_norm, aten.std, aten.elu_backward)


def _per_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``x * weight + bias`` with one weight and one bias for each channel, dimension 1 of ``x``."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    if weight is not None:
        x = x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def _group_norm(  # noqa: PLR0917  the operation's signature
    x: Tensor, weight: Tensor | None, bias: Tensor | None, batch: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``native_group_norm`` without the strided views that torch's own decomposition takes on the CPU."""
    grouped = x.reshape(batch, groups, channels // groups, size)
    variance, mean = torch.var_mean(grouped, dim=[2, 3], correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + eps)
    result = _per_channel(((grouped - mean) * inverse).view(x.shape), weight, bias)
    return result, mean.view(batch, groups), inverse.view(batch, groups)


def _batch_norm(  # noqa: PLR0917  the operation's signature
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,  # noqa: FBT001
    _momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``native_batch_norm`` with frozen statistics, or over a single example, as instance norm calls it.

    Where examples share batch statistics the operation stays whole, and ``check`` refuses it.
    """
    if training:
        if x.shape[0] > 1 or mean is not None:
            return NotImplemented
        variance, mean = torch.var_mean(x, dim=[0, *range(2, x.dim())], correction=0)
    assert mean is not None and variance is not None
    inverse = torch.rsqrt(variance + eps)
    normalised = _per_channel(_per_channel(x, None, -mean), inverse, None)
    saved = (mean, inverse) if training else (x.new_empty(0), x.new_empty(0))
    return _per_channel(normalised, weight, bias), *saved


def table() -> dict[OpOverload, Callable[..., Any]]:
    """The core decompositions, less every operation that has a Taylor rule of its own or draws random numbers.

    Random numbers must be drawn by the kernels that the plain program calls, or a dropout mask would be another one.
    """
    entries = {
        operation: function
        for operation, function in {**core_aten_decompositions(), **get_decompositions(_ALSO_TAKEN_APART)}.items()
        if operation not in SMOOTH
        and operation not in PIECEWISE
        and torch.Tag.nondeterministic_seeded not in operation.tags
    }
    entries[aten.native_group_norm.default] = _group_norm
    entries[aten.native_batch_norm.default] = _batch_norm
    return entries
