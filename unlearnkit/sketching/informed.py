"""Informed directions: along which the trained weights move most (docs/theory.md section 9).

With ``J = d theta / d w`` at w = 0 (weights x units), every probe F of the trained model has the first order
``grad F . J x``. The leading right singular vectors of J, found by subspace iteration (Halko, Martinsson and Tropp
2011, algorithm 4.4), say most of it whatever F is:

1. *pull*: a reverse sweep with random cotangents on the weights gives ``J' Omega``; its span is the basis Q;
2. for each power iteration, *push* training along Q, which gives ``J Q``, and pull that: ``J'J Q``;
3. *push* once more along the final Q, turned so that the first direction moves the weights most, and keep what
   weights and pinned probes do;
4. for each degree above one, *push* to that degree along the points of a lattice on the span of the leading directions
   (`unlearnkit.estimation.lattice`): as many as tell all that happens in that span.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unlearnkit.bundle import InformedDirections, random_directions
from unlearnkit.bundle.manifest import forms_of
from unlearnkit.estimation.lattice import lattice_points
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.reverse import ReverseSweeps
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
        settings: InformedDirections,
        partial: PartialRun,
        memory_budget: int,
    ) -> None:
        self.run = run
        self.settings = settings
        self._partial = partial
        self._memory_budget = memory_budget
        self._progress: Callable[[], None] = lambda: None
        self._forward = ForwardSketching(run, 1)
        self._reverse = ReverseSweeps(run, 1)

    def pieces(self, degree: int = 1) -> list[slice]:
        """The directions, or the points of a degree, so many at a time as fit the memory."""
        count = self.settings.count if degree == 1 else self.settings.points(degree)
        lanes = max(1, 2 * self._partial.settings.lanes // degree) if degree > 1 else self._partial.settings.lanes
        return [slice(first, min(first + lanes, count)) for first in range(0, count, lanes)]

    def stages(self) -> list[tuple[str, int, list[slice]]]:
        """The stages in order: names, how often each goes through the training (a pull there and back), pieces."""
        rounds = [(f"{stage}-{i}", n) for i in self._rounds for stage, n in (("push", 1), ("pull", 2))]
        first = [(name, n, self.pieces()) for name, n in (("pull-0", 2), *rounds, ("final", 1))]
        return first + [(_of_degree(degree), 1, self.pieces(degree)) for degree in self.settings.degrees]

    @property
    def _rounds(self) -> range:
        return range(1, self.settings.power_iterations + 1)

    def steps(self) -> tuple[int, int]:
        """Training steps of all the work, forward and backward, and of what is finished of it."""
        passes = [
            (n, self._partial.has_piece(FOLDER, _name(stage, piece)))
            for stage, n, pieces in self.stages()
            for piece in pieces
        ]
        steps = self.run.recipe.steps
        return steps * sum(n for n, _ in passes), steps * sum(n for n, finished in passes if finished)

    def compute(self, key: bytes, progress: Callable[[], None] = lambda: None) -> dict[str, Array]:
        """All arrays that a bundle holds of informed directions (`unlearnkit.bundle.informed`). key: of ``Omega``.

        progress: called after each step, forward or backward; not where a step is computed again.
        """
        self._progress = progress
        directions = self._directions("pull-0", lambda piece: self._random(key, piece))
        for number in self._rounds:
            moved = [self._push(f"push-{number}", directions, piece) for piece in self.pieces()]
            cotangents = np.concatenate([self._flat(slopes) for slopes in moved])
            directions = self._directions(f"pull-{number}", lambda piece, c=cotangents: c[piece])  # type: ignore[misc]
        found = _joined([self._push("final", directions, piece) for piece in self.pieces()])
        turn = _leading_first(self._flat(found))
        found = {name: self._turned(turn, array) for name, array in found.items()}
        directions = self._turned(turn, directions)
        for degree in self.settings.degrees:
            forms = self._forms(directions[: self.settings.leading], degree)
            found |= {f"{forms_of(degree)}{name}": array for name, array in forms.items()}
        return {"directions": directions} | found

    def _turned(self, turn: Array, rows: Array) -> Array:
        """What belongs to the turned directions, of what belongs to the others and is linear in them."""
        flat = turn @ rows.reshape(len(rows), -1).astype(np.float64)
        return np.ascontiguousarray(flat.reshape(rows.shape), dtype=self.run.precision)

    def _forms(self, leading: Array, degree: int) -> dict[str, Array]:
        """What weights and pinned probes do in this degree at the points of a lattice, ``[points, *S]``."""
        points = lattice_points(len(leading), degree) @ leading.astype(np.float64)
        points = points.astype(self.run.precision)
        return _joined([self._push(_of_degree(degree), points, piece, degree) for piece in self.pieces(degree)])

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
            trajectory = self._reverse.forward(None, self._memory_budget, self._progress)
            found = self._reverse.sweep(self._split, rows, trajectory, self._progress)
            return {"pulled": constant_of(found).cpu().numpy()}

        return self._kept(stage, piece, work)["pulled"]

    def _split(self, weights: Mapping[str, Tensor], _fixed: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        """Cotangents ``[elements, W]`` by weight: the reverse of a probe that is all the weights."""
        sizes = [weights[name].numel() for name in self.run.trained_names]
        parts = rows.split(sizes, dim=1)  # type: ignore[no-untyped-call]
        named = zip(self.run.trained_names, parts, strict=True)
        return {name: part.reshape(-1, *weights[name].shape) for name, part in named}

    def _push(self, stage: str, directions: Array, piece: slice, degree: int = 1) -> dict[str, Array]:
        """A degree of weights and pinned probes along some directions: ``weights/NAME``, ``probes/NAME``."""

        def work() -> dict[str, Array]:
            rows = torch.from_numpy(directions[piece]).to(self.run.device)
            outcome = self._forward.to_degree(degree).along(rows, lambda _: self._progress())
            found = {f"weights/{name}": outcome.tail(name)[:, -1].real for name in self.run.trained_names}
            return found | {f"probes/{name}": block[:, -1].real for name, (_, block) in outcome.probes.items()}

        return self._kept(stage, piece, work)

    def _kept(self, stage: str, piece: slice, work: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """The arrays of a finished piece, from disk if they are there."""
        name = _name(stage, piece)
        arrays = self._partial.load_piece(FOLDER, name)
        if arrays is None:
            arrays = work()
            self._partial.store_piece(FOLDER, name, arrays)
        return arrays


def _leading_first(slopes: Array) -> Array:
    """The turn of some directions after which the slopes along them, ``[q, W]``, are orthogonal, the longest first."""
    wide = slopes.astype(np.float64)
    _, vectors = np.linalg.eigh(wide @ wide.T)
    return np.ascontiguousarray(vectors[:, ::-1].T)


def _joined(pieces: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([arrays[name] for arrays in pieces]) for name in pieces[0]}


def _of_degree(degree: int) -> str:
    return f"degree-{degree}"


def _name(stage: str, piece: slice) -> str:
    return f"{stage}-{piece.start}-{piece.stop}"
