"""Sums with matrix products, added where the sum lies: no further tensor, and no pass over both.

For graphs over plain tensors alone: sums are rounded otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

aten = torch.ops.aten

_ADDED: dict[Any, OpOverload[..., Any]] = {aten.mm.default: aten.addmm.default, aten.bmm.default: aten.baddbmm.default}
_ONTO: dict[Any, OpOverload[..., Any]] = {aten.mm.default: aten.addmm_.default, aten.bmm.default: aten.baddbmm_.default}


def fuse(graph: fx.Graph) -> None:
    """Write them so, in place."""
    for node in list(graph.nodes):
        if node.target is not aten.add.Tensor or node.kwargs or node.args[0] is node.args[1]:
            continue
        for total, product in (node.args, reversed(node.args)):
            if _is_spare(product) and product.target in _ADDED and _is_like(total, product):
                written = _ONTO if _is_spare(total) else _ADDED
                node.target, node.args = written[product.target], (total, *product.args)
                graph.erase_node(product)
                break


def _is_spare(x: Any) -> bool:  # noqa: ANN401  whatever an operation takes
    """Whether it is a tensor that an operation made, and that nothing else reads."""
    if not (isinstance(x, fx.Node) and isinstance(x.target, OpOverload) and len(x.users) == 1):
        return False
    returns = x.target._schema.returns  # noqa: SLF001
    return len(returns) == 1 and returns[0].alias_info is None and isinstance(x.meta.get("val"), Tensor)


def _is_like(x: Any, product: fx.Node) -> bool:  # noqa: ANN401  whatever an operation takes
    """Whether it is a tensor of the product's form."""
    found, expected = x.meta.get("val") if isinstance(x, fx.Node) else None, product.meta["val"]
    return isinstance(found, Tensor) and (found.shape, found.dtype) == (expected.shape, expected.dtype)
