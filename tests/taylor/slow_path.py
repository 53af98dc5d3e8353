"""The slow path that the Taylor engine is compared with: differentiate ``t -> f(x_0 + x_1 t + x_2 t^2 + ...)`` at 0.

Nothing here knows of rules, traces or jets' arithmetic; torch's own forward-mode derivatives do the work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from unlearnkit.taylor.interpreter import Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.trace import Trace

Function = Callable[..., Any]


def derivatives(curve: Callable[[Tensor], tuple[Tensor, ...]], degree: int) -> list[tuple[Tensor, ...]]:
    """``[c(0), c'(0), ..., c^(degree)(0)]`` by ``degree`` nested Jacobian-vector products."""

    def extended(inner: Callable[[Tensor], list[Any]]) -> Callable[[Tensor], list[Any]]:
        def outer(t: Tensor) -> list[Any]:
            values, slopes = jvp(inner, (t,), (torch.ones_like(t),))
            return [*values, slopes[-1]]

        return outer

    chain: Callable[[Tensor], list[Any]] = lambda t: [curve(t)]  # noqa: E731
    for _ in range(degree):
        chain = extended(chain)
    with sdpa_kernel(SDPBackend.MATH):
        return chain(torch.zeros((), dtype=torch.float64))


def coefficients(function: Function, arguments: Sequence[Jet | Tensor], degree: int) -> list[Tensor]:
    """Taylor coefficients ``1..degree`` of each tensor that ``function`` returns: ``[degree, directions, *S]``, real tails.

    arguments: jets with real tails, and plain tensors.
    """
    directions = next(a.tail.shape[1] for a in arguments if isinstance(a, Jet))
    columns = [_along(function, arguments, degree, direction) for direction in range(directions)]
    return [torch.stack(outputs, 1) for outputs in zip(*columns, strict=True)]


def _along(function: Function, arguments: Sequence[Jet | Tensor], degree: int, direction: int) -> list[Tensor]:
    def curve(t: Tensor) -> tuple[Tensor, ...]:
        moved = [a if isinstance(a, Tensor) else _polynomial(a, direction, t) for a in arguments]
        return tuple(pytree.tree_leaves(function(*moved)))

    found = derivatives(curve, degree)
    return [
        torch.stack([found[r][i] / math.factorial(r) for r in range(1, degree + 1)]) for i in range(len(found[0]))
    ]


def _polynomial(jet: Jet, direction: int, t: Tensor) -> Tensor:
    value = torch.zeros_like(jet.constant)
    for coefficient in jet.tail[:, direction].flip(0):
        value = (value + coefficient) * t
    return jet.constant + value


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
