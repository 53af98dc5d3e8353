"""The own-loss probe: for each unit, the mean loss on its own examples (docs/theory.md section 11).

What a model keeps of somebody shows on their examples, not on test data. Deleting D, the elements u in D count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearnkit.errors import RecipeError
from unlearnkit.training.data import Collate, MapDataset, collate
from unlearnkit.training.losses import mean_losses
from unlearnkit.training.owners import Ownership

Array = np.ndarray[Any, Any]


class Examples(Protocol):
    """What a recipe knows of its examples."""

    @property
    def loss(self) -> Callable[[nn.Module, Any], Any]:
        """``loss(model, batch) -> [B]``, or with the tokens that each is over."""
        ...

    @property
    def dataset(self) -> MapDataset:
        """The examples."""
        ...

    @property
    def collate_fn(self) -> Collate | None:
        """Makes a batch of a list of examples."""
        ...

    @property
    def largest_batch(self) -> int:
        """Examples at once."""
        ...

    @property
    def ownership(self) -> Ownership:
        """Whose each example is."""
        ...


@dataclass(frozen=True, slots=True)
class OwnBatch:
    """Examples of some units, always equally many: the last batch is filled up with copies that count nothing.

    rows: of the dataset, once for each owner. places: of their units among those that were asked for. shares: of the
    mean of that unit.
    """

    rows: Array
    places: Array
    shares: Array


def own_batches(examples: Examples, units: Array | None = None) -> Iterator[OwnBatch]:
    """All examples of these units (None: of all), batch by batch."""
    owned, owner = examples.ownership.pairs
    count = len(examples.ownership.names)
    sizes = np.bincount(owner, minlength=count)
    place = np.arange(count)
    if units is not None:
        place = np.full(count, -1)
        place[units] = np.arange(len(units))
        chosen = np.flatnonzero(place[owner] >= 0)
        owned, owner = owned[chosen], owner[chosen]
    pairs = np.argsort(place[owner], kind="stable")
    for first in range(0, len(pairs), examples.largest_batch):
        batch = pairs[first : first + examples.largest_batch]
        filled = np.concatenate([batch, np.repeat(batch[-1:], examples.largest_batch - len(batch))])
        shares = 1 / sizes[owner[filled]]
        shares[len(batch) :] = 0
        yield OwnBatch(owned[filled], place[owner[filled]], shares)


class OwnLoss:
    """A probe with one element a unit: the mean loss on that unit's own training examples, in eval mode.

    An example of several owners is every one's own, whatever their shares.

    ``Recipe(probes={"own_loss": uk.OwnLoss()}, ...)``: the recipe gives it loss, data and units, which its digest
    covers. Of series along units alone a bundle keeps each unit's own element only.

    Example:
        >>> probes = {"own_loss": uk.OwnLoss()}  # as this recipe has it
        >>> recipe.probes["own_loss"](recipe.model).shape == (len(recipe.unit_names),)
        True

    """

    def __init__(self) -> None:
        self._examples: Examples | None = None

    def of(self, examples: Examples) -> OwnLoss:
        """The probe of a recipe's units."""
        bound = OwnLoss()
        bound._examples = examples
        return bound

    def __call__(self, model: nn.Module) -> Tensor:
        """Mean losses ``[units]``.

        Raises:
            RecipeError: no recipe holds this probe.

        """
        examples = self._examples
        if examples is None:
            raise RecipeError("own losses of no data", hint='pin it: Recipe(probes={"own_loss": uk.OwnLoss()}, ...)')
        like = next(p for p in model.parameters() if p.is_floating_point())

        def cast(leaf: object) -> object:
            if not isinstance(leaf, Tensor):
                return leaf
            return leaf.to(device=like.device, dtype=like.dtype if leaf.is_floating_point() else None)

        total = torch.zeros(len(examples.ownership.names), dtype=like.dtype, device=like.device)
        for batch in own_batches(examples):
            rows = collate(examples.dataset, batch.rows, examples.collate_fn)
            losses = mean_losses(examples.loss(model, pytree.tree_map(cast, rows)))
            shares = torch.from_numpy(batch.shares).to(losses)
            total = total.index_add(0, torch.from_numpy(batch.places).to(losses.device), (losses * shares).to(total))
        return total
