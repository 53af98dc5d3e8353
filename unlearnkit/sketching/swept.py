"""The reverse sweeps of all probes together, stage by stage: many processes share what belongs to any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from unlearnkit.bundle import Directions, complex_numbers, random_directions
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.ranks import Ranks
from unlearnkit.sketching.second_order import Piece, Pieces, ReverseSketching, Stage, Sweep
from unlearnkit.sketching.store import PartialRun
from unlearnkit.training.recipe import Array


@dataclass(frozen=True, slots=True)
class Keys:
    """Where random vectors come from: the range's key and, independent of it, the directions of the residual."""

    range: bytes
    residual: Directions


class Swept:
    """The sweeps of one probe, what is found of them, and the directions of the stage that they have come to.

    diagonal: see `Pieces`.
    """

    def __init__(self, name: str, work: ReverseSketching, keys: Keys, lanes: int, diagonal: Array | None) -> None:
        self.name = name
        self.work = work
        self.sweeps = list(work.sweeps(lanes))
        self._keys = keys
        vectors = random_directions(keys.range, 0, work.settings.rank, len(work.run.recipe.unit_names)).real
        self._pieces = Pieces(work, vectors, diagonal)
        self._vectors: Array = np.empty((0, 0))

    def named(self, stage: Stage) -> dict[str, tuple[Swept, Sweep]]:
        """The sweeps of a stage, by the names of their files."""
        return {self.file(sweep): (self, sweep) for sweep in self.sweeps if sweep.stage == stage}

    def file(self, sweep: Sweep) -> str:
        """The name of what a sweep finds."""
        return f"{self.name}-{sweep}"

    def come_to(self, stage: Stage, ranks: Ranks) -> None:
        """Hear from rank 0 along which directions a stage goes: all that comes before is finished."""
        self._vectors = ranks.told(lambda: self._pieces.vectors(stage))

    def directions(self, sweep: Sweep) -> Array | None:
        """Those of a sweep; None where it goes along none."""
        if sweep.stage == "gradient":
            return None
        if sweep.stage == "residual":
            return self._keys.residual.block(sweep.d0, sweep.d1)
        return np.ascontiguousarray(self._vectors[sweep.d0 : sweep.d1])

    def add(self, sweep: Sweep, stored: Mapping[str, Array]) -> None:
        """Take what a sweep found, as it was stored."""
        products = stored["products"]
        if sweep.stage == "residual":
            products = complex_numbers(products)
        self._pieces.add(sweep, Piece(stored["gradient"], products))

    def arrays(self) -> dict[str, Array]:
        """Everything that ``ReverseSketch`` takes."""
        return self._pieces.arrays()


def complete(probes: Sequence[Swept], partial: PartialRun, memory: Memory, bar: tqdm[Any]) -> None:
    """Do the sweeps that are not on disk yet, and put what they find together, which rank 0 does.

    bar: counts steps, forward and backward.
    """

    def work(piece: tuple[Swept, Sweep]) -> dict[str, Array]:
        probe, sweep = piece
        found = probe.work.run_sweep(sweep, probe.directions(sweep), memory, bar.update)
        return {"gradient": found.gradient, "products": found.products}

    for stage in get_args(Stage):
        named: dict[str, tuple[Swept, Sweep]] = {}
        for probe in probes:
            if here := probe.named(stage):
                probe.come_to(stage, partial.ranks)
                named |= here
        largest_first = dict(sorted(named.items(), key=lambda item: -item[1][1].lanes))  # rounds are of equal ones
        partial.spread("reverse", largest_first, work, lambda piece: bar.update(piece[0].work.steps([piece[1]])))
        for key, (probe, sweep) in named.items() if partial.ranks.leads else ():
            probe.add(sweep, partial.load_piece("reverse", key))
