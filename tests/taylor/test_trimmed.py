"""Graphs without what only sizes are read of: the same numbers by fewer operations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from unlearnkit.taylor.trimmed import trim

aten = torch.ops.aten
A = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


def counted(module: torch.fx.GraphModule) -> list[object]:
    return [node.target for node in module.graph.nodes if node.op == "call_function"]


def trimmed(function) -> torch.fx.GraphModule:
    module = make_fx(function)(A)
    trim(module)
    module.recompile()
    return module


def test_a_gradient_does_not_need_the_loss():
    module = trimmed(torch.func.grad(lambda a: a.sin().sum()))
    assert torch.equal(module(A), A.cos())
    assert aten.sin.default not in counted(module)
    assert aten.sum.default not in counted(module)


def test_what_is_filled_keeps_value_precision_and_shape():
    def function(a: Tensor) -> tuple[Tensor, ...]:
        computed = a.exp()
        return torch.full_like(computed, 2.5), torch.zeros_like(computed, dtype=torch.int64), torch.ones_like(computed)

    module = trimmed(function)
    assert aten.exp.default not in counted(module)
    for found, expected in zip(module(A), function(A), strict=True):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


def test_numbers_are_made_once_and_those_that_are_handed_out_each_time():
    def function(a: Tensor) -> tuple[Tensor, Tensor]:
        given = torch.scalar_tensor(3.0)
        return torch.where(a > 0, a, torch.scalar_tensor(2.0)), given

    module = trimmed(function)
    assert counted(module).count(aten.scalar_tensor.default) == 1
    module(A)[1].zero_()
    for found, expected in zip(module(A), function(A), strict=True):
        assert torch.equal(found, expected)
