"""Functions without low precision while they are traced: what rounds to bfloat16 or float16 computes in float32.

What autocast or weights in bfloat16 make of a function is piecewise constant, so its rounding has no derivative: a
series is that of the same function without it. The rounded numbers themselves are plain torch's
(`unlearnkit.training.anchor`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

COARSE = (torch.bfloat16, torch.float16)
"""What is lower than single precision."""

_CASTS: dict[Any, Callable[..., Any]] = {Tensor.bfloat16: Tensor.float, Tensor.half: Tensor.float}


def raised(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a torch function does in float32: casts to something lower are casts to that."""
    return _CASTS.get(function, function)


def in_single(arguments: Any) -> Any:  # noqa: ANN401  whatever functions take
    """The same arguments; where any are tensors or names of low precision, with these in float32."""
    if not any(map(is_coarse, pytree.tree_leaves(arguments))):
        return arguments
    return pytree.tree_map(_in_single, arguments)


def is_coarse(x: object) -> bool:
    """Whether an argument is a tensor, or the name, of low precision."""
    dtype = x.dtype if isinstance(x, Tensor) else x
    return isinstance(dtype, torch.dtype) and dtype in COARSE


def _in_single(x: Any) -> Any:  # noqa: ANN401  any argument
    if not is_coarse(x):
        return x
    return x.float() if isinstance(x, Tensor) else torch.float32


@contextmanager
def without_autocast() -> Iterator[None]:
    """``torch.autocast`` lowers nothing: it switches itself on through this name of torch's."""
    with patch.object(torch, "set_autocast_enabled", lambda *_: None):
        yield
