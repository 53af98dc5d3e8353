"""Recurrent layers over packed sequences: the same rows, states, draws and gradients as torch's own kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.overrides import TorchFunctionMode

from unlearnkit.taylor.packed import SUBSTITUTES

LENGTHS = torch.tensor([2, 3, 1, 3])
LAYERS: dict[str, Callable[[], nn.RNNBase]] = {
    "lstm": lambda: nn.LSTM(2, 4, batch_first=True),
    "lstm with all of it": lambda: nn.LSTM(2, 4, 3, bidirectional=True, proj_size=3, dropout=0.3, batch_first=True),
    "gru": lambda: nn.GRU(2, 3, 2, dropout=0.5, batch_first=True),
    "gru without biases": lambda: nn.GRU(2, 3, bias=False, bidirectional=True, batch_first=True),
    "simple": lambda: nn.RNN(2, 3, 2, bidirectional=True, batch_first=True),
    "simple with kinks": lambda: nn.RNN(2, 3, nonlinearity="relu", batch_first=True),
}


class Substituted(TorchFunctionMode):
    """As a trace sees torch."""

    def __torch_function__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        return SUBSTITUTES.get(func, func)(*args, **(kwargs or {}))


def everything(layers: nn.RNNBase, x: Tensor, *, ordered: bool) -> list[Tensor]:
    """Rows, states, padded outputs, lengths and gradients of a layer."""
    x = x.clone().requires_grad_()
    lengths = LENGTHS.sort(descending=True).values if ordered else LENGTHS
    with torch.random.fork_rng():
        torch.manual_seed(1)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=ordered)
        rows, states = layers(packed)
        padded, found = pad_packed_sequence(rows, batch_first=True, padding_value=7.0, total_length=5)
    states = states if isinstance(states, tuple) else (states,)
    objective = padded.sin().sum() + sum(state.cos().sum() for state in states)
    gradients = torch.autograd.grad(objective, [x, *layers.parameters()])
    return [packed.data, packed.batch_sizes, rows.data, *states, padded, found, *gradients]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_states_and_gradients_are_torchs(name, ordered):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers, x = LAYERS[name]().double(), torch.randn(4, 5, 2, dtype=torch.float64)
    expected = everything(layers, x, ordered=ordered)
    with Substituted():
        found = everything(layers, x, ordered=ordered)
    assert all(a.dtype is b.dtype and torch.allclose(a, b, rtol=1e-12) for a, b in zip(found, expected, strict=True))


def test_padded_sequences_go_to_torch():
    layers, x = nn.LSTM(2, 3, batch_first=True), torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
    with Substituted():
        found = layers(x)[0]
    assert torch.equal(found, layers(x)[0])
