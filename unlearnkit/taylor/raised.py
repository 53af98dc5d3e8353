"""Graphs in which nothing is computed more coarsely than in float32, for models that lower their precision.

What autocast or weights in bfloat16 make of a function is piecewise constant, so its rounding has no derivative: a
series is that of the same function without it. The rounded numbers themselves are plain torch's
(`unlearnkit.training.anchor`).
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from unlearnkit.taylor.draws import is_random

aten = torch.ops.aten

COARSE = (torch.bfloat16, torch.float16)
"""What is lower than single precision."""

# Operations with a flag that only fits numbers of half precision, and where it stands.
_OF_HALVES = {aten._softmax.default: 2, aten._log_softmax.default: 2}  # noqa: SLF001


def raise_precision(module: fx.GraphModule) -> None:
    """Let every operation compute in float32 at least, in place; nodes still say what they were recorded in.

    Random numbers are drawn in the precision that they were recorded in, which decides what they are.
    """
    nodes = list(module.graph.nodes)
    drawing = [node for node in nodes if is_random(node.target)]
    for node in drawing:
        for source in filter(_is_coarse, node.all_input_nodes):
            with node.graph.inserting_before(node):
                node.replace_input_with(source, _cast(source, source.meta["val"].dtype))
    for node in nodes:
        if node.op in ("placeholder", "get_attr") and _is_coarse(node):
            _raise(node)
        elif node in drawing:
            parts = [user for user in node.users if user.target is operator.getitem]
            for part in filter(_is_coarse, parts or [node]):
                _raise(part)
        elif node.op == "call_function":
            _compute_raised(node)


def _compute_raised(node: fx.Node) -> None:
    """Let one operation say float32 where it says less."""
    said: Any = fx.node.map_aggregate((node.args, node.kwargs), lambda x: torch.float32 if x in COARSE else x)
    node.args, node.kwargs = said
    operation: Any = node.target
    if operation in _OF_HALVES:
        node.update_arg(_OF_HALVES[operation], False)  # noqa: FBT003


def _is_coarse(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype in COARSE


def _raise(node: fx.Node) -> None:
    """Put a cast between a node and all who use it."""
    with node.graph.inserting_after(node):
        raised = _cast(node, torch.float32)
    node.replace_all_uses_with(raised, delete_user_cb=lambda user: user is not raised)


def _cast(node: fx.Node, dtype: torch.dtype) -> fx.Node:
    cast = node.graph.call_function(aten._to_copy.default, (node,), {"dtype": dtype})  # noqa: SLF001
    value: Any = node.meta["val"]
    cast.meta = {**node.meta, "val": value.to(dtype)}
    return cast
