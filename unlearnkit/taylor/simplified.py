"""Graphs without what does nothing: views that leave a tensor as it is, pairs that undo each other, work done twice.

Numbers stay the same to the last bit, for every operation that is left gets the same numbers in the same layout.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from unlearnkit.taylor.draws import is_random

aten = torch.ops.aten

_VIEWS = (aten.view.default, aten._unsafe_view.default, aten.expand.default)  # noqa: SLF001


def simplify(graph: fx.Graph) -> None:
    """Take them out, in place. Sizes must not follow from data: they are compared as they were when tracing."""
    seen: dict[object, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, OpOverload):
            continue
        same = _unchanged(node) or _undone(node)
        if same is None and _is_pure(node):
            same = seen.setdefault(_written(node), node)
        if same is not None and same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)


def _unchanged(node: fx.Node) -> fx.Node | None:
    """The input that a node only hands on."""
    source, layout = _input(node), _layout(node)
    if node.target in _VIEWS and source is not None and layout is not None and _layout(source) == layout:
        return source
    return None


def _undone(node: fx.Node) -> fx.Node | None:
    """What was there before two transpositions that undo each other."""
    before = _input(node)
    if before is None or before.target is not node.target or before.args[1:] != node.args[1:]:
        return None
    return _input(before) if node.target in (aten.t.default, aten.transpose.int) else None


def _input(node: fx.Node) -> fx.Node | None:
    return node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None


def _layout(node: fx.Node) -> tuple[Any, ...] | None:
    value = node.meta.get("val")
    return (value.shape, value.stride(), value.dtype) if isinstance(value, Tensor) else None


def _is_pure(node: fx.Node) -> bool:
    """Whether the same arguments always give the same result, which nobody writes into."""
    target: Any = node.target
    return not (is_random(target) or target._schema.is_mutable)  # noqa: SLF001


def _written(node: fx.Node) -> object:
    """An operation with its arguments, as something to compare: 1 is not 1.0."""

    def told(x: object) -> object:
        if isinstance(x, (list, tuple)):
            return tuple(told(item) for item in x)
        return x if isinstance(x, fx.Node) else (type(x), repr(x))

    options = tuple((name, told(value)) for name, value in sorted(node.kwargs.items()))
    return node.target, told(node.args), options
