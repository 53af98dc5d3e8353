"""Operations with kinks, differentiated on the branch that the constant term takes.

At a kink itself the branch is the one that torch's own gradient would take (zero slope of relu and abs at 0).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, Operand, compose, multiply
from unlearnkit.taylor.products import LEAD
from unlearnkit.taylor.rules.elementwise import exponential
from unlearnkit.taylor.rules.indexing import gathered, where
from unlearnkit.taylor.rules.linear import coefficientwise, linear_backward
from unlearnkit.taylor.rules.registry import aten, piecewise


def _constant(x: Jet | Tensor) -> Tensor:
    return x.constant if isinstance(x, Jet) else x


def _slope(x: Jet, constant: Tensor, slope: Tensor) -> Jet:
    return Jet(constant, x.tail * slope)


@piecewise(aten.relu.default)
def _relu(x: Jet) -> Jet:
    return _slope(x, x.constant.relu(), (x.constant > 0).to(x.constant.dtype))


@piecewise(aten.leaky_relu.default)
def _leaky_relu(x: Jet, negative_slope: float = 0.01) -> Jet:
    slope = torch.ones_like(x.constant).masked_fill_(x.constant <= 0, negative_slope)
    return _slope(x, x.constant * slope, slope)


@piecewise(aten._prelu_kernel.default)
def _prelu(x: Jet | Tensor, negative_slope: Jet | Tensor) -> Jet:
    return where(_constant(x) > 0, x, multiply(negative_slope, x))


@piecewise(aten.threshold.default)
def _threshold(x: Jet, threshold: float, value: float) -> Jet:
    return where(x.constant <= threshold, value, x)


@piecewise(aten.elu.default)
def _elu(x: Jet, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Jet:
    below = compose(exponential, Jet(x.constant.clamp_max(0) * input_scale, x.tail * input_scale))
    constant = aten.elu(x.constant, alpha, scale, input_scale)
    return Jet(constant, torch.where(x.constant > 0, x.tail * scale, below.tail * (alpha * scale)))


@piecewise(aten.abs.default)
def _abs(x: Jet) -> Jet:
    return _slope(x, x.constant.abs(), x.constant.sign())


@piecewise(aten.clamp.default)
def _clamp(x: Jet, low: float | None = None, high: float | None = None) -> Jet:
    constant = x.constant.clamp(low, high)
    return _slope(x, constant, (constant == x.constant).to(constant.dtype))


@piecewise(aten.clamp_min.default)
def _clamp_min(x: Jet, low: float) -> Jet:
    return _clamp(x, low, None)


@piecewise(aten.clamp_max.default)
def _clamp_max(x: Jet, high: float) -> Jet:
    return _clamp(x, None, high)


@piecewise(aten.hardtanh.default)
def _hardtanh(x: Jet, low: float = -1, high: float = 1) -> Jet:
    return _clamp(x, low, high)


@piecewise(aten.maximum.default)
def _maximum(a: Jet | Tensor, b: Jet | Tensor) -> Jet:
    return where(_constant(a) >= _constant(b), a, b)


@piecewise(aten.minimum.default)
def _minimum(a: Jet | Tensor, b: Jet | Tensor) -> Jet:
    return where(_constant(a) <= _constant(b), a, b)


@piecewise(aten.clamp.Tensor)
def _clamp_by_tensors(x: Jet | Tensor, low: Jet | Tensor | None = None, high: Jet | Tensor | None = None) -> Operand:
    for bound, rule, plain in ((low, _maximum, torch.maximum), (high, _minimum, torch.minimum)):
        if isinstance(x, Jet) or isinstance(bound, Jet):
            x = x if bound is None else rule(x, bound)
        elif bound is not None:
            x = plain(x, bound)
    return x


def _extreme(x: Jet, dim: int, keepdim: bool, largest: bool) -> tuple[Jet, Tensor]:
    index = x.constant.argmax(dim, keepdim=True) if largest else x.constant.argmin(dim, keepdim=True)
    constant, tail = x.constant.gather(dim, index), gathered(x.tail, dim, index)
    if not keepdim:
        at = dim % x.constant.dim()
        constant, tail, index = constant.squeeze(at), tail.squeeze(at + LEAD), index.squeeze(at)
    return Jet(constant, tail), index


@piecewise(aten.max.dim)
def _max(x: Jet, dim: int, keepdim: bool = False) -> tuple[Jet, Tensor]:
    return _extreme(x, dim, keepdim, largest=True)


@piecewise(aten.min.dim)
def _min(x: Jet, dim: int, keepdim: bool = False) -> tuple[Jet, Tensor]:
    return _extreme(x, dim, keepdim, largest=False)


def _extreme_over(x: Jet, dims: Sequence[int], keepdim: bool, largest: bool) -> Jet:
    """Extreme over several dimensions: one after the other, which gives the same branch."""
    named = sorted((d % x.constant.dim() for d in (dims or range(x.constant.dim()))), reverse=True)
    for d in named:
        x, _ = _extreme(x, d, keepdim, largest)
    return x


@piecewise(aten.amax.default)
def _amax(x: Jet, dim: Sequence[int] = (), keepdim: bool = False) -> Jet:
    return _extreme_over(x, dim, keepdim, largest=True)


@piecewise(aten.amin.default)
def _amin(x: Jet, dim: Sequence[int] = (), keepdim: bool = False) -> Jet:
    return _extreme_over(x, dim, keepdim, largest=False)


@piecewise(aten.max.default)
def _max_of_all(x: Jet) -> Jet:
    return _amax(x)


@piecewise(aten.min.default)
def _min_of_all(x: Jet) -> Jet:
    return _amin(x)


@piecewise(aten.sort.default)
def _sort(x: Jet, dim: int = -1, descending: bool = False) -> tuple[Jet, Tensor]:
    constant, index = x.constant.sort(dim=dim, descending=descending)
    return Jet(constant, gathered(x.tail, dim, index)), index


@piecewise(aten.topk.default)
def _topk(x: Jet, k: int, dim: int = -1, largest: bool = True, ordered: bool = True) -> tuple[Jet, Tensor]:
    constant, index = x.constant.topk(k, dim, largest, ordered)
    return Jet(constant, gathered(x.tail, dim, index)), index


@piecewise(aten.max_pool2d_with_indices.default)
def _max_pool(x: Jet, *settings: object) -> tuple[Jet, Tensor]:
    constant, index = aten.max_pool2d_with_indices(x.constant, *settings)
    flat = index.flatten(-2)
    tail = coefficientwise(lambda t: t.flatten(-2).gather(-1, flat).view(index.shape), x.tail)
    return Jet(constant, tail), index


piecewise(aten.max_pool2d_with_indices_backward.default)(linear_backward(aten.max_pool2d_with_indices_backward.default))
