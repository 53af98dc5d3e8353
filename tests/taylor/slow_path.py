"""The slow path that the Taylor engine is compared with: differentiate ``t -> f(x_0 + x_1 t + x_2 t^2 + ...)`` at 0.

Nothing here knows of rules, traces or jets' arithmetic; torch's own forward-mode derivatives do the work.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from unlearnkit.taylor.jet import Jet

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch._decomp.decompositions_for_jvp  # loaded by the first derivative, and warns of torch.jit

Function = Callable[..., Any]


def derivatives(function: Function, curves: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """``[y, y', y'', ...]`` for ``y(t) = function(x(t), ...)``, flat, given ``[x, x', x'', ...]`` for each argument.

    ``y^(r)`` is a function of the arguments' derivatives up to ``r``, and its derivative along the curve is a
    Jacobian-vector product with their derivatives up to ``r + 1``.
    """

    def extended(inner: Function, order: int) -> Function:
        def outer(*orders: list[Tensor]) -> list[Any]:
            values, slopes = jvp(inner, orders[:order], orders[1 : order + 1])
            return [*values, slopes[-1]]

        return outer

    orders = [list(order) for order in zip(*curves, strict=True)]
    chain: Function = lambda xs: [pytree.tree_leaves(function(*xs))]  # noqa: E731
    for order in range(1, len(orders)):
        chain = extended(chain, order)
    with sdpa_kernel(SDPBackend.MATH), WrittenOut():
        return chain(*orders)


def coefficients(function: Function, arguments: Sequence[Jet | Tensor]) -> list[Tensor]:
    """Taylor coefficients of each tensor that ``function`` returns: ``[degree, directions, *S]``, for real tails.

    arguments: jets with real tails, and plain tensors. Directions go through ``torch.vmap``.
    """
    jets = [a for a in arguments if isinstance(a, Jet)]

    def of_jets(*moved: Tensor) -> Any:
        remaining = iter(moved)
        return function(*(next(remaining) if isinstance(a, Jet) else a for a in arguments))

    def along(*tails: Tensor) -> list[Tensor]:
        curves = [
            [jet.constant, *(x * math.factorial(r + 1) for r, x in enumerate(tail))]
            for jet, tail in zip(jets, tails, strict=True)
        ]
        found = derivatives(of_jets, curves)
        nothing = 0 * sum(tail.sum() for tail in tails)  # so that results which are constant have a batch dimension too
        return [
            torch.stack([y / math.factorial(r) for r, y in enumerate(ys) if r]) + nothing
            for ys in zip(*found, strict=True)
        ]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        return torch.vmap(along, in_dims=1, out_dims=1, randomness="same")(*(jet.coefficients for jet in jets))


def tail_of(value: Jet | Tensor, like: Sequence[Jet | Tensor]) -> Tensor:
    """The tail of a result; zero where the engine found out that the result is constant."""
    if isinstance(value, Jet):
        return value.coefficients
    tail = next(a.coefficients for a in like if isinstance(a, Jet))
    return tail.new_zeros(tail.shape[:2] + value.shape)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest relative error of a degree and direction, in norm; absolute where the expected norm is below one."""
    found, expected = (x.reshape(*x.shape[:2], -1) for x in (found, expected))
    scale = expected.norm(dim=2).clamp_min(1.0)
    return float(((found - expected).norm(dim=2) / scale).max()) if found.numel() else 0.0


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    """What ``F.layer_norm`` says it computes. Torch's own loses its second forward-mode derivative."""
    dims = tuple(range(x.dim() - len(shape), x.dim()))
    centred = x - x.mean(dims, keepdim=True)
    result = centred * (centred.square().mean(dims, keepdim=True) + eps) ** -0.5
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    """What ``F.group_norm`` says it computes; see ``layer_norm``."""
    result = layer_norm(x.reshape(len(x), groups, -1), (x[0].numel() // groups,), eps=eps).reshape(x.shape)
    shape = (-1,) + (1,) * (x.dim() - 2)
    result = result if weight is None else result * weight.view(shape)
    return result if bias is None else result + bias.view(shape)


def instance_norm(x, weight=None, bias=None, **_):
    """What ``F.instance_norm`` says it computes; see ``layer_norm``."""
    return group_norm(x, x.shape[1], weight, bias)


def batch_norm(x, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """What ``F.batch_norm`` says it computes with given statistics; see ``layer_norm``."""
    shape = (-1,) + (1,) * (x.dim() - 2)
    result = (x - mean.view(shape)) / (variance.view(shape) + eps).sqrt()
    result = result if weight is None else result * weight.view(shape)
    return result if bias is None else result + bias.view(shape)


class WrittenOut(TorchFunctionMode):
    """Replaces torch's kernels with faulty nested derivatives by their formulas."""

    FORMULAS: ClassVar = {
        F.layer_norm: layer_norm,
        F.group_norm: group_norm,
        F.instance_norm: instance_norm,
        F.batch_norm: batch_norm,
        F.glu: lambda x, dim: x.chunk(2, dim)[0] * x.chunk(2, dim)[1].sigmoid(),
        F.hardsigmoid: lambda x, **_: (x / 6 + 0.5).clamp(0, 1),
        F.huber_loss: lambda x, y, **_: torch.where((x - y).abs() < 1, (x - y) ** 2 / 2, (x - y).abs() - 0.5).mean(),
    }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.FORMULAS.get(func, func)(*args, **(kwargs or {}))
