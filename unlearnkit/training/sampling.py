"""Which examples a loader draws, told as it draws them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from unlearnkit.errors import RecipeError
from unlearnkit.training.batches import Array


class TellingSampler:
    """Draws what another sampler draws, in this process, and tells.

    What was drawn ahead in an earlier pass, and never used, is of no pass.
    """

    def __init__(self, sampler: Any, told: deque[Array]) -> None:  # noqa: ANN401  whatever yields lists of indices
        self.sampler = sampler
        self.told = told

    def __iter__(self) -> Iterator[list[int]]:
        self.told.clear()
        for batch in self.sampler:
            indices = list(batch)
            self.told.append(np.asarray(indices, dtype=np.int64))
            yield indices

    def __len__(self) -> int:
        return len(self.sampler)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a sampler has
        return getattr(self.sampler, name)


def tell(loader: DataLoader[Any], told: deque[Array]) -> None:
    """From now on ``loader`` appends the indices of each batch to ``told`` when it draws them."""
    if getattr(loader, "batch_sampler", None) is None:
        hint = "use a DataLoader of a map-style dataset with a batch size, or call recorder.batch(indices) yourself"
        raise RecipeError(f"recorder: {type(loader).__name__} draws no batches of indices", hint=hint)
    # A DataLoader lets nobody set its sampler later on, but this one draws the same.
    object.__setattr__(loader, "batch_sampler", TellingSampler(loader.batch_sampler, told))
