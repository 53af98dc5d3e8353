"""The reverse sweeps of all probes together, stage by stage: many processes share what belongs to any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
from tqdm import tqdm

from unlearnkit.bundle import Directions, complex_numbers, random_directions
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.partition import ELEMENTS, piece_of
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

    def of(self, stage: Stage) -> list[Part]:
        """The sweeps of a stage."""
        return [(self, sweep) for sweep in self.sweeps if sweep.stage == stage]

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

    def add(self, sweep: Sweep, gradient: Array, products: Array) -> None:
        """Take what a sweep found, as it was stored."""
        if sweep.stage == "residual":
            products = complex_numbers(products)
        self._pieces.add(sweep, Piece(gradient, products))

    def arrays(self) -> dict[str, Array]:
        """Everything that ``ReverseSketch`` takes."""
        return self._pieces.arrays()


Part: TypeAlias = tuple[Swept, Sweep]
Parts: TypeAlias = tuple[Part, ...]
"""Sweeps that are done as one: of gradients some of several probes, else one."""


def planned(probes: Sequence[Swept], lanes: int) -> dict[Stage, dict[str, Parts]]:
    """All the work by stage and the name of its file. lanes: of one sweep, about."""
    stages: dict[Stage, dict[str, Parts]] = {}
    for stage in get_args(Stage):
        parts = [part for probe in probes for part in probe.of(stage)]
        most = 0
        if stage == "gradient" and parts:
            first = parts[0][0].work
            most = piece_of(first.run, sum(sweep.lanes for _, sweep in parts), lanes, ELEMENTS)
        stages[stage] = {f"{one[0][0].name}-{one[0][1]}": one for one in _joined(parts, most)}
    return stages


def _joined(parts: Sequence[Part], most: int) -> list[Parts]:
    """Neighbours together that have at most so many lanes."""
    joined: list[Parts] = []
    lanes = 0
    for part in parts:
        lanes += part[1].lanes
        if joined and lanes <= most:
            joined[-1] = (*joined[-1], part)
        else:
            joined.append((part,))
            lanes = part[1].lanes
    return joined


def steps(parts: Parts) -> int:
    """Training steps of sweeps that are done as one."""
    probe, sweep = parts[0]
    return probe.work.steps([sweep])


def complete(
    probes: Sequence[Swept],
    plan: Mapping[Stage, Mapping[str, Parts]],
    partial: PartialRun,
    memory: Memory,
    bar: tqdm[Any],
) -> None:
    """Do the sweeps that are not on disk yet, and put what they find together, which rank 0 does.

    plan: as `planned`. bar: counts steps, forward and backward.
    """

    def work(parts: Parts) -> dict[str, Array]:
        (probe, sweep), *others = parts
        if others:
            found = probe.work.gradients_with([(p.work, s) for p, s in others], sweep, memory, bar.update)
        else:
            found = [probe.work.run_sweep(sweep, probe.directions(sweep), memory, bar.update)]
        gradients = {f"gradient-{i}": piece.gradient for i, piece in enumerate(found)}
        return gradients | {f"products-{i}": piece.products for i, piece in enumerate(found)}

    for stage, named in plan.items():
        for probe in probes:
            if probe.of(stage):
                probe.come_to(stage, partial.ranks)
        largest_first = dict(sorted(named.items(), key=lambda item: -sum(s.lanes for _, s in item[1])))
        partial.spread("reverse", largest_first, work, lambda parts: bar.update(steps(parts)))  # rounds of equal ones
        for key, parts in named.items() if partial.ranks.leads else ():
            stored = partial.load_piece("reverse", key)
            for i, (probe, sweep) in enumerate(parts):
                probe.add(sweep, stored[f"gradient-{i}"], stored[f"products-{i}"])
