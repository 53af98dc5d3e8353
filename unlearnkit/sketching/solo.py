"""Series along units alone: training pushed along unit vectors, in real lanes (docs/theory.md section 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from unlearnkit.bundle import SoloUnits
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.store import PartialRun
from unlearnkit.training.probes import OwnLossFunction, coefficients
from unlearnkit.training.recipe import Array
from unlearnkit.training.state import Leaf

FOLDER = "solo"


class SoloSketching:
    """The passes along all units that were asked for, so many at a time, each kept when it is finished."""

    def __init__(
        self, forward: ForwardSketching, wanted: SoloUnits, partial: PartialRun, *, keep_weights: bool
    ) -> None:
        self.forward = forward.to_degree(wanted.degree)
        self.wanted = wanted
        self.keep_weights = keep_weights
        self._partial = partial

    def pieces(self) -> list[tuple[int, int]]:
        """First and last place of each among the units that were asked for."""
        count, lanes = len(self.wanted.units), self._partial.settings.solo_lanes
        return [(first, min(first + lanes, count)) for first in range(0, count, lanes)]

    def steps(self) -> tuple[int, int]:
        """Units times training steps of all the work, and of what is finished of it."""
        sizes = [(last - first, self._partial.has_piece(FOLDER, _name(first, last))) for first, last in self.pieces()]
        steps = self.forward.run.recipe.steps
        return steps * sum(n for n, _ in sizes), steps * sum(n for n, finished in sizes if finished)

    def compute(self, progress: Callable[[int], Any] = lambda _: None) -> dict[str, Array]:
        """All arrays that a bundle holds of them (`unlearnkit.bundle.solo`), but the weights, which are in files.

        progress: called after each step with the number of units that made it. Rank 0 finds them, others nothing.
        """
        named, steps = {_name(*piece): piece for piece in self.pieces()}, self.forward.run.recipe.steps
        self._partial.spread(
            FOLDER,
            named,
            lambda piece: self._along(*piece, progress),
            lambda piece: progress((piece[1] - piece[0]) * steps),
        )
        if not self._partial.ranks.leads:
            return {}
        found = [self._partial.load_piece(FOLDER, name) for name in named]
        return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}

    def weight_files(self) -> list[tuple[int, int, Any]]:
        """First and last place and file of the weights' series, where they are kept."""
        pieces = self.pieces() if self.keep_weights else []
        return [(first, last, self._partial.solo_weights(first, last)) for first, last in pieces]

    def _along(self, first: int, last: int, progress: Callable[[int], Any]) -> dict[str, Array]:
        """Train along some units, and evaluate the pinned probes."""
        run, positions = self.forward.run, np.array(self.wanted.units[first:last])
        rows = torch.zeros(last - first, len(run.recipe.unit_names), dtype=run.dtype, device=run.device)
        rows[range(last - first), positions.tolist()] = 1
        weights = self.forward.trainer.train(rows, lambda _: progress(last - first))
        if self.keep_weights:
            tails = {name: self._tail(leaf, last - first, f"weight {name!r}") for name, leaf in weights.items()}
            self._partial.store_solo_weights(first, last, tails)
        return {f"probes/{name}": self._probe(name, weights, positions) for name in self.forward.probes}

    def _probe(self, name: str, weights: dict[str, Leaf], positions: Array) -> Array:
        """Coefficients ``[units, degree, *P]``, of own losses each unit's own: ``[units, degree]``."""
        run, function = self.forward.run, self.forward.probes[name]
        with torch.no_grad(), run.random_numbers(run.recipe.steps):
            if isinstance(function, OwnLossFunction):
                tails = self._tail(function(weights, run.fixed, positions), len(positions), f"probe {name!r}")
                return np.ascontiguousarray(tails[np.arange(len(positions)), :, np.arange(len(positions))])
            return self._tail(function(weights, run.fixed), len(positions), f"probe {name!r}")

    def _tail(self, leaf: Leaf, units: int, of: str) -> Array:
        """Real coefficients ``[units, degree, *S]``."""
        return np.ascontiguousarray(coefficients(leaf, self.wanted.degree, units, of=of)[1].real)


def _name(first: int, last: int) -> str:
    return f"{first}-{last}"
