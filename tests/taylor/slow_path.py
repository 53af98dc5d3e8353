"""The slow path that the Taylor engine is compared with: differentiate ``t -> f(x_0 + x_1 t + x_2 t^2 + ...)`` at 0.

Nothing here knows of rules, traces or jets' arithmetic; torch's own forward-mode derivatives do the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from unlearnkit.taylor.interpreter import Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.trace import Trace

Function = Callable[..., Any]


def derivatives(function: Function, curves: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """``[y, y', y'', ...]`` for ``y(t) = function(x(t), ...)``, flat, given ``[x, x', x'', ...]`` for each argument at one t.

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

    arguments: jets with real tails, and plain tensors.
    """
    directions = next(a.tail.shape[1] for a in arguments if isinstance(a, Jet))
    columns = [_along(function, arguments, direction) for direction in range(directions)]
    return [torch.stack(outputs, 1) for outputs in zip(*columns, strict=True)]


def _along(function: Function, arguments: Sequence[Jet | Tensor], direction: int) -> list[Tensor]:
    jets = [a for a in arguments if isinstance(a, Jet)]

    def of_jets(*moved: Tensor) -> Any:
        remaining = iter(moved)
        return function(*(next(remaining) if isinstance(a, Jet) else a for a in arguments))

    curves = [[jet.constant, *(x * math.factorial(r + 1) for r, x in enumerate(jet.tail[:, direction]))] for jet in jets]
    found = derivatives(of_jets, curves)
    return [
        torch.stack([y[output] / math.factorial(r) for r, y in enumerate(found) if r]) for output in range(len(found[0]))
    ]


def run(traced: Trace, arguments: Sequence[Jet | Tensor]) -> list[Jet | Tensor]:
    """What the engine makes of the same arguments, flat."""
    interpreter = Interpreter(traced, [isinstance(a, Jet) for a in arguments])
    return pytree.tree_leaves(interpreter(*arguments))


def tail_of(value: Jet | Tensor, like: Sequence[Jet | Tensor]) -> Tensor:
    """The tail of a result; zero where the engine found out that the result is constant."""
    if isinstance(value, Jet):
        return value.tail
    tail = next(a.tail for a in like if isinstance(a, Jet))
    return tail.new_zeros(tail.shape[:2] + value.shape)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest relative error of a degree and direction, in norm; absolute where the expected norm is below one."""
    found, expected = found.flatten(2), expected.flatten(2)
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


class WrittenOut(TorchFunctionMode):
    """Replaces torch's kernels with faulty nested derivatives by their formulas."""

    FORMULAS = {F.layer_norm: layer_norm, F.group_norm: group_norm}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.FORMULAS.get(func, func)(*args, **(kwargs or {}))
