"""The stages of a sketch, which every process of a group goes through together (`unlearnkit.sketching.ranks`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unlearnkit.bundle import INFORMED_START, RANGE, RESIDUAL, Directions, direction_key
from unlearnkit.estimation import SoloSeries
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.informed import InformedSketching
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.second_order import ReverseSketching
from unlearnkit.sketching.settings import Reverse
from unlearnkit.sketching.solo import SoloSketching
from unlearnkit.sketching.store import PartialRun
from unlearnkit.sketching.swept import Keys, Swept, complete, planned, steps
from unlearnkit.sketching.trajectory import Trajectory
from unlearnkit.training.plain import PlainSteps
from unlearnkit.training.recipe import Array


@dataclass(frozen=True)
class Found:
    """What was found beside the forward sketch, as a bundle stores it."""

    reverse: dict[str, dict[str, Array]]
    informed: dict[str, Array] | None
    solo: dict[str, Array]
    solo_weight_files: list[tuple[int, int, Path]]


@dataclass(frozen=True)
class Stages:
    """All the work on a sketch: what is on disk already is not done again. Rank 0 finds the outcome, others nothing."""

    sketching: ForwardSketching
    partial: PartialRun
    source: Directions
    memory: Memory
    progress: bool | None

    def found(self) -> Found:
        """Everything that the settings ask for."""
        if self.partial.settings.directions:
            self.sketching.compute(self.partial, self.source, progress=self.progress)
        else:
            self._run_plain()
        solo, files = self._alone()  # first: its diagonals make low ranks better
        swept = self._swept(solo)
        return Found(swept, self._informed(), solo, files)

    @cached_property
    def _reverse(self) -> dict[str, Reverse]:
        return {name: Reverse(**numbers) for name, numbers in json.loads(self.partial.settings.reverse).items()}

    @cached_property
    def _plain(self) -> Trajectory:
        """The training without directions, which is done when it is first gone back through."""
        return Trajectory(self.sketching.run, PlainSteps(self.sketching.trainer), self.memory)

    def _run_plain(self) -> None:
        """Base and model of the run without directions, by rank 0; others train for their sweeps meanwhile."""
        ranks, plain = self.partial.ranks, self._plain
        if not ranks.told(lambda: np.array(not self.partial.is_finished(0, 0))):
            return
        if ranks.leads:
            ranks.together(lambda: self.sketching.plain(self.partial, plain, seen=bool(self._reverse)))
        else:
            ranks.together(lambda: plain.final if self._reverse else None)

    def _alone(self) -> tuple[dict[str, Array], list[tuple[int, int, Path]]]:
        """The series along units alone, and the files of those of weights."""
        settings = self.partial.settings
        if not settings.solo.degree:
            return {}, []
        work = SoloSketching(self.sketching, settings.solo, self.partial, keep_weights=settings.keep_solo_weights)
        with self._bar("units alone", *work.steps(), unit="unit-step", unit_scale=True) as bar:
            found = work.compute(bar.update)
        return found, work.weight_files() if self.partial.ranks.leads else []

    def _swept(self, solo: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """The reverse sweeps of every probe. solo: what series along units alone are known."""
        if not self._reverse:
            return {}
        probes = [self._probe(name, wanted, solo) for name, wanted in sorted(self._reverse.items())]
        plan = planned(probes, self.partial.settings.lanes)
        pieces = {name: steps(parts) for named in plan.values() for name, parts in named.items()}
        finished = sum(count for name, count in pieces.items() if self.partial.has_piece("reverse", name))
        with self._bar("reverse sweeps", sum(pieces.values()), finished, unit="step") as bar:
            complete(probes, plan, self.partial, self.memory, bar)
        return {probe.name: probe.arrays() for probe in probes} if self.partial.ranks.leads else {}

    def _probe(self, name: str, wanted: Reverse, solo: Mapping[str, Array]) -> Swept:
        """The sweeps of a probe."""
        run, settings, ranks = self.sketching.run, self.partial.settings, self.partial.ranks
        recipe, salt = run.recipe, bytes.fromhex(settings.salt)
        shape = tuple(ranks.told(lambda: np.array(self.partial.base(name).shape, dtype=np.int64)).tolist())
        work = ReverseSketching(run, recipe.probes[name], shape, wanted, self._plain)
        residual = Directions.random(
            recipe.digest, salt, wanted.residual, len(recipe.unit_names), settings.dtype, RESIDUAL
        )
        keys = Keys(direction_key(recipe.digest, salt, RANGE), residual)
        diagonal = self._diagonal(solo, name, work.elements) if ranks.leads else None
        return Swept(name, work, keys, settings.lanes, diagonal)

    def _diagonal(self, solo: Mapping[str, Array], name: str, elements: int) -> Array | None:
        """Of each element's Hessian, ``[elements, units]``, as far as series along units alone tell; else None."""
        wanted, recipe = self.partial.settings.solo, self.sketching.run.recipe
        if wanted.degree < 2:
            return None
        places, series = np.array(wanted.units), solo[f"probes/{name}"].astype(np.float64)
        if name == recipe.own_loss:
            found = SoloSeries(places, series, places)
        else:
            found = SoloSeries(places, series.reshape(len(places), wanted.degree, -1))
        return 2 * found.beside(np.zeros((len(recipe.unit_names), elements)), 2).T

    def _informed(self) -> dict[str, Array] | None:
        """The informed directions and the slopes along them."""
        run, settings = self.sketching.run, self.partial.settings
        if not settings.informed.count:
            return None
        work = InformedSketching(run, settings.informed, self.partial, self._plain)
        key = direction_key(run.recipe.digest, bytes.fromhex(settings.salt), INFORMED_START)
        with self._bar("informed directions", *work.steps(), unit="step") as bar:
            return work.compute(key, bar.update)

    def _bar(self, title: str, total: int, finished: int, **unit: Any) -> tqdm[Any]:  # noqa: ANN401
        """A progress bar. finished: no part of the rate."""
        disable = None if self.progress is None else not self.progress
        return tqdm(
            total=total, initial=finished, disable=disable, desc=f"{self.sketching.run.recipe.name}: {title}", **unit
        )
