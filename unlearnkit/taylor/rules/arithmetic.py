"""Sums, products, quotients and powers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import (
    Expansion,
    Jet,
    Operand,
    add,
    align,
    compose,
    divide,
    multiply,
    power,
    scale,
    subtract,
)
from unlearnkit.taylor.products import LEAD, Number
from unlearnkit.taylor.rules.elementwise import exponential, logarithm
from unlearnkit.taylor.rules.registry import aten, smooth
from unlearnkit.taylor.rules.shape import in_precision, reduced_dims

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
    """``base ** exponent``; with a moving exponent it is ``exp(exponent * log(base))``, for positive bases."""
    if isinstance(base, Jet) and isinstance(exponent, Tensor):
        return compose(_power(exponent), Jet(base.constant, align(base.tail, exponent.dim())))
    log = compose(logarithm, base) if isinstance(base, Jet) else torch.log(base)
    product = multiply(exponent, log)
    assert isinstance(product, Jet)
    return compose(exponential, product)


def _power(exponent: Tensor) -> Expansion:
    """``x ** exponent``; binomial coefficients that vanish make whole exponents good at 0 and for negative numbers."""

    def expansion(c: Tensor, degree: int) -> list[Tensor]:
        binomial = torch.ones_like(exponent, dtype=c.dtype)
        terms = [c.pow(exponent)]
        for j in range(1, degree + 1):
            binomial = binomial * (exponent - j + 1) / j
            terms.append(torch.where(binomial == 0, 0, binomial * c.pow(exponent - j)))
        return terms

    return expansion


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
    tail = in_precision(x.tail, constant.dtype)
    return Jet(constant, tail.sum([d + LEAD for d in dims], keepdim) if dims else tail)


@smooth(aten.mean.dim, aten.mean.default)
def mean(x: Jet, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """Mean over ``dim`` (all when empty)."""
    dims = reduced_dims(x, dim)
    constant = x.constant.mean(dims, keepdim, dtype=dtype)
    tail = in_precision(x.tail, constant.dtype)
    return Jet(constant, tail.mean([d + LEAD for d in dims], keepdim) if dims else tail)


@smooth(aten.var.correction)
def variance(
    x: Jet, dim: Sequence[int] | None = None, *, correction: Number | None = None, keepdim: bool = False
) -> Jet:
    """Variance over ``dim``, with ``correction`` degrees of freedom taken off (one when None)."""
    dims = reduced_dims(x, dim)
    freedom = math.prod(x.shape[d] for d in dims) - (1 if correction is None else correction)
    centred = subtract(x, mean(x, dims, keepdim=True))
    squares = multiply(centred, centred)
    assert isinstance(squares, Jet)
    result = scale(total(squares, dims, keepdim), 1 / freedom if freedom > 0 else math.nan)
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
    """Euclidean norm; others are taken apart (`unlearnkit.taylor.decompositions`)."""
    squares = multiply(x, x)
    assert isinstance(squares, Jet)
    return power(total(squares, dim, keepdim), 0.5)


@smooth(aten.cumprod.default)
def _cumulative_product(x: Jet, dim: int, *, dtype: torch.dtype | None = None) -> Jet:
    """Products along one dimension, one factor after the other."""
    if not x.shape or not x.shape[dim]:
        return x
    factors = [
        Jet(c, t) for c, t in zip(x.constant.unbind(dim), x.tail.unbind(dim % x.constant.dim() + LEAD), strict=True)
    ]
    products = list(itertools.accumulate(factors, _product_of_jets))
    constant = torch.stack([p.constant for p in products], dim)
    return Jet(constant, torch.stack([p.tail for p in products], dim % constant.dim() + LEAD))


def _product_of_jets(a: Jet, b: Jet) -> Jet:
    product = multiply(a, b)
    assert isinstance(product, Jet)
    return product


@smooth(aten.prod.dim_int)
def _product(x: Jet, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    products = _cumulative_product(x, dim)
    last = (slice(None),) * (dim % max(x.constant.dim(), 1)) + (slice(-1, None) if keepdim else -1,)
    return Jet(products.constant[last], products.tail[:, :, :, *last]) if x.shape else x


@smooth(aten.prod.default)
def _product_of_all(x: Jet, *, dtype: torch.dtype | None = None) -> Jet:
    return _product(Jet(x.constant.flatten(), x.tail.flatten(LEAD)) if x.shape else x, 0)
