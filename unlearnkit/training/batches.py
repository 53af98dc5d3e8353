"""Which examples come when: the order of a run, cut into batches, and these into steps of the optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from unlearnkit.errors import RecipeError
from unlearnkit.names import counted
from unlearnkit.training.faults import raised_by

Array = np.ndarray[Any, np.dtype[np.int64]]
Step: TypeAlias = tuple[Array, ...]
"""The batches of one step, each the positions of its examples; several where gradients are accumulated."""
Steps: TypeAlias = tuple[Step, ...]


def planned(settings: Mapping[str, Any], examples: int) -> Steps:
    """The steps that a recipe's settings ask for: its batches, or epochs cut into batches."""
    accumulate = settings["accumulate"]
    if settings["batches"] is not None:
        return tuple(grouped(as_given(settings["batches"], examples), accumulate))
    epochs, size = settings["epochs"] or 0, settings["batch_size"] or 0  # verified to be there, without batches
    order = make_order(
        settings["order"],
        settings["order_seed"],
        examples=examples,
        epochs=epochs,
        batch_size=size,
        drop_last=settings["drop_last"],
    )
    return tuple(step for epoch in order for step in grouped(cut(epoch, size), accumulate))


def make_order(
    order: object, order_seed: int, *, examples: int, epochs: int, batch_size: int, drop_last: bool
) -> Array:
    """Which example comes when: ``[epochs, examples per epoch]``.

    order: explicit, or None to shuffle each epoch with numpy's Philox generator seeded by ``order_seed``.
    drop_last: leave out what does not fill a batch at the end of an epoch.
    """
    if order is None:
        generator = np.random.Generator(np.random.Philox(order_seed))
        table = np.stack([generator.permutation(examples) for _ in range(epochs)])
    else:
        with raised_by("order", "pass whole numbers [epochs, examples], as many in each epoch"):
            table = np.asarray(order)
        if table.ndim != 2 or len(table) != epochs or not np.issubdtype(table.dtype, np.integer):
            shape = f"{table.dtype} array of shape {table.shape}"
            hint = "give each epoch a row with the positions of its examples, in the order in which they come"
            raise RecipeError(f"order: got {shape}, expected whole numbers [epochs={epochs}, examples]", hint=hint)
        _verify_positions(table, examples, "order")
    table = table[:, : table.shape[1] - (table.shape[1] % batch_size if drop_last else 0)]
    if not table.size:
        message = f"the run has no steps: {counted(examples, 'example')}, batch_size={batch_size}, epochs={epochs}"
        raise RecipeError(message, hint="choose a batch size of at most the number of examples in an epoch")
    return np.ascontiguousarray(table, dtype=np.int64)


def cut(epoch: Array, batch_size: int) -> list[Array]:
    """The batches of one epoch; the last one may be smaller."""
    return [epoch[first : first + batch_size] for first in range(0, len(epoch), batch_size)]


def as_given(batches: Iterable[Sequence[int]], examples: int) -> list[Array]:
    """Explicit batches, in the order in which they come."""
    found = []
    for number, batch in enumerate(batches):
        with raised_by("batches", "pass lists of positions, one a batch, in the order in which they come"):
            positions = np.asarray(batch)
        if positions.ndim != 1 or not positions.size or not np.issubdtype(positions.dtype, np.integer):
            shape = f"{positions.dtype} array of shape {positions.shape}"
            hint = "give each batch the positions of its examples: [[0, 5, 2], [4, 1], ...]"
            raise RecipeError(f"batches: number {number} is a {shape}, expected whole numbers [examples]", hint=hint)
        _verify_positions(positions, examples, f"batches: number {number}")
        found.append(positions.astype(np.int64))
    if not found:
        raise RecipeError("batches: there are none, so the run has no steps", hint="pass those of the whole run")
    return found


def verified_parts(steps: Steps, examples: int) -> Steps:
    """What was recorded, of a run with any steps, whose data are those at hand."""
    if not steps:
        hint = "call recorder.step(model, optimizer) after each optimizer.step()"
        raise RecipeError("recorded: the recorder saw no step", hint=hint)
    for number, step in enumerate(steps):
        for batch in step:
            _verify_positions(batch, examples, f"recorded: step {number}")
    return steps


def _verify_positions(positions: Array, examples: int, what: str) -> None:
    if positions.size and not 0 <= positions.min() <= positions.max() < examples:
        message = f"{what}: indices from {positions.min()} to {positions.max()}, but the data have "
        raise RecipeError(message + counted(examples, "example"), hint="count examples from 0")


def grouped(epoch: Sequence[Array], accumulate: int) -> Iterable[Step]:
    """The steps of an epoch, ``accumulate`` batches each; what is left over at its end makes a step of its own."""
    return (tuple(epoch[first : first + accumulate]) for first in range(0, len(epoch), accumulate))
