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

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unlearnkit.bundle import InformedDirections, random_directions
from unlearnkit.bundle.manifest import forms_of
from unlearnkit.estimation.lattice import lattice_points
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.partition import DIRECTIONS, piece_of
from unlearnkit.sketching.pullback import weights_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.sketching.store import PartialRun
from unlearnkit.sketching.trajectory import Trajectory
from unlearnkit.training.recipe import Array
from unlearnkit.training.run import Run
from unlearnkit.training.state import constant_of

FOLDER = "informed"

_COLUMNS = 1 << 16


class InformedSketching:
    """The passes over all informed directions of one run, in pieces, each kept when it is finished.

    plain: the training without directions.
    """

    def __init__(self, run: Run, settings: InformedDirections, partial: PartialRun, plain: Trajectory) -> None:
        self.run = run
        self.settings = settings
        self._partial = partial
        self._plain = plain
        self._progress: Callable[[int], Any] = lambda _: None
        self._forward = ForwardSketching(run, 1)
        self._reverse = ReverseSweeps(run, 1)

    def pieces(self, degree: int = 1) -> list[slice]:
        """The directions, or the points of a degree, so many at a time as fit the memory."""
        count = self.settings.count if degree == 1 else self.settings.points(degree)
        most = max(1, 2 * self._partial.settings.lanes // degree) if degree > 1 else self._partial.settings.lanes
        lanes = piece_of(self.run, count, most, DIRECTIONS)
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

    def compute(self, key: bytes, progress: Callable[[int], Any] = lambda _: None) -> dict[str, Array]:
        """All arrays that a bundle holds of informed directions (`unlearnkit.bundle.informed`). key: of ``Omega``.

        progress: called with the number of steps made, forward or backward; not where a step is computed again. Rank 0
        finds the arrays, others nothing.
        """
        self._progress = progress
        ranks, settings = self._partial.ranks, self.settings
        directions = self._directions("pull-0", lambda piece: self._random(key, piece))
        for number in self._rounds:
            self._push(f"push-{number}", directions)
            cotangents = ranks.told(lambda n=number: self._flat(self._joined(f"push-{n}")))  # type: ignore[misc]
            directions = self._directions(f"pull-{number}", lambda piece, c=cotangents: c[piece])  # type: ignore[misc]
        self._push("final", directions)
        first = self._first(directions) if ranks.leads else {}
        found = dict(first)
        for degree in settings.degrees:
            points = ranks.told(lambda d=degree: self._points(first["directions"][: settings.leading], d))  # type: ignore[misc]
            self._push(_of_degree(degree), points, degree)
            forms = self._joined(_of_degree(degree), degree) if ranks.leads else {}
            found |= {f"{forms_of(degree)}{name}": array for name, array in forms.items()}
        return found

    def _first(self, directions: Array) -> dict[str, Array]:
        """Directions and what moves along them, turned so that the first one moves the weights most."""
        found = {"directions": directions} | self._joined("final")
        turn = _leading_first([found[f"weights/{name}"] for name in self.run.trained_names])
        for name, rows in found.items():  # in place: these may be as large as all else together
            found[name] = self._turned(turn, rows)
        return found

    def _turned(self, turn: Array, rows: Array) -> Array:
        """What belongs to the turned directions, of what belongs to the others and is linear in them."""
        turned = np.empty(rows.shape, dtype=self.run.precision)
        for old, new in zip(_blocks(rows), _blocks(turned), strict=True):
            new[:] = turn @ old.astype(np.float64)
        return turned

    def _points(self, leading: Array, degree: int) -> Array:
        """Points of a lattice on the span of directions, as many as tell all that happens there in this degree."""
        return (lattice_points(len(leading), degree) @ leading.astype(np.float64)).astype(self.run.precision)

    def _random(self, key: bytes, piece: slice) -> Array:
        size = sum(tensor.numel() for tensor in self.run.initial_weights().values())
        rows = np.empty((piece.stop - piece.start, size), dtype=self.run.precision)
        for row, number in zip(rows, range(piece.start, piece.stop), strict=True):
            row[:] = random_directions(key, number, number + 1, size)[0].real
        return rows

    def _flat(self, slopes: Mapping[str, Array]) -> Array:
        """Weights in the order of ``trained_names``, one row for each direction."""
        return np.concatenate(
            [slopes[f"weights/{name}"].reshape(len(slopes[f"weights/{name}"]), -1) for name in self.run.trained_names],
            axis=1,
        )

    def _joined(self, stage: str, degree: int = 1) -> dict[str, Array]:
        """What the pieces of a stage found, together."""
        found = [self._partial.load_piece(FOLDER, _name(stage, piece)) for piece in self.pieces(degree)]
        return {name: np.concatenate([arrays.pop(name) for arrays in found]) for name in list(found[0])}

    def _directions(self, stage: str, cotangents: Callable[[slice], Array]) -> Array:
        """Orthonormal rows that span ``J'`` times the cotangents, in the precision of the run: ``[count, units]``."""
        self._spread(stage, self.pieces(), 2, lambda piece: {"pulled": self._pulled(cotangents(piece))})
        self._plain.release()  # its states would be in memory beside those along directions
        return self._partial.ranks.told(lambda: self._rows(self._joined(stage)["pulled"]))

    def _rows(self, pulled: Array) -> Array:
        basis = np.linalg.qr(pulled.astype(np.float64).T).Q
        return np.ascontiguousarray(basis.T, dtype=self.run.precision)

    def _pulled(self, cotangents: Array) -> Array:
        """``J'`` times cotangents on the final weights, a row each."""
        rows = torch.from_numpy(cotangents).to(device=self.run.device, dtype=self.run.dtype)
        self._progress(self.run.recipe.steps)  # forward, which was done before or is about to be
        found = self._reverse.sweep(weights_pullback(self.run), rows, self._plain, lambda: self._progress(1))
        return constant_of(found).cpu().numpy()

    def _push(self, stage: str, directions: Array, degree: int = 1) -> None:
        """A degree of weights and pinned probes along some directions: ``weights/NAME``, ``probes/NAME``."""

        def pushed(piece: slice) -> dict[str, Array]:
            rows = torch.from_numpy(directions[piece]).to(self.run.device)
            outcome = self._forward.to_degree(degree).along(rows, lambda _: self._progress(1))
            found = {f"weights/{name}": _last(outcome.tail(name)) for name in self.run.trained_names}
            return found | {f"probes/{name}": _last(block) for name, (_, block) in outcome.probes.items()}

        self._spread(stage, self.pieces(degree), 1, pushed)

    def _spread(self, stage: str, pieces: list[slice], passes: int, make: Callable[[slice], dict[str, Array]]) -> None:
        """Have the pieces of a stage made that are not on disk yet, each in so many passes through the training."""
        named, steps = {_name(stage, piece): piece for piece in pieces}, passes * self.run.recipe.steps
        self._partial.spread(FOLDER, named, make, lambda _: self._progress(steps))


def _leading_first(slopes: Sequence[Array]) -> Array:
    """The turn of some directions after which the slopes along them are orthogonal, the longest first.

    slopes: ``[directions, *S]`` of each weight.
    """
    squares = np.zeros((len(slopes[0]), len(slopes[0])))
    for array in slopes:
        for block in _blocks(array):
            wide = block.astype(np.float64)
            squares += wide @ wide.T
    return np.ascontiguousarray(np.linalg.eigh(squares)[1][:, ::-1].T)


def _blocks(rows: Array) -> Iterator[Array]:
    """The columns of an array of rows, some at a time: in float64 all of them would take more than all else."""
    flat = rows.reshape(len(rows), -1)
    for first in range(0, flat.shape[1], _COLUMNS):
        yield flat[:, first : first + _COLUMNS]


def _last(coefficients: Array) -> Array:
    """Those of the last degree, along real directions: ``[directions, *S]`` of ``[directions, degree, *S]``."""
    return np.ascontiguousarray(coefficients[:, -1].real)


def _of_degree(degree: int) -> str:
    return f"degree-{degree}"


def _name(stage: str, piece: slice) -> str:
    return f"{stage}-{piece.start}-{piece.stop}"
