"""Which composite operations are taken apart before the Taylor rules see them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
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


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, batch: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``native_group_norm`` without the strided views that torch's own decomposition takes on the CPU."""
    grouped = x.reshape(batch, groups, channels // groups, size)
    variance, mean = torch.var_mean(grouped, dim=[2, 3], correction=0, keepdim=True)
    inverse = torch.rsqrt(variance + eps)
    result = _per_channel(((grouped - mean) * inverse).view(x.shape), weight, bias)
    return result, mean.view(batch, groups), inverse.view(batch, groups)


def _batch_norm(
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
            return NotImplemented  # type: ignore[no-any-return]
        variance, mean = torch.var_mean(x, dim=[0, *range(2, x.dim())], correction=0)
    assert mean is not None and variance is not None
    inverse = torch.rsqrt(variance + eps)
    normalised = _per_channel(_per_channel(x, None, -mean), inverse, None)
    saved = (mean, inverse) if training else (x.new_empty(0), x.new_empty(0))
    return _per_channel(normalised, weight, bias), *saved


def _vector_norm(
    x: Tensor,
    order: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,  # noqa: FBT001, FBT002  as torch's
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Norms that are not Euclidean by their formula, with the kinks of ``abs``."""
    if order == 2 or not math.isfinite(order) or order <= 0:
        return NotImplemented  # type: ignore[no-any-return]
    x, dims = x.to(dtype or x.dtype), list(range(x.dim())) if dim is None else list(dim)
    return (x.abs() ** order).sum(dims, keepdim) ** (1 / order)


def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(a, b)).logsumexp(0)  # type: ignore[no-untyped-call]


def _celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return aten.elu(x, alpha, 1.0, 1.0 / alpha)  # type: ignore[no-any-return]


def _shrink_backward(gradient: Tensor, x: Tensor, limit: float) -> Tensor:
    return torch.where(x.abs() <= limit, 0.0, gradient)


def _storage_order(x: Tensor) -> list[int]:
    """The dimensions of ``x`` from the slowest to the fastest in memory."""
    return sorted(range(x.dim()), key=x.stride, reverse=True)


def _positions(x: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None) -> Tensor:
    """Where the elements of ``x.as_strided(size, stride, offset)`` lie among those of ``x`` in the order of memory."""
    positions = [0 if offset is None else offset - x.storage_offset()]
    for length, step in zip(size, stride, strict=True):
        positions = [start + i * step for start in positions for i in range(length)]
    return torch.tensor(positions, device=x.device).view(size)


def _as_strided(x: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None) -> Tensor:
    """Views through strides, which writes into slices need in a backward pass, as reading at positions."""
    if not aten.is_non_overlapping_and_dense(x):
        return NotImplemented  # type: ignore[no-any-return]
    return x.permute(_storage_order(x)).reshape(-1)[_positions(x, size, stride, offset)]


def _as_strided_scatter(
    x: Tensor, source: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    if not aten.is_non_overlapping_and_dense(x):
        return NotImplemented  # type: ignore[no-any-return]
    order = _storage_order(x)
    ordered = x.permute(order)
    written = ordered.reshape(-1).index_put((_positions(x, size, stride, offset),), source)
    return written.view(ordered.shape).permute([order.index(d) for d in range(x.dim())])


@cache  # torch looks through all its operations each time
def table() -> Mapping[OpOverload, Callable[..., Any]]:
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
    entries[aten.linalg_vector_norm.default] = _vector_norm
    entries[aten.logaddexp.default] = _logaddexp
    entries[aten.celu.default] = _celu
    entries[aten.hardshrink_backward.default] = entries[aten.softshrink_backward.default] = _shrink_backward
    entries[aten.as_strided.default] = _as_strided
    entries[aten.as_strided_scatter.default] = _as_strided_scatter
    return entries
