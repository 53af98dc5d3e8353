"""A trained model beside the plain run of a recipe."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.small import model, recipe
from unlearnkit.errors import RecipeError


def test_comparing_a_model_with_the_plain_run_tells_each_parameter():
    r = recipe()
    plain = uk.retrain(r, device="cpu")
    assert set(uk.compare(r, plain, device="cpu").values()) == {0.0}
    with torch.no_grad():
        plain.last.weight.mul_(1.01)
    found = dict(uk.compare(r, plain, device="cpu"))
    assert found.pop("last.weight") == pytest.approx(0.01)
    assert set(found.values()) == {0.0}
    assert max(uk.compare(r, model(), device="cpu").values()) > 0.01
    with pytest.raises(RecipeError, match="parameters are not those of the recipe's model"):
        uk.compare(r, nn.Linear(4, 3), device="cpu")


class KeyBias(nn.Module):
    """Softmax does not see the bias of keys: AdamW moves it by rounding alone."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sequence = x.unsqueeze(-1) * torch.arange(1.0, 5.0).to(x)
        return self.last(self.attention(sequence, sequence, sequence, need_weights=False)[0].mean(1))


def test_what_moves_by_rounding_alone_is_left_out():
    m = KeyBias().double()
    r = recipe(model=m, optimizer_made=torch.optim.AdamW(m.parameters(), lr=0.05), probes={})
    plain = uk.retrain(r, device="cpu")
    with torch.no_grad():
        plain.attention.in_proj_bias[4:8] += 1.0
        assert set(uk.compare(r, plain, device="cpu").values()) == {0.0}
        plain.attention.in_proj_bias[3] += 1.0
    assert uk.compare(r, plain, device="cpu")["attention.in_proj_bias"] > 0.1
