"""Matrix products: a plain product for each pair of degrees."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, Operand, add, align, constant_of, scale
from unlearnkit.taylor.products import LEAD, Number, convolve
from unlearnkit.taylor.raised import COARSE
from unlearnkit.taylor.rules.registry import aten, first_jet, smooth

T = TypeVar("T", Jet, Operand)


def _times_constant(tail: Tensor, b: Tensor, total: Tensor | None, beta: int) -> Tensor:
    """A tail ``[degree, planes, directions, ..., p, q]`` times real matrices ``b`` ``[..., q, r]``, as `_product`."""
    b, lead = b.to(tail.dtype), tail.shape[:LEAD]
    if b.dim() == 2:
        if tail.is_contiguous() and (total is None or total.is_contiguous()):
            flat = tail.flatten(0, -2)  # one product with degrees and directions as further rows
            product = torch.mm(flat, b) if total is None else total.view(len(flat), -1).addmm_(flat, b, beta=beta)
            return product.view(*tail.shape[:-1], -1)
        return _product(tail, b.expand(lead.numel(), -1, -1), total, beta)
    # One product per batch entry, with degrees and directions as further rows, so that b is not copied for each.
    batch, rows = tail.shape[LEAD : LEAD + 2]
    folded = tail.movedim(LEAD, 0).reshape(batch, lead.numel() * rows, -1)
    product = torch.bmm(folded, b).view(batch, *lead, rows, -1).movedim(0, LEAD)
    return product.contiguous() if total is None else total.add_(product)


def _constant_times(a: Tensor, tail: Tensor, total: Tensor | None, beta: int) -> Tensor:
    """Real matrices ``a`` ``[..., p, q]`` times a tail ``[degree, planes, directions, ..., q, r]``, as `_product`."""
    a = a.to(tail.dtype)
    if a.dim() > 2:
        product = torch.matmul(a, tail)
        return product if total is None else total.add_(product)
    return _product(a.expand(tail.shape[:LEAD].numel(), -1, -1), tail, total, beta)


def _product(a: Tensor, b: Tensor, total: Tensor | None, beta: int) -> Tensor:
    """``beta * total + a @ b`` in the memory of ``total``; of ``a`` and ``b`` one is a tail, one ``[lanes, p, q]``."""
    lead = (a if a.dim() > b.dim() else b).shape[:LEAD]
    a, b = (x.flatten(0, -3) for x in (a, b))
    if total is None:
        return torch.bmm(a, b).unflatten(0, lead)  # type: ignore[no-untyped-call,no-any-return]
    total.view(len(a), *total.shape[LEAD:]).baddbmm_(a, b, beta=beta)
    return total


def contract(a: Operand, b: Operand, total: Tensor | None = None, *, room: Tensor | None = None) -> Jet:
    """Matrix product of ``[p, q]`` with ``[q, r]``, or of batches of such matrices.

    total: a dense tail, to which that of the product is added, and whose memory is the result's. room: memory for the
    result, whatever is in it; of two matrices, not of batches.
    """
    assert not isinstance(a, Number) and not isinstance(b, Number)
    left, right = constant_of(a), constant_of(b)
    assert isinstance(left, Tensor) and isinstance(right, Tensor)
    constant = torch.matmul(left, right)
    tail, beta = (room, 0) if total is None else (total, 1)
    if isinstance(a, Jet):
        tail, beta = _times_constant(a.tail, right, tail, beta), 1
    if isinstance(b, Jet):
        tail = _constant_times(left, b.tail, tail, beta)
        if isinstance(a, Jet):
            convolve(*(x.flatten(LEAD - 1, -3) for x in (tail, a.tail, b.tail)))
    assert tail is not None
    return Jet(constant, tail)


smooth(aten.mm.default, aten.bmm.default)(contract)


@smooth(aten.addmm.default, aten.baddbmm.default)
def _addmm(total: Operand, a: Operand, b: Operand, *, beta: Number = 1, alpha: Number = 1) -> Operand:
    start = total if beta == 1 else scale(total, beta)
    if not isinstance(a, Jet) and not isinstance(b, Jet):
        result = add(start, torch.matmul(a, b), alpha)  # type: ignore[arg-type]
    elif alpha == 1 and isinstance(start, Jet):
        result = _onto(start, a, b)
    else:
        result = add(start, contract(a, b), alpha)
    if isinstance(result, Jet) and result.constant.dtype in COARSE:  # which torch rounds once, at the end
        fused: Any = torch.addmm if result.constant.dim() == 2 else torch.baddbmm
        constants = (constant_of(total), constant_of(a), constant_of(b))
        return Jet(fused(*constants, beta=beta, alpha=alpha), result.tail)
    return result


def _onto(total: Jet, a: Operand, b: Operand) -> Jet:
    """``total + a @ b``, with products added where the total's tail has been copied to."""
    shape = (*constant_of(a).shape[:-1], constant_of(b).shape[-1])  # type: ignore[union-attr]
    dtype = first_jet((a, b)).base.dtype
    spread = align(total.tail, len(shape)).expand(total.tail.shape[:LEAD] + shape)
    room = torch.empty(spread.shape, dtype=dtype, device=spread.device).copy_(spread)
    product = contract(a, b, room)
    return Jet(total.constant + product.constant, product.tail)


@smooth(aten.mv.default, aten.dot.default)
def _vector_product(a: Operand, vector: Operand) -> Operand:
    """``[p, q]`` or ``[q]`` times ``[q]``, as a matrix product with one column."""
    a_dim = constant_of(a).dim()  # type: ignore[union-attr]
    result = contract(a if a_dim == 2 else _unsqueeze(a, 0), _unsqueeze(vector, 1))
    assert isinstance(result, Jet)
    shape = result.shape[:-1] if a_dim == 2 else ()
    return Jet(result.constant.reshape(shape), result.tail.reshape(result.tail.shape[:LEAD] + tuple(shape)))


def _unsqueeze(x: Operand, dim: int) -> Operand:
    if isinstance(x, Jet):
        return Jet(x.constant.unsqueeze(dim), x.tail.unsqueeze(dim + LEAD))
    assert isinstance(x, Tensor)
    return x.unsqueeze(dim)
