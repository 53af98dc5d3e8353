"""Torch's own Python functions for operations of a graph: the same kernels, which take less to call.

An operation as graphs name it is called through a table of boxed functions, which takes half as long again as the
function in ``torch`` that was made for Python (2 and 1.3 microseconds on a small tensor). A small step is hardly more
than such calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

# Of those that take the arguments of the operation in its order, with a tensor first.
_NAMES = (
    *("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "mul.Scalar", "add.Scalar", "sub.Scalar", "div.Scalar"),
    *("neg.default", "exp.default", "log.default", "tanh.default", "sigmoid.default", "sqrt.default", "rsqrt.default"),
    *("erf.default", "sin.default", "cos.default", "reciprocal.default", "square.default", "abs.default"),
    *("pow.Tensor_Scalar", "clamp_min.default", "where.self"),
    *("mm.default", "bmm.default", "addmm.default", "baddbmm.default", "t.default", "transpose.int"),
    *("permute.default", "reshape.default", "unsqueeze.default", "squeeze.dim", "squeeze.dims", "select.int"),
    *("eq.Scalar", "ne.Scalar", "lt.Scalar", "le.Scalar", "gt.Scalar", "ge.Scalar"),
    *("eq.Tensor", "ne.Tensor", "lt.Tensor", "le.Tensor", "gt.Tensor", "ge.Tensor"),
    *("sum.dim_IntList", "mean.dim", "amax.default", "gather.default", "index_select.default"),
)
_METHODS = ("expand.default", "addmm_.default", "baddbmm_.default", "mul_.Tensor", "add_.Tensor", "sub_.Tensor")


def _operation(name: str) -> object:
    packet, overload = name.split(".")
    return getattr(getattr(aten, packet), overload)


_FUNCTIONS: dict[object, Callable[..., Any]] = {
    **{_operation(name): getattr(torch, name.split(".")[0]) for name in _NAMES},
    **{_operation(name): getattr(Tensor, name.split(".")[0]) for name in _METHODS},
}


def call_directly(graph: fx.Graph) -> None:
    """Write them so, in place."""
    for node in graph.nodes:
        if node.op == "call_function" and node.args and isinstance(node.args[0], fx.Node):
            node.target = _FUNCTIONS.get(node.target, node.target)
