"""Torch's functions for Python compute what the operations of a graph do, to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from unlearnkit.taylor.kernels import _FUNCTIONS, call_directly

A, B = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.5
INDEX = torch.tensor([[1, 0, 2, 3]] * 4)

ARGUMENTS: dict[str, tuple[object, ...]] = {
    "pow": (3,),
    "clamp_min": (1.0,),
    "t": (),
    "transpose": (0, 1),
    "permute": ([1, 0],),
    "reshape": ([2, 8],),
    "unsqueeze": (1,),
    "squeeze": (0,),
    "select": (0, 1),
    "sum": ([1], True),
    "mean": ([0],),
    "amax": ([1],),
    "gather": (1, INDEX),
    "index_select": (0, INDEX[0]),
    "expand": ([3, 4, 4],),
}
PRODUCTS = {"addmm": 2, "addmm_": 2, "baddbmm": 3, "baddbmm_": 3, "bmm": 3, "mm": 2}


def _arguments(operation: torch._ops.OpOverload) -> tuple[object, ...]:
    name = operation.overloadpacket.__name__
    if name in PRODUCTS:
        a, b = (A, B) if PRODUCTS[name] == 3 else (A[0], B[0])
        return (a.clone(), b, a) if name.startswith(("addmm", "baddbmm")) else (a, b)
    if name == "where":
        return A[0] > 1, A[0], B[0]
    first = A[0].clone()
    if operation._overloadname == "dims":
        return first, [0]
    if name in ARGUMENTS:
        return (first, *ARGUMENTS[name])
    if operation._overloadname == "Scalar":
        return first, 2
    return (first, B[0]) if operation._overloadname == "Tensor" else (first,)


@pytest.mark.parametrize("operation", _FUNCTIONS, ids=str)
def test_an_operation_called_directly_gives_the_same_bits(operation):
    expected = operation(*_arguments(operation))
    graph = fx.Graph()
    given = [
        graph.placeholder(f"x{i}") if isinstance(x, torch.Tensor) else x for i, x in enumerate(_arguments(operation))
    ]
    graph.output(graph.call_function(operation, tuple(given)))
    call_directly(graph)
    assert all(node.target is not operation for node in graph.nodes)
    found = fx.GraphModule({}, graph)(*(x for x in _arguments(operation) if isinstance(x, torch.Tensor)))
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_a_number_in_the_first_place_stays_with_the_operation():
    graph = fx.Graph()
    graph.output(graph.call_function(torch.ops.aten.sub.Tensor, (1, graph.placeholder("x"))))
    call_directly(graph)
    assert torch.equal(fx.GraphModule({}, graph)(A), 1 - A)
