"""Reading and writing at indices. The indices are data; the values may be jets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, Operand, align, constant_of
from unlearnkit.taylor.products import LEAD
from unlearnkit.taylor.rules.linear import coefficientwise, linear
from unlearnkit.taylor.rules.registry import aten, first_jet, smooth
from unlearnkit.taylor.rules.shape import in_precision, tail_of


@smooth(aten.gather.default)
def _gather(x: Jet, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Jet:
    return Jet(x.constant.gather(dim, index), gathered(x.tail, dim, index))


def gathered(tail: Tensor, dim: int, index: Tensor) -> Tensor:
    """A tail at positions ``index`` along a dimension of its coefficients."""
    if tail.dim() == LEAD:  # of a number
        return coefficientwise(lambda t: t.gather(dim, index), tail)
    return tail.gather(dim % index.dim() + LEAD, index.expand(tail.shape[:LEAD] + index.shape))


linear(aten.scatter.src, 0, 3)
linear(aten.scatter_add.default, 0, 3)


def _written(x: Operand, source: Operand, dim: int, at: slice | int) -> Tensor:
    """The tail of ``x`` with that of ``source`` written over the positions ``at`` along ``dim``."""
    like = first_jet((x, source)).tail
    tail = tail_of(x, like).clone(memory_format=torch.contiguous_format)
    tail[(slice(None),) * (dim % (tail.dim() - LEAD) + LEAD) + (at,)] = tail_of(source, like)
    return tail


@smooth(aten.slice_scatter.default)
def _slice_scatter(
    x: Operand, source: Operand, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Jet:
    constant = aten.slice_scatter(constant_of(x), constant_of(source), dim, start, end, step)
    return Jet(constant, _written(x, source, dim, slice(start, end, step)))


@smooth(aten.select_scatter.default)
def _select_scatter(x: Operand, source: Operand, dim: int, index: int) -> Jet:
    return Jet(aten.select_scatter(constant_of(x), constant_of(source), dim, index), _written(x, source, dim, index))


@smooth(aten.scatter.value)
def _scatter_value(x: Jet, dim: int, index: Tensor, value: float) -> Jet:
    tail = coefficientwise(lambda t: aten.scatter.value(t, dim, index, 0), x.tail)
    return Jet(aten.scatter.value(x.constant, dim, index, value), tail)


@smooth(aten.index_select.default)
def _index_select(x: Jet, dim: int, index: Tensor) -> Jet:
    dim %= x.constant.dim()
    return Jet(x.constant.index_select(dim, index), x.tail.index_select(dim + LEAD, index))


@smooth(aten.embedding.default)
def _embedding(weight: Jet, index: Tensor, *_padding: object) -> Jet:
    # a padding index only matters in the backward, which has its own rule
    return Jet(weight.constant[index], weight.tail[:, :, :, index])


@smooth(aten.embedding_dense_backward.default)
def _embedding_backward(gradient: Jet, index: Tensor, rows: int, padding: int, by_frequency: bool) -> Jet:
    constant = aten.embedding_dense_backward(gradient.constant, index, rows, padding, by_frequency)
    values = gradient.tail.flatten(LEAD, -2) if index.dim() else gradient.tail.unsqueeze(LEAD)
    index = index.flatten()
    tail = values.new_zeros(*values.shape[:LEAD], rows, values.shape[-1]).index_add_(LEAD, index, values)
    if by_frequency:
        tail /= index.bincount(minlength=rows).clamp_min(1).unsqueeze(-1)
    if padding >= 0:
        tail[:, :, :, padding] = 0
    return Jet(constant, tail)


@smooth(aten.index.Tensor, aten._unsafe_index.Tensor)
def _index(x: Jet, indices: Sequence[Tensor | None]) -> Jet:
    # Leading full slices keep degree, planes and directions in front, unless the indexed dimensions are not adjacent:
    # then torch puts the result of the indices first, and vmap sorts that out.
    indices = _as_positions(indices)
    if _adjacent(indices):
        key = (*[slice(None)] * LEAD, *(slice(None) if i is None else i for i in indices))
        return Jet(aten.index(x.constant, indices), x.tail[key])
    return Jet(aten.index(x.constant, indices), coefficientwise(lambda t: aten.index(t, indices), x.tail))


def _as_positions(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Boolean masks as the positions they select, one index for each dimension of a mask."""
    positions: list[Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype in (torch.bool, torch.uint8):
            positions.extend(index.nonzero().unbind(1))
        else:
            positions.append(index)
    return positions


def _adjacent(indices: Sequence[Tensor | None]) -> bool:
    used = [position for position, index in enumerate(indices) if index is not None]
    return used == list(range(used[0], used[-1] + 1)) if used else True


@smooth(aten.index_put.default, aten._unsafe_index_put.default)
def _index_put(x: Operand, indices: Sequence[Tensor | None], values: Operand, accumulate: bool = False) -> Jet:
    like = first_jet((x, values)).tail
    constant = aten.index_put(constant_of(x), indices, constant_of(values), accumulate)
    positions = _as_positions(indices)

    def put(target: Tensor, source: Tensor) -> Tensor:
        return aten.index_put(target, positions, source, accumulate)  # type: ignore[no-any-return]

    return Jet(constant, coefficientwise(put, tail_of(x, like), tail_of(values, like)))


@smooth(aten.where.self)
def where(condition: Tensor, a: Operand, b: Operand) -> Jet:
    """``a`` where the condition holds, else ``b``."""
    like = first_jet((a, b)).tail
    constant = torch.where(condition, constant_of(a), constant_of(b))
    ndim = constant.dim()
    tails = [align(x.tail, ndim) if isinstance(x, Jet) else like.new_zeros(()) for x in (a, b)]
    chosen = torch.where(condition, tails[0], tails[1])
    return Jet(constant, chosen.expand(like.shape[:LEAD] + constant.shape))


@smooth(aten.copy.default)
def _copy(target: Operand, source: Operand, _non_blocking: bool = False) -> Operand:
    shape = constant_of(target).shape  # type: ignore[union-attr]
    dtype = constant_of(target).dtype  # type: ignore[union-attr]
    if not isinstance(source, Jet):
        assert isinstance(source, Tensor)
        return source.to(dtype).expand(shape)
    tail = align(in_precision(source.tail, dtype), len(shape))
    return Jet(source.constant.to(dtype).expand(shape), tail.expand(tail.shape[:LEAD] + shape))


@smooth(aten.native_dropout.default)
def _dropout(x: Jet, rate: float, train: bool | None) -> tuple[Jet, Tensor]:
    """Dropout with a mask drawn as the plain program draws it, the same for all directions."""
    kept, mask = aten.native_dropout(torch.ones_like(x.constant), rate, train)
    return Jet(x.constant * kept, x.tail * kept), mask
