"""Replays of reverse sweeps: gradients, products with residual directions, slices of the cubic form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from unlearnkit.audit.again import Again
from unlearnkit.audit.comparison import Comparison
from unlearnkit.audit.fitted import verify_not_fitted
from unlearnkit.audit.natural import Natural
from unlearnkit.bundle import Directions
from unlearnkit.estimation import ReverseSketch
from unlearnkit.estimation.cubic import pairs
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.second_order import Piece, ReverseSketching, Stage, Sweep
from unlearnkit.sketching.settings import FIRST_ORDER, SWEEP_LANES
from unlearnkit.training.recipe import Array

# For a reverse sweep.
_MEMORY = Memory(1 << 31)


@dataclass(frozen=True)
class ReverseReplay:
    """Sweeping a probe again. stored: what the bundle holds of it. shape: of the probe."""

    again: Again
    natural: Natural
    name: str
    shape: tuple[int, ...]
    stored: ReverseSketch

    def comparisons(self) -> Iterator[Comparison]:
        """Everything that reverse sweeps gave, but how eigenpairs were found: they are taken as they are."""
        rows = self.again.rows(len(self.stored.residual))
        picked = [self.stored.directions.block(row, row + 1) for row in rows]
        psi = np.concatenate([*picked, self.again.fresh()]) if rows else None
        pieces = self._swept("residual", psi)
        gradient = np.concatenate([piece.gradient for piece in pieces])
        elements = tuple(range(len(gradient)))
        yield self.again.compare(
            "gradient", self.name, 1, elements, self.stored.gradient, gradient, self._floor(1)[:, None], (1,)
        )
        if psi is not None:
            products = np.concatenate([piece.products for piece in pieces], axis=1)
            stored = self.stored.residual[list(rows)]
            floor = self._floor(2)[:, None]
            yield self.again.compare("residual", self.name, 2, rows, stored, products[:-1], floor, (0, 2))
            self._verify_eigenpairs(psi[-1:], products[-1:])
        if len(self.stored.cubic.basis):
            yield from self._cubic()

    def _floor(self, degree: int) -> Array:
        return self.natural.probe(self.name, degree).reshape(-1)

    def _swept(self, stage: Stage, psi: Array | None) -> list[Piece]:
        """Some elements at a time, so that each sweep fits the memory."""
        work = ReverseSketching(self.again.run, self.again.run.recipe.probes[self.name], self.shape, FIRST_ORDER)
        count = 0 if psi is None else len(psi)
        width = max(1, SWEEP_LANES // (2 * (count + 1)))
        sweeps = [
            Sweep(stage, first, min(first + width, work.elements), 0, count) for first in range(0, work.elements, width)
        ]
        return [work.run_sweep(sweep, psi, _MEMORY) for sweep in sweeps]

    def _verify_eigenpairs(self, psi: Array, products: Array) -> None:
        """They are a form, whatever they are, but must not have been fitted to the residual directions."""
        again = replace(self.stored, residual=products, directions=Directions.explicit(psi))
        kept, found = (np.stack([_squares(p) for p in s.residual_products()], axis=1) for s in (self.stored, again))
        rounding = self.again.tolerance**2 * _squares(products[0])
        verify_not_fitted(f"eigenpairs of probe {self.name!r}", kept, found[0], rounding)

    def _cubic(self) -> Iterator[Comparison]:
        """``T[p, q, .]`` for some pairs of basis vectors: ``grad f_3((p + q)/sqrt 2) - grad f_3((p - q)/sqrt 2)``."""
        cubic, count = self.stored.cubic, len(self.stored.cubic.basis)
        one = np.eye(count)
        yield self.again.compare("cubic basis", self.name, 0, (), cubic.basis @ cubic.basis.T, one, 1.0)
        rows = self.again.rows(len(cubic.slices))
        first, second = (cubic.basis[places[list(rows)]] for places in pairs(count))
        psi = np.concatenate([first + second, first - second]) / np.sqrt(2)
        pieces = self._swept("cubic", np.ascontiguousarray(psi))
        plus, minus = np.split(np.concatenate([piece.products for piece in pieces], axis=1), 2)
        floor = self._floor(3)[:, None]
        stored = cubic.slices[list(rows)]
        yield self.again.compare("cubic", self.name, 3, rows, stored, plus - minus, floor, (0, 2))


def _squares(vectors: Array) -> Array:
    """Squared lengths along the last dimension."""
    return np.asarray((np.abs(vectors) ** 2).sum(axis=-1))
