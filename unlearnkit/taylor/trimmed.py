"""Graphs without what no result needs, for plain tensors alone.

Of some tensors only the sizes are read: a gradient starts from a one that is shaped as the loss is. With sizes known,
what computed them is not needed. In a graph over jets it stays, for it tells where a function has kinks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

# What is filled with which value, None: the second argument.
_FILLED: dict[Any, float | None] = {
    aten.full_like.default: None,
    aten.zeros_like.default: 0.0,
    aten.ones_like.default: 1.0,
}


def trim(module: fx.GraphModule) -> None:
    """Take it out, in place. Nothing in the graph may draw random numbers or read data."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _FILLED and _is_dense(node.meta.get("val")):
            _fill(graph, node)
        elif node.target is aten.scalar_tensor.default and node.users:
            _keep(module, node)
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _is_dense(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_contiguous()


def _fill(graph: fx.Graph, node: fx.Node) -> None:
    """Make it out of nothing."""
    value, number = node.meta["val"], _FILLED[node.target]
    filled = node.args[1] if number is None else number
    with graph.inserting_before(node):
        new = graph.call_function(
            aten.full.default, (list(value.shape), filled), {"dtype": value.dtype, "device": value.device}
        )
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)


def _keep(module: fx.GraphModule, node: fx.Node) -> None:
    """Make it once."""
    if any(user.op == "output" for user in node.users):  # whoever gets it may write into it
        return
    name = f"_{node.name}"
    module.register_buffer(name, aten.scalar_tensor.default(*node.args, **node.kwargs), persistent=False)
    with module.graph.inserting_before(node):
        new = module.graph.get_attr(name)
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
