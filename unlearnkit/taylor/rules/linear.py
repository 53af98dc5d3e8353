"""Operations that are linear in their jets, done by applying them to every coefficient (``torch.vmap``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._ops import OpOverload

from unlearnkit.taylor.jet import Jet, constant_of
from unlearnkit.taylor.products import LEAD
from unlearnkit.taylor.rules.registry import Rule, aten, first_jet, smooth
from unlearnkit.taylor.rules.shape import tail_of


def coefficientwise(function: Callable[..., Tensor], *tails: Tensor) -> Tensor:
    """Apply ``function`` of ``[*S]`` tensors to each coefficient of tails ``[degree, planes, directions, *S]``."""
    leading = tails[0].shape[:LEAD]
    result: Tensor = torch.vmap(function)(*(tail.flatten(0, LEAD - 1) for tail in tails))
    return result.view(leading + result.shape[1:])


def linear(operation: OpOverload, *positions: int) -> None:
    """Register ``operation`` as jointly linear in the arguments at ``positions``; the others must not be jets."""

    def rule(*args: object, **options: object) -> Jet:
        constants = list(args)
        for position in positions:
            constants[position] = constant_of(args[position])  # type: ignore[arg-type]
        like = first_jet(args).tail
        tails = [tail_of(args[position], like) for position in positions]  # type: ignore[arg-type]

        def apply(*coefficients: Tensor) -> Tensor:
            arguments = list(args)
            for position, coefficient in zip(positions, coefficients, strict=True):
                arguments[position] = coefficient
            return operation(*arguments, **options)  # type: ignore[no-any-return]

        return Jet(operation(*constants, **options), coefficientwise(apply, *tails))

    smooth(operation)(rule)


for _operation in (
    *(aten.roll.default, aten.diagonal.default, aten.tril.default, aten.triu.default, aten.unfold.default),
    *(aten.repeat.default, aten.diag_embed.default, aten.diagonal_copy.default),
):
    linear(_operation, 0)

linear(aten.diagonal_scatter.default, 0, 1)

# The input of the backward forms is there for its shape alone.
for _operation in (
    *(aten.avg_pool2d.default, aten.avg_pool3d.default, aten._adaptive_avg_pool2d.default),
    *(aten.im2col.default, aten.col2im.default, aten.upsample_nearest2d.default, aten.upsample_bilinear2d.default),
    *(aten.upsample_nearest2d_backward.default, aten.upsample_bilinear2d_backward.default),
    *(aten.reflection_pad1d.default, aten.reflection_pad2d.default),
):
    linear(_operation, 0)


def linear_backward(operation: OpOverload) -> Rule:
    """The rule of a backward form linear in the gradient; its input only gives a shape, or positions already chosen."""

    def rule(gradient: Jet | Tensor, x: Jet | Tensor, *args: object) -> Jet | Tensor:
        at = constant_of(x)
        if not isinstance(gradient, Jet):
            return operation(gradient, at, *args)  # type: ignore[no-any-return]
        tail = coefficientwise(lambda g: operation(g, at, *args), gradient.tail)
        return Jet(operation(gradient.constant, at, *args), tail)

    return rule


for _operation in (
    *(aten.avg_pool2d_backward.default, aten.avg_pool3d_backward.default, aten._adaptive_avg_pool2d_backward.default),
    *(aten.reflection_pad1d_backward.default, aten.reflection_pad2d_backward.default),
    *(aten.replication_pad1d_backward.default, aten.replication_pad2d_backward.default),
):
    smooth(_operation)(linear_backward(_operation))
