"""Operations that only move elements about: the tail gets the same treatment behind its leading dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, Operand, align
from unlearnkit.taylor.products import LEAD
from unlearnkit.taylor.rules.registry import aten, first_jet, smooth


def reduced_dims(x: Jet, dim: int | Sequence[int] | None) -> list[int]:
    """The dimensions that a reduction runs over, counted from 0; all of them when none is named."""
    ndim = x.constant.dim()
    if dim is None:
        return list(range(ndim))
    named = [dim] if isinstance(dim, int) else list(dim)
    return [d % ndim for d in named] if named and ndim else list(range(ndim))


def in_precision(tail: Tensor, dtype: torch.dtype) -> Tensor:
    """The tail in the precision that goes with constant terms of ``dtype``; of complex numbers at least single."""
    return tail.to(torch.promote_types(dtype, torch.float32) if tail.shape[1] == 2 else dtype)


def _positive(x: Jet, dim: int, extra: int = 0) -> int:
    return dim % (x.constant.dim() + extra)


@smooth(aten.view.default, aten._unsafe_view.default)
def _view(x: Jet, shape: Sequence[int]) -> Jet:
    constant = x.constant.reshape(shape)
    return Jet(constant, x.tail.reshape(x.tail.shape[:LEAD] + constant.shape))


@smooth(aten.permute.default)
def _permute(x: Jet, dims: Sequence[int]) -> Jet:
    return Jet(x.constant.permute(*dims), x.tail.permute([*range(LEAD), *(_positive(x, d) + LEAD for d in dims)]))


@smooth(aten.transpose.int)
def _transpose(x: Jet, first: int, second: int) -> Jet:
    tail = x.tail.transpose(_positive(x, first) + LEAD, _positive(x, second) + LEAD)
    return Jet(x.constant.transpose(first, second), tail)


@smooth(aten.t.default)
def _t(x: Jet) -> Jet:
    return _transpose(x, 0, 1) if x.constant.dim() == 2 else x


@smooth(aten.expand.default)
def _expand(x: Jet, shape: Sequence[int], *, implicit: bool = False) -> Jet:
    constant = x.constant.expand(shape)
    return Jet(constant, align(x.tail, constant.dim()).expand(x.tail.shape[:LEAD] + constant.shape))


@smooth(aten.unsqueeze.default)
def _unsqueeze(x: Jet, dim: int) -> Jet:
    return Jet(x.constant.unsqueeze(dim), x.tail.unsqueeze(_positive(x, dim, extra=1) + LEAD))


@smooth(aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default)
def _squeeze(x: Jet, dim: int | Sequence[int] | None = None) -> Jet:
    kept = [size for d, size in enumerate(x.shape) if size != 1 or d not in reduced_dims(x, dim)]
    return _view(x, kept)


@smooth(aten.slice.Tensor)
def _slice(x: Jet, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Jet:
    dim = _positive(x, dim)
    cut = slice(start, end, step)
    return Jet(x.constant[(slice(None),) * dim + (cut,)], x.tail[(slice(None),) * (dim + LEAD) + (cut,)])


@smooth(aten.select.int)
def _select(x: Jet, dim: int, index: int) -> Jet:
    return Jet(x.constant.select(dim, index), x.tail.select(_positive(x, dim) + LEAD, index))


@smooth(aten.split.Tensor, aten.split_with_sizes.default, aten.unsafe_split.Tensor)
def _split(x: Jet, sizes: int | Sequence[int], dim: int = 0) -> tuple[Jet, ...]:
    sizes = sizes if isinstance(sizes, int) else list(sizes)
    constants = torch.split(x.constant, sizes, dim)
    tails = torch.split(x.tail, sizes, _positive(x, dim) + LEAD)
    return tuple(Jet(c, t) for c, t in zip(constants, tails, strict=True))


@smooth(aten.unbind.int)
def _unbind(x: Jet, dim: int = 0) -> tuple[Jet, ...]:
    tails = x.tail.unbind(_positive(x, dim) + LEAD)
    return tuple(Jet(c, t) for c, t in zip(x.constant.unbind(dim), tails, strict=True))


def tail_of(x: Operand, like: Tensor) -> Tensor:
    """The tail of ``x``, of zeros where ``x`` is no jet. like: a tail with the right degree, directions and dtype."""
    if isinstance(x, Jet):
        return x.tail
    return like.new_zeros(()).expand(like.shape[:LEAD] + torch.as_tensor(x).shape)


@smooth(aten.cat.default)
def _cat(parts: Sequence[Jet | Tensor], dim: int = 0) -> Jet:
    like = first_jet(parts).tail
    # torch.cat skips legacy empty 1-d tensors whatever the shape of the others
    parts = [p for p in parts if isinstance(p, Jet) or p.shape != (0,)]
    constants = [p.constant if isinstance(p, Jet) else p for p in parts]
    constant = torch.cat(constants, dim)
    return Jet(constant, torch.cat([tail_of(p, like) for p in parts], dim % constant.dim() + LEAD))


@smooth(aten.stack.default)
def _stack(parts: Sequence[Jet | Tensor], dim: int = 0) -> Jet:
    like = first_jet(parts).tail
    constant = torch.stack([p.constant if isinstance(p, Jet) else p for p in parts], dim)
    return Jet(constant, torch.stack([tail_of(p, like) for p in parts], dim % constant.dim() + LEAD))


@smooth(aten.flip.default)
def _flip(x: Jet, dims: Sequence[int]) -> Jet:
    return Jet(x.constant.flip(*dims), x.tail.flip([_positive(x, d) + LEAD for d in dims]))


@smooth(aten.constant_pad_nd.default)
def _pad(x: Jet, pad: Sequence[int], value: float = 0) -> Jet:
    # pads count from the last dimension, so the tail's leading dimensions stay as they are
    return Jet(aten.constant_pad_nd(x.constant, pad, value), aten.constant_pad_nd(x.tail, pad, 0))


@smooth(aten.cumsum.default)
def _cumsum(x: Jet, dim: int, *, dtype: torch.dtype | None = None) -> Jet:
    constant = x.constant.cumsum(dim, dtype=dtype)
    tail = in_precision(x.tail, constant.dtype)
    return Jet(constant, tail.cumsum(_positive(x, dim) + LEAD) if x.shape else tail)


@smooth(aten.clone.default, aten.alias.default, aten.detach.default)
def _clone(x: Jet, *, memory_format: object = None) -> Jet:
    return x  # values are never written to, so nothing needs a copy of its own


@smooth(aten._to_copy.default)
def _to(x: Jet, *, dtype: torch.dtype | None = None, **_options: object) -> Jet | Tensor:
    constant = x.constant if dtype is None else x.constant.to(dtype)
    if not constant.is_floating_point():
        return constant  # rounded: locally constant
    return Jet(constant, in_precision(x.tail, constant.dtype))
