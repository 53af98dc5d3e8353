"""Examples that act on each other's losses: batch statistics, in-batch negatives, whatever else couples them.

A deletion takes the loss of somebody's examples out of training (docs/theory.md section 1). What those examples did to
the losses of others stays, so their data would go on to shape the model. Which code couples examples cannot be read off
it; it is tried: some people's examples in a batch are swapped for others, with the same weights and random numbers, and
no loss of anybody else may move by more than rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearnkit.errors import RecipeError
from unlearnkit.taylor.check import Kind, Problem
from unlearnkit.training.data import TensorRows
from unlearnkit.training.recipe import Array
from unlearnkit.training.run import Run

# Halves of the people of a batch that are swapped: two who act on each other are in the same half of all of them with
# probability 2^-8 (two steps, four halves each).
_HALVES = 4
# Of the largest loss: far above what another order of sums does in single precision, far below what half a batch does.
_ROUNDING = 1e-4
# How often another example is drawn for one that must have its shapes.
_DRAWS = 16
# Random numbers that move a weight, again and again where it has more; a prime, so that no two rows are moved alike.
_NOISE = 65521

Mode: TypeAlias = Callable[[], AbstractContextManager[None]]
Rows: TypeAlias = list[Tensor]

_NAME = "loss(model, batch)"
_HINT = (
    "a loss weight does not take back what acts across a batch: normalise, and draw negatives, within an example or "
    'from data fixed beforehand; or Recipe(coupled="accept"), which the manifest will state'
)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A batch and one with some examples swapped. watched: positions ``[B]`` of whom the swap must not concern."""

    step: int
    indices: Array
    swapped: Array
    watched: Tensor


def coupling(run: Run) -> Problem | None:
    """The first loss found to move with the data of somebody else in its batch; None when there is none."""
    work = _Work(run.fresh())
    trials = [trial for step in dict.fromkeys((0, run.recipe.steps // 2)) for trial in _trials(run, step)]
    for mode in (nullcontext, work.run.evaluating):  # without dropout where every swap changes how much is drawn
        found = [work.moves(trial, mode) for trial in trials]
        for trial, moves in zip(trials, found, strict=True):
            if moves is not None and moves.any():
                return work.problem(trial, int(moves.nonzero()[0]), mode)
        if not trials or any(moves is not None for moves in found):
            return None
    message = (
        "whether examples act on each other's losses cannot be told: what else they depend on, such as how many random "
        "numbers are drawn, is never the same when examples are swapped"
    )
    return Problem(_NAME, "", message, Kind.COUPLED, _HINT)


def require_uncoupled(run: Run) -> tuple[Problem, ...]:
    """What the manifest must state of coupled examples. RecipeError for them unless the recipe accepts it."""
    found = coupling(run)
    if found is None:
        return ()
    if run.recipe.coupled == "refuse":
        raise RecipeError(found.where, hint=found.hint)
    return (found,)


def _trials(run: Run, step: int) -> Iterator[_Trial]:
    """Swaps of half the people in a batch. A unit's examples may act on each other: they are deleted together."""
    indices = run.recipe.parts[step][0]
    places, owners = run.recipe.ownership.pairs_of(indices)
    people = np.unique(owners)
    generator = np.random.Generator(np.random.Philox(step))
    for _ in range(_HALVES):
        half = generator.permutation(people)[: (len(people) + 1) // 2]
        watched = np.ones(len(indices), dtype=bool)
        watched[places[np.isin(owners, half)]] = False  # any owner's deletion is the example's
        swapped = _swapped(run, indices, np.flatnonzero(~watched), generator)
        if watched.any() and not np.array_equal(swapped, indices):
            yield _Trial(step, indices, swapped, torch.from_numpy(watched).to(run.device))


def _swapped(run: Run, indices: Array, positions: Array, generator: np.random.Generator) -> Array:
    """Other examples at these positions, of the same shapes, so that nothing is padded to another length."""
    swapped, dataset = indices.copy(), run.recipe.dataset
    if isinstance(dataset, TensorRows):  # all of the same shapes
        drawn = generator.integers(len(dataset), size=(_DRAWS, len(positions)))
        other = (drawn != indices[positions]).argmax(0)
        swapped[positions] = drawn[other, np.arange(len(positions))]
        return swapped
    for position in positions:
        expected = _shapes(run, indices[position])
        for candidate in generator.integers(len(dataset), size=_DRAWS):
            if candidate != indices[position] and _shapes(run, candidate) == expected:
                swapped[position] = candidate
                break
    return swapped


def _shapes(run: Run, index: int) -> list[object]:
    return [getattr(leaf, "shape", None) for leaf in pytree.tree_leaves(run.recipe.dataset[int(index)])]


class _Work:
    """Losses of batches under fixed weights, and where in the model they come to move."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.weights = _generic_weights(run)
        if not self._losses(0, run.recipe.parts[0][0])[0].isfinite().all():
            self.weights = {name: weight.requires_grad_() for name, weight in run.initial_weights().items()}

    def _losses(self, step: int, indices: Array) -> tuple[Tensor, list[Tensor]]:
        """One loss per example, and the random state that computing them led to."""
        fixed = {name: tensor.clone() for name, tensor in self.run.fixed.items()}  # a forward pass may write into it
        with torch.enable_grad(), self.run.random_numbers(step):  # as in training: code may ask
            losses = self.run.losses(self.weights, fixed, self.run.examples(indices, step), len(indices))
            state = [torch.get_rng_state()]
            if self.run.device.type == "cuda":
                state.append(torch.cuda.get_rng_state(self.run.device))
        return losses.detach(), state

    def moves(self, trial: _Trial, mode: Mode) -> Tensor | None:
        """Which watched losses move, ``[B]``; None when more than the examples is other than it was."""
        with mode():
            runs = [self._losses(trial.step, i) for i in (trial.indices, trial.swapped, trial.indices)]
        (losses, state), (swapped, other_state), (again, _) = runs
        if _differ(losses, again).any():
            return None
        same_draws = all(map(torch.equal, state, other_state))
        return _differ(losses, swapped) & trial.watched if same_draws else None

    def problem(self, trial: _Trial, position: int, mode: Mode) -> Problem:
        """What to say of a loss that moves."""
        with mode():
            before, after = (self._losses(trial.step, i)[0][position] for i in (trial.indices, trial.swapped))
            place = self._place(trial)
        message = (
            f"examples of a batch act on each other's losses, first in {place or 'the loss itself'}: that of example "
            f"{trial.indices[position]} goes from {before:.4g} to {after:.4g} when others in its batch are swapped "
            f"(step {trial.step})"
        )
        return Problem(_NAME, place, message, Kind.COUPLED, _HINT)

    def _place(self, trial: _Trial) -> str:
        """The innermost module that makes moving rows of rows that do not move; "" where it is outside of them."""
        records = []
        for indices in (trial.indices, trial.swapped):
            with _recording(self.run.model, trial.watched) as record:
                self._losses(trial.step, indices)
            records.append(record)
        for (name, inputs, outputs), (_, other_inputs, other_outputs) in zip(*records, strict=False):
            if _any_differ(outputs, other_outputs) and not _any_differ(inputs, other_inputs):
                return f"module {name!r}" if name else "the model's forward"
        return ""


def _generic_weights(run: Run) -> dict[str, Tensor]:
    """Weights off the initial ones: a last layer that starts at zero hides whatever comes before it."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, w in run.initial_weights().items():
        drawn = torch.randn(min(w.numel(), _NOISE), generator=generator, dtype=torch.float64).to(w)
        noise = drawn.repeat(-(-w.numel() // _NOISE))[: w.numel()].view_as(w)
        weights[name] = (w + (0.01 + 0.1 * w.square().mean().sqrt()) * noise).requires_grad_()
    return weights


def _differ(before: Tensor, after: Tensor) -> Tensor:
    """Where two tensors of one shape are apart by more than rounding."""
    sizes = before.nan_to_num(0, 0, 0).abs()
    most = _ROUNDING * float(sizes.max()) if sizes.numel() else 0.0
    return ~torch.isclose(before, after, rtol=0, atol=most, equal_nan=True)


def _any_differ(before: Rows, after: Rows) -> bool:
    return any(a.shape != b.shape or bool(_differ(a, b).any()) for a, b in zip(before, after, strict=False))


@contextmanager
def _recording(model: nn.Module, watched: Tensor) -> Iterator[list[tuple[str, Rows, Rows]]]:
    """Keeps the watched rows of what goes into and comes out of every module, in the order in which they finish."""
    record: list[tuple[str, Rows, Rows]] = []

    def rows(value: object) -> Rows:
        tensors = (leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor) and leaf.dim())
        return [t.detach()[watched] for t in tensors if len(t) == len(watched) and t.is_floating_point()]

    with ExitStack() as stack:
        for name, module in model.named_modules():

            def hook(_: nn.Module, args: object, kwargs: object, output: object, name: str = name) -> None:
                record.append((name, rows((args, kwargs)), rows(output)))

            stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        yield record
