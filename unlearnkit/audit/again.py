"""What a replay trains again, and beside what."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unlearnkit.audit.comparison import Comparison, Kind, Rows
from unlearnkit.bundle import Bundle, random_directions
from unlearnkit.errors import VerificationError
from unlearnkit.training.recipe import Array
from unlearnkit.training.run import Run


@dataclass(frozen=True, slots=True)
class Again:
    """A bundle, a run of its recipe, and what of it is replayed.

    chosen: an index counts modulo the members of each kind. tolerance: see `Comparison`.
    """

    bundle: Bundle
    run: Run
    chosen: tuple[int, ...]
    tolerance: float

    def rows(self, count: int) -> Rows:
        """Which of so many members of a kind to replay."""
        return tuple(sorted({index % count for index in self.chosen})) if count else ()

    def fresh(self) -> Array:
        """A direction that whoever made the bundle did not know, ``[1, units]``."""
        return random_directions(secrets.token_bytes(16), 0, 1, self.bundle.manifest.units)

    def compare(
        self,
        kind: Kind,
        name: str,
        degree: int,
        rows: Rows,
        stored: Array,
        replayed: Array,
        floor: Array | float,
        shared: tuple[int, ...] | None = None,
    ) -> Comparison:
        """Numbers of one degree. shared: None: one scale for all of them."""
        if stored.shape != replayed.shape:
            raise VerificationError(f"{name!r}: shape {stored.shape} in the bundle, its recipe gives {replayed.shape}")
        return Comparison(
            kind=kind,
            name=name,
            degree=degree,
            rows=rows,
            stored=stored,
            replayed=replayed,
            tolerance=self.tolerance,
            floor=np.asarray(floor),
            shared=tuple(range(stored.ndim)) if shared is None else shared,
        )

    def of_weights(
        self, kind: Kind, name: str, rows: Rows, stored: Array, replayed: Array, floors: list[float]
    ) -> Iterator[Comparison]:
        """A weight's coefficients ``[rows, degree, *S]``, one degree at a time."""
        for r, floor in enumerate(floors, start=1):
            yield self.compare(kind, name, r, rows, stored[:, r - 1], replayed[:, r - 1], floor)

    def of_probe(
        self, kind: Kind, name: str, rows: Rows, stored: Array, replayed: Array, floors: list[Array]
    ) -> Iterator[Comparison]:
        """A probe's coefficients ``[rows, degree, *P]``, one degree at a time. floors: ``[*P]``."""
        for r, floor in enumerate(floors, start=1):
            yield self.compare(kind, name, r, rows, stored[:, r - 1], replayed[:, r - 1], floor, (0,))
