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

import numpy as np
import torch

from unlearnkit.bundle import random_directions
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.pullback import weights_pullback
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
        memory: Memory,
    ) -> None:
        self.run = run
        self.settings = settings
        self._partial = partial
        self._memory = memory
        self._progress: Callable[[], None] = lambda: None
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

    def compute(self, key: bytes, progress: Callable[[], None] = lambda: None) -> dict[str, Array]:
        """All arrays that a bundle holds of informed directions (`unlearnkit.bundle.informed`). key: of ``Omega``.

        progress: called after each step, forward or backward; not where a step is computed again.
        """
        self._progress = progress
        directions = self._directions("pull-0", lambda piece: self._random(key, piece))
        for number in range(1, self.settings.power_iterations + 1):
            moved = [self._push(f"push-{number}", directions, piece) for piece in self.pieces()]
            cotangents = np.concatenate([self._flat(slopes) for slopes in moved])
            directions = self._directions(f"pull-{number}", lambda piece, c=cotangents: c[piece])  # type: ignore[misc]
        found = [self._push("final", directions, piece) for piece in self.pieces()]
        return {"directions": directions} | {
            name: np.concatenate([slopes[name] for slopes in found]) for name in found[0]
        }

    def _random(self, key: bytes, piece: slice) -> Array:
        size = sum(tensor.numel() for tensor in self.run.initial_weights().values())
        return np.ascontiguousarray(random_directions(key, piece.start, piece.stop, size).real)

    def _flat(self, slopes: Mapping[str, Array]) -> Array:
        """Weights in the order of ``trained_names``, one row for each direction."""
        return np.concatenate(
            [slopes[f"weights/{name}"].reshape(len(slopes[f"weights/{name}"]), -1) for name in self.run.trained_names],
            axis=1,
        )

    def _directions(self, stage: str, cotangents: Callable[[slice], Array]) -> Array:
        """Orthonormal rows that span ``J'`` times the cotangents, in the precision of the run: ``[count, units]``."""
        pulled = np.concatenate([self._pull(stage, cotangents, piece) for piece in self.pieces()])
        basis = np.linalg.qr(pulled.astype(np.float64).T).Q
        return np.ascontiguousarray(basis.T, dtype=self.run.precision)

    def _pull(self, stage: str, cotangents: Callable[[slice], Array], piece: slice) -> Array:
        """``J'`` times cotangents on the final weights, ``[piece, units]``."""

        def work() -> dict[str, Array]:
            rows = torch.from_numpy(cotangents(piece)).to(device=self.run.device, dtype=self.run.dtype)
            trajectory = self._reverse.forward(None, self._memory, self._progress)
            found = self._reverse.sweep(weights_pullback(self.run), rows, trajectory, self._progress)
            trajectory.release()
            return {"pulled": constant_of(found).cpu().numpy()}

        return self._kept(stage, piece, work)["pulled"]

    def _push(self, stage: str, directions: Array, piece: slice) -> dict[str, Array]:
        """Slopes of weights and pinned probes along some directions: ``weights/NAME``, ``probes/NAME``."""

        def work() -> dict[str, Array]:
            rows = torch.from_numpy(directions[piece]).to(self.run.device)
            outcome = self._forward.along(rows, lambda _: self._progress())
            slopes = {f"weights/{name}": outcome.tail(name)[:, 0] for name in self.run.trained_names}
            return slopes | {f"probes/{name}": block[:, 0] for name, (_, block) in outcome.probes.items()}

        return self._kept(stage, piece, work)

    def _kept(self, stage: str, piece: slice, work: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """The arrays of a finished piece, from disk if they are there."""
        name = _name(stage, piece)
        arrays = self._partial.load_piece(FOLDER, name)
        if arrays is None:
            arrays = work()
            self._partial.store_piece(FOLDER, name, arrays)
        return arrays


def _name(stage: str, piece: slice) -> str:
    return f"{stage}-{piece.start}-{piece.stop}"
