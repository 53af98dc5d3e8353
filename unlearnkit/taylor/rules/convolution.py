"""Convolution and its backward: bilinear, so one real convolution for each pair of parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, Operand, add, constant_of
from unlearnkit.taylor.products import LEAD
from unlearnkit.taylor.rules.linear import coefficientwise
from unlearnkit.taylor.rules.registry import aten, smooth

Bilinear = Callable[[Tensor, Tensor], Tensor]


def bilinear(form: Bilinear, a: Operand, b: Operand) -> Operand:
    """``form(a, b)`` for a bilinear form."""
    left, right = constant_of(a), constant_of(b)
    assert isinstance(left, Tensor) and isinstance(right, Tensor)
    constant = form(left, right)
    tails = []
    if isinstance(a, Jet):
        tails.append(coefficientwise(lambda t: form(t, right), a.tail))
    if isinstance(b, Jet):
        tails.append(coefficientwise(lambda t: form(left, t), b.tail))
    if not tails:
        return constant
    tail = tails[0] if len(tails) == 1 else tails[0] + tails[1]
    if isinstance(a, Jet) and isinstance(b, Jet):
        tail = tail.contiguous()
        for i in range(1, a.degree):
            for j in range(1, a.degree - i + 1):
                tail[i + j - 1] += _product(form, a.tail[i - 1], b.tail[j - 1])
    return Jet(constant, tail)


def _product(form: Bilinear, a: Tensor, b: Tensor) -> Tensor:
    """``form`` of ``[planes, directions, *A]`` and ``[planes, directions, *B]``, direction by direction."""
    mapped = torch.vmap(form)
    if len(a) == 1:
        return mapped(a[0], b[0]).unsqueeze(0)
    real = mapped(a[0], b[0]) - mapped(a[1], b[1])
    return torch.stack([real, mapped(a[0], b[1]) + mapped(a[1], b[0])])


def _with_bias(x: Operand, bias: Operand) -> Operand:
    """Add one number per channel."""
    spatial = constant_of(x).dim() - 2  # type: ignore[union-attr]
    if isinstance(bias, Jet):
        shape = (-1,) + (1,) * spatial
        bias = Jet(bias.constant.view(shape), bias.tail.reshape(bias.tail.shape[:LEAD] + bias.shape + (1,) * spatial))
    elif isinstance(bias, Tensor):
        bias = bias.view((-1,) + (1,) * spatial)
    return add(x, bias)


@smooth(aten.convolution.default)
def _convolution(x: Operand, weight: Operand, bias: Operand | None, *settings: object) -> Operand:
    def form(a: Tensor, b: Tensor) -> Tensor:
        return aten.convolution(a, b, None, *settings)  # type: ignore[no-any-return]

    result = bilinear(form, x, weight)
    return result if bias is None else _with_bias(result, bias)


@smooth(aten.convolution_backward.default)
def _convolution_backward(
    gradient: Operand, x: Operand, weight: Operand, _bias_sizes: Sequence[int] | None, *settings: object
) -> tuple[Operand | None, Operand | None, Operand | None]:
    """Gradients of input, weight and bias: bilinear in (gradient, weight), bilinear in (gradient, input), linear."""
    *geometry, wanted = settings
    assert isinstance(wanted, (list, tuple))

    def to_input(g: Tensor, w: Tensor) -> Tensor:
        outputs = aten.convolution_backward(g, constant_of(x), w, None, *geometry, [True, False, False])
        return outputs[0]  # type: ignore[no-any-return]

    def to_weight(g: Tensor, a: Tensor) -> Tensor:
        outputs = aten.convolution_backward(g, a, constant_of(weight), None, *geometry, [False, True, False])
        return outputs[1]  # type: ignore[no-any-return]

    return (
        bilinear(to_input, gradient, weight) if wanted[0] else None,
        bilinear(to_weight, gradient, x) if wanted[1] else None,
        _sum_over_channels(gradient) if wanted[2] else None,
    )


def _sum_over_channels(gradient: Operand) -> Operand:
    if isinstance(gradient, Jet):
        dims = [d for d in range(gradient.constant.dim()) if d != 1]
        return Jet(gradient.constant.sum(dims), gradient.tail.sum([d + LEAD for d in dims]))
    assert isinstance(gradient, Tensor)
    return gradient.sum([d for d in range(gradient.dim()) if d != 1])
