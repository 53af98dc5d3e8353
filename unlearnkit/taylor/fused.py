"""Sums of matrix products, the second added where the first lies: no further tensor, and no pass over both.

For graphs over plain tensors alone: sums are rounded otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

aten = torch.ops.aten

_ONTO: dict[Any, OpOverload[..., Any]] = {
    aten.mm.default: aten.addmm_.default,
    aten.bmm.default: aten.baddbmm_.default,
}


def fuse(graph: fx.Graph) -> None:
    """Write them so, in place."""
    for node in list(graph.nodes):
        if node.target is not aten.add.Tensor or node.kwargs:
            continue
        total, product = node.args
        if _is_spare(total) and _is_spare(product) and _form(total) == _form(product) and total is not product:
            node.target, node.args = _ONTO[product.target], (total, *product.args)
            graph.erase_node(product)


def _is_spare(x: Any) -> bool:  # noqa: ANN401  whatever an operation takes
    """Whether it is a matrix product that nothing else reads."""
    return isinstance(x, fx.Node) and x.target in _ONTO and len(x.users) == 1


def _form(node: fx.Node) -> object:
    value = node.meta["val"]
    return node.target, value.shape, value.dtype
