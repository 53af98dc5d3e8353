"""Products of tails, beside torch's complex numbers in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unlearnkit.taylor import products
from unlearnkit.taylor.jet import Jet, compose, multiply
from unlearnkit.taylor.products import LEAD, convolve, of_planes
from unlearnkit.taylor.rules.elementwise import exponential


def tails(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 2, 2, *shape, dtype=dtype)


def products_of_complex_matrices(a: Tensor, b: Tensor) -> Tensor:
    """Coefficients of ``z^1..z^3`` of the product of two series without constant terms."""
    a, b = of_planes(a.double()), of_planes(b.double())
    total = torch.zeros(3, 2, a.shape[-2], b.shape[-1], dtype=torch.complex128)
    for i in range(3):
        for j in range(2 - i):
            total[i + j + 1] += a[i] @ b[j]
    return total


def error(found: Tensor, expected: Tensor) -> float:
    return float((of_planes(found.double()) - expected).norm() / expected.norm())


@pytest.mark.parametrize("transposed", [False, True])
def test_three_real_products_are_a_complex_one_and_round_little_worse_than_four(
    monkeypatch: pytest.MonkeyPatch, *, transposed: bool
):
    torch.manual_seed(0)
    a, b = tails(128, 160), tails(160, 130)
    a = a.transpose(-1, -2).contiguous().transpose(-1, -2) if transposed else a
    expected = products_of_complex_matrices(a, b)
    by_three = torch.zeros(3, 2, 2, 128, 130)
    convolve(by_three, a, b)
    monkeypatch.setattr(products, "LARGE", 1000)
    by_four = torch.zeros_like(by_three)
    convolve(by_four, a, b)
    assert 0 < error(by_four, expected) < 1e-6
    assert not torch.equal(by_three, by_four)
    assert error(by_three, expected) < 2 * error(by_four, expected)


def test_three_real_products_are_added_to_what_is_there():
    torch.manual_seed(1)
    a, b, before = tails(128, 128), tails(128, 128), tails(128, 128)
    added = before.clone()
    convolve(added, a, b)
    assert torch.equal(added[0], before[0])
    assert error(added - before, products_of_complex_matrices(a, b)) < 1e-5


def test_how_many_directions_are_taken_at_a_time_changes_no_bit(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(2)
    a, b = (Jet(torch.randn(4, 5), torch.randn(3, 2, 7, 4, 5)) for _ in range(2))
    row = Jet(torch.randn(5), torch.randn(3, 2, 7, 5))
    whole = [multiply(a, b).tail, multiply(a, row).tail, compose(exponential, a).tail]
    monkeypatch.setattr(products, "PIECE", 3 * 2 * 2 * 20)
    assert len(products.cuts(a.tail)) == 4
    for found, expected in zip(
        (multiply(a, b).tail, multiply(a, row).tail, compose(exponential, a).tail), whole, strict=True
    ):
        assert found.shape[LEAD:] == (4, 5)
        assert torch.equal(found, expected)
