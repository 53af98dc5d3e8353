"""Counts that come from data cost a few traces and no more; every result is the function's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.taylor.slow_path import derivatives
from unlearnkit.errors import TraceError
from unlearnkit.taylor import function as function_module
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import Jet

ROWS, WIDTH = 9, 3


@pytest.fixture
def traces(monkeypatch) -> list[object]:
    """What was traced from now on."""
    found: list[object] = []
    trace = function_module.trace
    monkeypatch.setattr(function_module, "trace", lambda f, *a, **k: found.append(f) or trace(f, *a, **k))
    return found


def data(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values, a slope, and a mask that selects two rows or more."""
    generator = torch.Generator().manual_seed(number)
    x, slope = torch.randn(2, ROWS, WIDTH, generator=generator, dtype=torch.float64)
    mask = torch.rand(ROWS, generator=generator) < 0.6
    mask[:2] = True
    return x, slope, mask


def verify(f: JetFunction, x: Tensor, slope: Tensor, mask: Tensor) -> None:
    found = f(Jet.of(x, slope[None, None]), mask)
    (value,), (derivative,) = derivatives(lambda x: f.function(x, mask), [[x, slope]])
    assert torch.allclose(found.constant, value, atol=1e-12)
    assert torch.allclose(found.coefficients[0, 0], derivative, atol=1e-12)


def mean_of_selected(x: Tensor, mask: Tensor) -> Tensor:
    return x[mask].sin().mean()


def by_row(x: Tensor, mask: Tensor) -> Tensor:
    chosen, rows = x[mask].exp(), torch.arange(ROWS)[mask]
    padded = torch.cat([chosen, chosen.new_ones(1, WIDTH)])
    return x.new_zeros(ROWS).index_add(0, rows, padded[:-1].sum(1)) / (1 + len(rows))


def two_masks(x: Tensor, mask: Tensor) -> Tensor:
    other = ~mask
    other[0] = True
    return x[mask].square().flatten().mean() * x[other].cos().sum() + x[mask][:, :1].expand(-1, 4).sin().sum()


def told_to_python(x: Tensor, mask: Tensor) -> Tensor:
    return x[mask].square().sum() / int(mask.sum())


def halves(x: Tensor, mask: Tensor) -> Tensor:
    """No multiple of the count, and next to it for small ones."""
    chosen = x[mask].tanh()
    return chosen[: len(chosen) // 2].sum() + chosen[len(chosen) * len(chosen) // 9 :].square().sum()


@pytest.mark.parametrize("f", [mean_of_selected, by_row, two_masks, told_to_python])
def test_new_counts_are_not_traced_again(f, traces):
    jets = JetFunction(f)
    for number in range(20):
        verify(jets, *data(number))
    assert len({int(data(number)[2].sum()) for number in range(20)}) > 5
    assert len(traces) <= 4


def test_sizes_that_follow_a_count_otherwise_are_traced_again_and_right(traces):
    jets = JetFunction(halves)
    for number in range(20):
        verify(jets, *data(number))
    assert len(traces) <= 9


@pytest.mark.parametrize("count", [0, 1])
def test_masks_that_select_nothing_or_one_are_right(count):
    jets = JetFunction(lambda x, mask: x[mask].sin().sum() + x[mask].square().flatten().sum())
    for number in range(4):
        verify(jets, *data(number))
    x, slope, mask = data(5)
    mask[:] = False
    mask[:count] = True
    verify(jets, x, slope, mask)


def test_random_numbers_for_selected_rows_are_plain_torchs():
    def f(x: Tensor, mask: Tensor) -> Tensor:
        return F.dropout(x[mask].transpose(0, 1), 0.5).sum(0)

    jets = JetFunction(f)
    for number in range(8):
        x, slope, mask = data(number)
        torch.manual_seed(number)
        found = jets(Jet.of(x, slope[None, None]), mask)
        assert torch.equal(found.constant, f(x, mask))


def test_what_cannot_run_is_told_with_its_place():
    with pytest.raises(TraceError, match=r"could not be traced: RuntimeError: shape .*7") as caught:
        JetFunction(lambda x: x.view(-1, 7) * 1.0)(Jet.of(torch.ones(3), torch.ones(1, 1, 3)))
    assert caught.value.hint
