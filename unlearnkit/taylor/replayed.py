"""A recorded graph as a function again, for another recording that differentiates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

aten = torch.ops.aten

# What to call instead when a graph runs again: values may have other strides than those that were recorded.
OF_ANY_STRIDES: dict[Any, OpOverload[..., Any]] = {
    aten.view.default: aten.reshape.default,
    aten._unsafe_view.default: aten.reshape.default,  # noqa: SLF001
}


def _copied(target: Tensor, source: Tensor, *_: object) -> Tensor:
    """``source`` as it is when it is written over ``target``."""
    return source.to(target.dtype).expand(target.shape)


# Writes into memory, which recordings turn into these, have no derivative of torch's.
_DIFFERENTIABLE: dict[Any, Callable[..., Tensor]] = {
    aten.copy.default: _copied,
    aten.zero.default: torch.zeros_like,
}


def replayed(module: fx.GraphModule, results: pytree.TreeSpec) -> Callable[..., Any]:
    """The function that ``module`` recorded, with gradients running everywhere.

    What stops gradients inside it (``detach``, ``torch.no_grad``) did its work when it was recorded; its results
    depend on the stopped values all the same. results: how they are laid out.
    """
    for node in module.graph.nodes:
        if node.target is aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        node.target = _DIFFERENTIABLE.get(node.target, OF_ANY_STRIDES.get(node.target, node.target))
    module.recompile()

    def replay(*arguments: object) -> Any:  # noqa: ANN401  as the function
        outputs = fx.Interpreter(module).run(*pytree.tree_leaves(arguments))
        return pytree.tree_unflatten(outputs, results)

    return replay


def of_any_strides(module: fx.GraphModule) -> fx.GraphModule:
    """The same graph with code of its own, whatever strides its inputs have."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in graph.nodes:
        node.target = OF_ANY_STRIDES.get(node.target, node.target)
    return fx.GraphModule(module, graph)
