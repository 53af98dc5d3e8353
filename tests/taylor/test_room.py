"""Results that are written where there is room for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import Jet

SHAPES = {"first": (3, 4), "second": (2, 3), "shift": (3,)}
DEGREE, LEAD = 2, (2, 2, 5)


def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    hidden = torch.tanh(linear(x, weights["first"], weights["shift"]))
    return linear(hidden, weights["second"]).square().sum()


def jets(fill: float | None = None) -> dict[str, Jet]:
    """One for each weight, one after the other in one memory."""
    torch.manual_seed(0)
    sizes = {name: torch.Size(shape).numel() for name, shape in SHAPES.items()}
    flat = torch.randn(*LEAD, sum(sizes.values()), dtype=torch.float64)
    parts = (flat if fill is None else flat.fill_(fill)).split(list(sizes.values()), -1)
    return {
        name: Jet(torch.randn(SHAPES[name], dtype=torch.float64), part.view(*LEAD, *SHAPES[name]))
        for name, part in zip(SHAPES, parts, strict=True)
    }


@pytest.mark.parametrize("x_moves", [False, True])
def test_what_was_in_the_room_makes_no_difference(*, x_moves: bool):
    gradient = JetFunction(torch.func.grad(loss))
    weights, room = jets(), jets(torch.nan)
    torch.manual_seed(1)
    x = torch.randn(6, 4, dtype=torch.float64)
    batch = Jet(x, torch.randn(*LEAD, 6, 4, dtype=torch.float64)) if x_moves else x
    expected = gradient(weights, batch)
    found = gradient(weights, batch, room=room)
    for name, leaf in expected.items():
        torch.testing.assert_close(found[name].tail, leaf.tail, rtol=1e-12, atol=1e-12)
        assert torch.equal(found[name].constant, leaf.constant)
    written = {name for name in SHAPES if found[name].tail.data_ptr() == room[name].tail.data_ptr()}
    assert written == {"first", "second"}


def test_room_of_another_form_is_left_alone():
    gradient = JetFunction(torch.func.grad(loss))
    weights, x, other = jets(), torch.randn(6, 4, dtype=torch.float64), {"first": jets(torch.nan)["first"]}
    expected, found = gradient(weights, x), gradient(weights, x, room=other)
    assert all(torch.equal(found[name].tail, leaf.tail) for name, leaf in expected.items())
    assert bool(other["first"].tail.isnan().all())
