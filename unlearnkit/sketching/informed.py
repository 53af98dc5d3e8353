"""Informed directions: along which the trained weights move most (docs/theory.md section 9).

With ``J = d theta / d w`` at w = 0 (weights x units), every probe F of the trained model has the first order
``grad F . J x``. The leading right singular vectors of J, found by subspace iteration (Halko, Martinsson and Tropp
2011, algorithm 4.4), say most of it whatever F is:

1. *pull*: a reverse sweep with random cotangents on the weights gives ``J' Omega``; its span is the basis Q;
2. for each power iteration, *push* training along Q, which gives ``J Q``, and pull that: ``J'J Q``;
3. *push* once more along the final Q, and keep what weights and pinned probes do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearnkit.bundle import random_directions
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.sketching.settings import Informed
from unlearnkit.sketching.store import PartialRun
from unlearnkit.training.recipe import Array
from unlearnkit.training.run import Run
from unlearnkit.training.state import constant_of

FOLDER = "informed"


class InformedSketching:
    """The passes over all informed directions of one run, in pieces of ``lanes``, each kept when it is finished."""

    def __init__(
        self,
        run: Run,
        settings: Informed,
        partial: PartialRun,
        memory_budget: int,
    ) -> None:
        self.run = run
        self.settings = settings
        self._partial = partial
        self._memory_budget = memory_budget
        self._progress: Callable[[int], Any] = lambda _: None
        self._forward = ForwardSketching(run, 1)
        self._reverse = ReverseSweeps(run, 1)

    def pieces(self) -> list[slice]:
        """The directions, so many at a time as fit the memory."""
        count, lanes = self.settings.count, self._partial.settings.lanes
        return [slice(first, min(first + lanes, count)) for first in range(0, count, lanes)]

    def steps(self) -> tuple[int, int]:
        """Training steps of all the work, forward and backward, and of what is finished of it."""
        passes = [
            (n, self._partial.has_piece(FOLDER, _name(stage, piece)))
            for stage, n in self.settings.stages().items()
            for piece in self.pieces()
        ]
        steps = self.run.recipe.steps
        return steps * sum(n for n, _ in passes), steps * sum(n for n, finished in passes if finished)

    def compute(self, key: bytes, progress: Callable[[int], Any] = lambda _: None) -> dict[str, Array]:
        """All arrays that a bundle holds of informed directions (`unlearnkit.bundle.informed`). key: of ``Omega``.

        progress: called with the number of steps made, forward or backward; not where a step is computed again. Rank 0
        finds the arrays, others nothing.
        """
        self._progress = progress
        directions = self._directions("pull-0", lambda piece: self._random(key, piece))
        for number in range(1, self.settings.power_iterations + 1):
            self._push(f"push-{number}", directions)
            cotangents = self._partial.ranks.told(lambda n=number: self._flat(f"push-{n}"))  # type: ignore[misc]
            directions = self._directions(f"pull-{number}", lambda piece, c=cotangents: c[piece])  # type: ignore[misc]
        self._push("final", directions)
        return {"directions": directions} | self._joined("final") if self._partial.ranks.leads else {}

    def _random(self, key: bytes, piece: slice) -> Array:
        size = sum(tensor.numel() for tensor in self.run.initial_weights().values())
        return np.ascontiguousarray(random_directions(key, piece.start, piece.stop, size).real)

    def _flat(self, stage: str) -> Array:
        """The weights' slopes that a stage found, in the order of ``trained_names``, one row for each direction."""
        slopes = self._joined(stage)
        return np.concatenate(
            [s.reshape(len(s), -1) for s in (slopes[f"weights/{n}"] for n in self.run.trained_names)], 1
        )

    def _joined(self, stage: str) -> dict[str, Array]:
        """What the pieces of a stage found, over all directions."""
        found = [self._partial.load_piece(FOLDER, _name(stage, piece)) for piece in self.pieces()]
        return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}

    def _directions(self, stage: str, cotangents: Callable[[slice], Array]) -> Array:
        """Orthonormal rows that span ``J'`` times the cotangents, in the precision of the run: ``[count, units]``."""
        self._spread(stage, lambda piece: {"pulled": self._pulled(cotangents(piece))})
        return self._partial.ranks.told(lambda: self._rows(self._joined(stage)["pulled"]))

    def _rows(self, pulled: Array) -> Array:
        basis = np.linalg.qr(pulled.astype(np.float64).T).Q
        return np.ascontiguousarray(basis.T, dtype=self.run.precision)

    def _pulled(self, cotangents: Array) -> Array:
        """``J'`` times cotangents on the final weights, a row each."""
        rows = torch.from_numpy(cotangents).to(device=self.run.device, dtype=self.run.dtype)
        trajectory = self._reverse.forward(None, self._memory_budget, lambda: self._progress(1))
        found = self._reverse.sweep(self._split, rows, trajectory, lambda: self._progress(1))
        return constant_of(found).cpu().numpy()

    def _split(self, weights: Mapping[str, Tensor], _fixed: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """Cotangents ``[elements, W]`` by weight: the reverse of a probe that is all the weights."""
        sizes = [weights[name].numel() for name in self.run.trained_names]
        parts = rows.split(sizes, dim=1)  # type: ignore[no-untyped-call]
        named = zip(self.run.trained_names, parts, strict=True)
        return {name: part.reshape(-1, *weights[name].shape) for name, part in named}

    def _push(self, stage: str, directions: Array) -> None:
        """Slopes of weights and pinned probes along the directions: ``weights/NAME``, ``probes/NAME``."""

        def slopes(piece: slice) -> dict[str, Array]:
            rows = torch.from_numpy(directions[piece]).to(self.run.device)
            outcome = self._forward.along(rows, lambda _: self._progress(1))
            found = {f"weights/{name}": outcome.tail(name)[:, 0] for name in self.run.trained_names}
            return found | {f"probes/{name}": block[:, 0] for name, (_, block) in outcome.probes.items()}

        self._spread(stage, slopes)

    def _spread(self, stage: str, make: Callable[[slice], dict[str, Array]]) -> None:
        """Have the pieces of a stage made that are not on disk yet."""
        steps = self.settings.stages()[stage] * self.run.recipe.steps
        named = {_name(stage, piece): piece for piece in self.pieces()}
        self._partial.spread(FOLDER, named, make, lambda _: self._progress(steps))


def _name(stage: str, piece: slice) -> str:
    return f"{stage}-{piece.start}-{piece.stop}"
