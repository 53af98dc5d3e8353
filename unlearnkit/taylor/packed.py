"""Packed sequences and the recurrent layers over them, as operations on a grid of steps and sequences.

Torch's own kernels read how sequences are packed out of memory, which no trace can follow. Here it is a mask on the
grid, whose layout is torch's: packed rows come step by step, the longest sequence first. A layer runs over the whole
grid, and a state stays as it is where its sequence has ended. Values are torch's, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

State: TypeAlias = tuple[Tensor, ...]
"""What a layer remembers: ``(h,)``, an LSTM ``(h, c)``, each ``[sequences, features]``."""
Cell: TypeAlias = Callable[[Tensor, State, Sequence[Tensor | None]], State]


def pack(padded: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001  as torch's
    """``torch._pack_padded_sequence``: packed rows, and how many sequences each step has."""
    grid = padded.transpose(0, 1) if batch_first else padded
    present = torch.arange(int(lengths[0])).unsqueeze(1) < lengths
    return _rows(grid[: len(present)], _positions(present, padded)), present.sum(1)


def pad(
    rows: Tensor,
    sizes: Tensor,
    batch_first: bool,  # noqa: FBT001  as torch's
    padding: float,
    total_length: int,
) -> tuple[Tensor, Tensor]:
    """``torch._pad_packed_sequence``: the sequences side by side again, and their lengths."""
    present = _present(sizes, int(sizes[0]))
    grid = _grid(rows, present.to(rows.device), padding)
    if total_length > len(grid):
        rest = grid.new_full((total_length - len(grid), *grid.shape[1:]), padding)
        grid = torch.cat([grid, rest])
    return (grid.transpose(0, 1) if batch_first else grid), present.sum(0)


def _present(sizes: Tensor, sequences: int) -> Tensor:
    """Which sequences each step has, ``[steps, sequences]``."""
    return torch.arange(sequences, device=sizes.device) < sizes.unsqueeze(1)


def _positions(present: Tensor, like: Tensor) -> Tensor:
    """Where the packed rows lie on the flat grid."""
    return present.flatten().nonzero().squeeze(1).to(like.device)


def _rows(grid: Tensor, positions: Tensor) -> Tensor:
    return grid.flatten(0, 1).index_select(0, positions)


def _grid(rows: Tensor, present: Tensor, padding: float = 0.0) -> Tensor:
    """Packed rows ``[rows, *S]`` on the grid ``[steps, sequences, *S]``."""
    places = (present.flatten().cumsum(0) - 1).clamp_min(0)
    grid = rows.index_select(0, places).unflatten(0, present.shape)  # type: ignore[no-untyped-call]
    return torch.where(present.view(*present.shape, *[1] * (rows.dim() - 1)), grid, padding)


def _lstm_cell(x: Tensor, state: State, weights: Sequence[Tensor | None]) -> State:
    of_input, of_state, *others = weights
    h, c = state
    assert of_input is not None and of_state is not None
    bias, bias_of_state, projection = others
    entry, forget, new, exit_ = (F.linear(x, of_input, bias) + F.linear(h, of_state, bias_of_state)).chunk(4, 1)
    c = forget.sigmoid() * c + entry.sigmoid() * new.tanh()
    h = exit_.sigmoid() * c.tanh()
    return h if projection is None else F.linear(h, projection), c


def _gru_cell(x: Tensor, state: State, weights: Sequence[Tensor | None]) -> State:
    of_input, of_state, bias, bias_of_state, _ = weights
    (h,) = state
    assert of_input is not None and of_state is not None
    reset, update, new = F.linear(x, of_input, bias).chunk(3, 1)
    reset_by_state, update_by_state, new_by_state = F.linear(h, of_state, bias_of_state).chunk(3, 1)
    new = (new + (reset + reset_by_state).sigmoid() * new_by_state).tanh()
    return (new + (update + update_by_state).sigmoid() * (h - new),)


def _simple_cell(
    activation: Callable[[Tensor], Tensor], x: Tensor, state: State, weights: Sequence[Tensor | None]
) -> State:
    of_input, of_state, bias, bias_of_state, _ = weights
    assert of_input is not None and of_state is not None
    return (activation(F.linear(x, of_input, bias) + F.linear(state[0], of_state, bias_of_state)),)


def _weights(parameters: Sequence[Tensor], count: int, *, has_biases: bool) -> Iterator[list[Tensor | None]]:
    """Of each of ``count`` layers and directions: of input and state, their biases, a projection; None for no such."""
    each = len(parameters) // count
    for first in range(0, len(parameters), each):
        of_input, of_state, *others = parameters[first : first + each]
        biases: list[Tensor | None] = [others.pop(0), others.pop(0)] if has_biases else [None, None]
        yield [of_input, of_state, *biases, others[0] if others else None]


def _run(
    cell: Cell, grid: Tensor, present: Tensor, state: State, weights: Sequence[Tensor | None], *, backwards: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: its outputs ``[steps, sequences, features]``, and the last state."""
    steps = range(len(grid))
    outputs: list[Tensor] = []
    for step in reversed(steps) if backwards else steps:
        here = present[step].unsqueeze(1)
        state = tuple(
            torch.where(here, new, old) for new, old in zip(cell(grid[step], state, weights), state, strict=True)
        )
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs), state


def _layers(
    cell: Cell,
    rows: Tensor,
    sizes: Tensor,
    initial: State,
    parameters: Sequence[Tensor],
    has_biases: bool,  # noqa: FBT001  as torch's
    layers: int,
    dropout: float,
    train: bool,  # noqa: FBT001
    bidirectional: bool,  # noqa: FBT001
) -> tuple[Tensor, ...]:
    """What torch's recurrent layers give over packed rows: rows, and the last states, layer by layer."""
    directions = 2 if bidirectional else 1
    present = _present(sizes, initial[0].shape[1]).to(rows.device)
    positions = _positions(present, rows)
    weights = list(_weights(parameters, layers * directions, has_biases=has_biases))
    last: list[State] = []
    for layer in range(layers):
        grid, outputs = _grid(rows, present), []
        for direction in range(directions):
            number = layer * directions + direction
            state = tuple(part[number] for part in initial)
            found, state = _run(cell, grid, present, state, weights[number], backwards=direction == 1)
            outputs.append(found)
            last.append(state)
        rows = _rows(torch.cat(outputs, -1), positions)
        if layer + 1 < layers:
            rows = torch.dropout(rows, dropout, train)  # of the rows, so that it draws what torch draws
    return rows, *(torch.stack(parts) for parts in zip(*last, strict=True))


def _over_packed(kernel: Callable[..., Any], cell: Cell) -> Callable[..., Any]:
    """``kernel``, torch's recurrent layers, by operations where it is given packed rows."""

    def layers(*arguments: Any) -> Any:  # noqa: ANN401  as torch's
        if not isinstance(arguments[3], (list, tuple)):  # parameters come third: over padded sequences
            return kernel(*arguments)
        rows, sizes, initial, *settings = arguments
        return _layers(cell, rows, sizes, initial if isinstance(initial, tuple) else (initial,), *settings)

    return layers


SUBSTITUTES: dict[Callable[..., Any], Callable[..., Any]] = {
    torch._pack_padded_sequence: pack,  # noqa: SLF001
    torch._pad_packed_sequence: pad,  # noqa: SLF001
    torch.lstm: _over_packed(torch.lstm, _lstm_cell),
    torch.gru: _over_packed(torch.gru, _gru_cell),
    torch.rnn_tanh: _over_packed(torch.rnn_tanh, partial(_simple_cell, torch.tanh)),
    torch.rnn_relu: _over_packed(torch.rnn_relu, partial(_simple_cell, torch.relu)),
}
