"""Sums of matrix products in place: the same numbers, and nothing that somebody else reads is written over."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from unlearnkit.taylor.fused import fuse

aten = torch.ops.aten


def product(a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b) if a.dim() == 3 else torch.mm(a, b)


def shared(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    first, second = product(a, b), product(b, a)
    return first + second, first * 2


def chained(a: Tensor, b: Tensor) -> Tensor:
    return product(product(a, b) + product(b, a), a) + product(a, a)


def doubled(a: Tensor, b: Tensor) -> Tensor:
    first = product(a, b)
    return first + first


def scaled(a: Tensor, b: Tensor) -> Tensor:
    return torch.add(product(a, b), product(b, a), alpha=2)


def broadcast(a: Tensor, b: Tensor) -> Tensor:
    return product(a, b) + product(b[..., :1, :], a)


def biased(a: Tensor, b: Tensor) -> Tensor:
    return b[..., :1, :].expand(b.shape) + product(a, b)


def swapped(a: Tensor, b: Tensor) -> Tensor:
    return product(a, b) + a.exp()


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(
    ("function", "fused"),
    [(shared, 0), (chained, 2), (doubled, 0), (scaled, 0), (broadcast, 0), (biased, 0), (swapped, 1)],
    ids=_name,
)
@pytest.mark.parametrize("batch", [(), (3,)])
def test_the_numbers_are_those_of_the_function(function, fused, batch):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, *batch, 4, 4, generator=generator, dtype=torch.float64)
    module = make_fx(function)(a, b)
    fuse(module.graph)
    module.recompile()
    onto = (aten.addmm_.default, aten.baddbmm_.default)
    assert sum(node.target in onto for node in module.graph.nodes) == fused
    if function in (shared, biased):
        assert aten.add.Tensor not in [node.target for node in module.graph.nodes]
    before = a.clone(), b.clone()
    torch.testing.assert_close(module(a, b), function(a, b), rtol=1e-13, atol=1e-13)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
