"""What other people's trainers have in common: whom they tell of a run, and what it started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from unlearnkit.training.batches import Array
from unlearnkit.training.data import Collate, MapDataset
from unlearnkit.training.optimizers import anew
from unlearnkit.training.recording import Recording


class Listener(Protocol):
    """Whom a callback tells: `unlearnkit.Recorder`."""

    @property
    def recording(self) -> Recording:
        """What was told so far."""
        ...

    def batch(self, indices: Array) -> None:
        """A batch is handed out."""
        ...

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """A step is done."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """What a trainer started from: a copy of its model, and what its loader reads and collates."""

    model: nn.Module
    dataset: MapDataset
    collate_fn: Collate

    def optimizer(
        self, used: torch.optim.Optimizer, trained: nn.Module, settings: Sequence[Mapping[str, Any]]
    ) -> torch.optim.Optimizer:
        """A fresh optimizer of the kind that was used on ``trained``, for this model.

        settings: of each parameter group, at the first step.
        """
        names = {id(p): name for name, p in trained.named_parameters()}
        parameters = dict(self.model.named_parameters())
        members = [[parameters[names[id(p)]] for p in group["params"]] for group in used.param_groups]
        return anew(used, settings, members)
