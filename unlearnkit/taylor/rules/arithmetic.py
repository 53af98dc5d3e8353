"""Sums, products, quotients and powers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import (
    Jet,
    Number,
    Operand,
    add,
    compose,
    constant_of,
    divide,
    multiply,
    power,
    scale,
    subtract,
)
from unlearnkit.taylor.rules.elementwise import exponential, logarithm
from unlearnkit.taylor.rules.registry import aten, smooth
from unlearnkit.taylor.rules.shape import reduced_dims

smooth(aten.add.Tensor, aten.add.Scalar)(add)
smooth(aten.sub.Tensor, aten.sub.Scalar)(subtract)
smooth(aten.mul.Tensor, aten.mul.Scalar)(multiply)
smooth(aten.div.Tensor, aten.div.Scalar)(divide)
smooth(aten.pow.Tensor_Scalar)(power)


@smooth(aten.neg.default)
def _neg(x: Jet) -> Operand:
    return scale(x, -1)


@smooth(aten.reciprocal.default)
def _reciprocal(x: Jet) -> Operand:
    return divide(1.0, x)


@smooth(aten.sqrt.default)
def _sqrt(x: Jet) -> Jet:
    return power(x, 0.5)


@smooth(aten.rsqrt.default)
def _rsqrt(x: Jet) -> Jet:
    return power(x, -0.5)


@smooth(aten.pow.Scalar)
def _pow_of_number(base: Number, exponent: Jet) -> Jet:
    return compose(exponential, _scaled(exponent, torch.log(torch.tensor(base, dtype=torch.float64)).item()))


def _scaled(x: Jet, factor: Number) -> Jet:
    return Jet(x.constant * factor, x.tail * factor)


@smooth(aten.pow.Tensor_Tensor)
def _pow_of_tensor(base: Jet | Tensor, exponent: Jet | Tensor) -> Operand:
    """``base ** exponent = exp(exponent * log(base))``, for positive bases."""
    log = compose(logarithm, base) if isinstance(base, Jet) else torch.log(base)
    product = multiply(exponent, log)
    assert isinstance(product, Jet)
    result = compose(exponential, product)
    return Jet(torch.pow(constant_of(base), constant_of(exponent)), result.tail)


@smooth(aten.addcmul.default)
def _addcmul(total: Operand, a: Operand, b: Operand, *, value: Number = 1) -> Operand:
    return add(total, multiply(a, b), value)


@smooth(aten.addcdiv.default)
def _addcdiv(total: Operand, a: Operand, b: Operand, *, value: Number = 1) -> Operand:
    return add(total, divide(a, b), value)


@smooth(aten.sum.dim_IntList, aten.sum.default)
def total(x: Jet, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """Sum over ``dim`` (all when empty)."""
    dims = reduced_dims(x, dim)
    constant = x.constant.sum(dims, keepdim, dtype=dtype)
    tail = x.tail.sum([d + 2 for d in dims], keepdim) if dims else x.tail
    return Jet(constant, tail)


@smooth(aten.mean.dim, aten.mean.default)
def mean(x: Jet, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """Mean over ``dim`` (all when empty)."""
    dims = reduced_dims(x, dim)
    constant = x.constant.mean(dims, keepdim, dtype=dtype)
    return Jet(constant, x.tail.mean([d + 2 for d in dims], keepdim) if dims else x.tail)


@smooth(aten.var.correction)
def variance(
    x: Jet, dim: Sequence[int] | None = None, *, correction: Number | None = None, keepdim: bool = False
) -> Jet:
    """Variance over ``dim``, with ``correction`` degrees of freedom taken off (one when None)."""
    dims = reduced_dims(x, dim)
    count = 1
    for d in dims:
        count *= x.shape[d]
    centred = subtract(x, mean(x, dims, keepdim=True))
    squares = multiply(centred, centred)
    assert isinstance(squares, Jet)
    result = scale(total(squares, dims, keepdim), 1 / (count - (1 if correction is None else correction)))
    assert isinstance(result, Jet)
    return result


@smooth(aten.var_mean.correction)
def _variance_and_mean(
    x: Jet, dim: Sequence[int] | None = None, *, correction: Number | None = None, keepdim: bool = False
) -> tuple[Jet, Jet]:
    return variance(x, dim, correction=correction, keepdim=keepdim), mean(x, dim, keepdim)


@smooth(aten.linalg_vector_norm.default)
def _vector_norm(
    x: Jet, order: Number = 2, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: object = None
) -> Jet:
    """Euclidean norm; other orders are only piecewise analytic (``check`` says so)."""
    squares = multiply(x, x)
    assert isinstance(squares, Jet)
    return power(total(squares, dim, keepdim), 0.5)


@smooth(aten.prod.dim_int)
def _product(x: Jet, dim: int, keepdim: bool = False, *, dtype: object = None) -> Operand:
    """Product along one dimension, one factor after the other."""
    dim %= x.constant.dim()
    factors = [Jet(c, t) for c, t in zip(x.constant.unbind(dim), x.tail.unbind(dim + 2), strict=True)]
    result: Operand = factors[0]
    for factor in factors[1:]:
        result = multiply(result, factor)
    assert isinstance(result, Jet)
    return Jet(result.constant.unsqueeze(dim), result.tail.unsqueeze(dim + 2)) if keepdim else result
