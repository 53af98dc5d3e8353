"""Matrix products: a plain product for each pair of degrees."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, Operand, add, constant_of, scale
from unlearnkit.taylor.products import LEAD, Number, add_matrix_product
from unlearnkit.taylor.raised import COARSE
from unlearnkit.taylor.rules.registry import aten, smooth

T = TypeVar("T", Jet, Operand)


def _lanes(tail: Tensor) -> Tensor:
    """Matrices ``[degree, planes, directions, p, q]`` one after the other: ``[lanes, p, q]``."""
    return tail.flatten(0, LEAD - 1)


def _times_constant(tail: Tensor, b: Tensor) -> Tensor:
    """A tail ``[degree, planes, directions, ..., p, q]`` times real matrices ``b`` ``[..., q, r]``, dense."""
    b, lead = b.to(tail.dtype), tail.shape[:LEAD]
    if b.dim() == 2:
        if tail.is_contiguous():  # one product with degrees and directions as further rows
            return torch.mm(tail.flatten(0, -2), b).view(*tail.shape[:-1], -1)
        return torch.bmm(_lanes(tail), b.expand(lead.numel(), -1, -1)).view(*tail.shape[:-1], -1)
    # One product per batch entry, with degrees and directions as further rows, so that b is not copied for each.
    batch, rows = tail.shape[LEAD : LEAD + 2]
    folded = tail.movedim(LEAD, 0).reshape(batch, lead.numel() * rows, -1)
    return torch.bmm(folded, b).view(batch, *lead, rows, -1).movedim(0, LEAD).contiguous()


def _constant_times(a: Tensor, tail: Tensor, total: Tensor | None) -> Tensor:
    """Real matrices ``a`` ``[..., p, q]`` times a tail ``[degree, planes, directions, ..., q, r]``, onto a total."""
    a = a.to(tail.dtype)
    if a.dim() > 2:
        product = torch.matmul(a, tail)
        return product if total is None else total.add_(product)
    lanes = _lanes(tail)
    each = a.expand(len(lanes), -1, -1)
    if total is None:
        return torch.bmm(each, lanes).view(*tail.shape[:LEAD], len(a), -1)
    _lanes(total).baddbmm_(each, lanes)
    return total


def _convolve(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add the products of two tails, ``[degree, planes, directions, ..., p, q]`` and ``[..., q, r]``, to ``total``."""
    degree = a.shape[0]
    a, b, flat = a.flatten(2, -3), b.flatten(2, -3), total.flatten(2, -3)
    for i in range(1, degree):
        for j in range(1, degree - i + 1):
            add_matrix_product(flat[i + j - 1], a[i - 1], b[j - 1])


def contract(a: Operand, b: Operand) -> Operand:
    """Matrix product of ``[p, q]`` with ``[q, r]``, or of batches of such matrices."""
    assert not isinstance(a, Number) and not isinstance(b, Number)
    left, right = constant_of(a), constant_of(b)
    assert isinstance(left, Tensor) and isinstance(right, Tensor)
    constant = torch.matmul(left, right)
    tail = _times_constant(a.tail, right) if isinstance(a, Jet) else None
    if isinstance(b, Jet):
        tail = _constant_times(left, b.tail, tail)
        if isinstance(a, Jet):
            _convolve(tail, a.tail, b.tail)
    assert tail is not None
    return Jet(constant, tail)


smooth(aten.mm.default, aten.bmm.default)(contract)


@smooth(aten.addmm.default, aten.baddbmm.default)
def _addmm(total: Operand, a: Operand, b: Operand, *, beta: Number = 1, alpha: Number = 1) -> Operand:
    product = contract(a, b) if isinstance(a, Jet) or isinstance(b, Jet) else torch.matmul(a, b)  # type: ignore[arg-type]
    result = add(total if beta == 1 else scale(total, beta), product, alpha)
    if isinstance(result, Jet) and result.constant.dtype in COARSE:  # which torch rounds once, at the end
        fused: Any = torch.addmm if result.constant.dim() == 2 else torch.baddbmm
        constants = (constant_of(total), constant_of(a), constant_of(b))
        return Jet(fused(*constants, beta=beta, alpha=alpha), result.tail)
    return result


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
