"""How long a release lasts: how many more people can be answered without retraining before it has to be trained again.

From the bundle alone, by prediction; nothing is certified. Who will ask is not known: people who have not asked are
taken in random order, many times, and each time it is seen how many go before a tolerance is exceeded, or before it is
in doubt whether the series converges (docs/theory.md sections 12 and 13). What is close to the limit is decided by
certificates, whose error counts too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.solo import SoloSketch
from unlearnkit.estimation import Sketch
from unlearnkit.estimation.convergence import DIVERGING, Convergence
from unlearnkit.estimation.correction import take

Array = np.ndarray[Any, Any]

ORDERS = 200
"""Random orders in which people ask."""

# Sizes are looked at one by one up to this, and then in steps of this share.
_ONE_BY_ONE, _STEP = 40, 0.05
# At once, of units whose own losses are predicted.
_CHUNK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How many more people can be answered. median: in half of all orders so many or more. few: in 95 % of them.

    None: everybody in the bundle.
    """

    median: int | None
    few: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutlook:
    """Of an aggregate probe: until its tolerance is exceeded, and until it is in doubt whether the series converges."""

    probe: str
    tolerance: Decimal
    tolerated: Reach
    converges: Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """Own losses of people as if the model had never seen them, each alone: predicted quartiles.

    within: the share of people for whom the model's own loss differs from that by no more than a tolerance; None where
    none was given.
    """

    low: float
    median: float
    high: float
    within: float | None

    @property
    def spread(self) -> float:
        """Between the quartiles: a change that is small against it tells nobody whether somebody's data was used."""
        return self.high - self.low


def probe_outlook(
    sketch: Sketch,
    tolerance: Decimal,
    largest_ratio: Decimal | None,
    standing: Collection[int],
    *,
    audited: bool = False,
    seed: int = 0,
) -> ProbeOutlook:
    """What a probe has left. standing: positions of who was answered without retraining.

    audited: what is claimed rests on retrainings, and only a set's own terms put its series in doubt.
    """
    random, units = np.random.default_rng(seed), sketch.directions.units
    others = np.setdiff1d(np.arange(units), np.array(sorted(standing), dtype=int))
    sizes = _sizes(len(others))
    moved, doubtful = [], []
    for _ in range(ORDERS if len(others) else 0):
        place = np.full(units, units)
        place[list(standing)] = -1
        place[random.permutation(others)] = np.arange(len(others))
        prediction = sketch.predict((place < sizes[:, None]).astype(float))
        change = np.abs(prediction.change).reshape(len(sizes), -1).max(axis=1)
        moved.append(_before(sizes, change > float(tolerance)))
        doubtful.append(_before(sizes, _in_doubt(prediction.convergence, len(sizes), largest_ratio, audited)))
    total = len(others)
    return ProbeOutlook(
        probe=sketch.name, tolerance=tolerance, tolerated=_reach(moved, total), converges=_reach(doubtful, total)
    )


def _sizes(total: int) -> Array:
    sizes = list(range(1, min(total, _ONE_BY_ONE) + 1))
    while sizes and sizes[-1] < total:
        sizes.append(min(total, sizes[-1] + max(1, int(sizes[-1] * _STEP))))
    return np.array(sizes, dtype=int)


def _in_doubt(convergence: Convergence, count: int, largest: Decimal | None, audited: bool) -> Array:  # noqa: FBT001
    norms = np.nan if audited else convergence.norms
    ratios = np.fmax(convergence.terms, norms).reshape(count, -1)
    beyond = ratios > (0.0 if largest is None else float(largest))
    return np.asarray((beyond | (convergence.verdict == DIVERGING).reshape(count, -1)).any(axis=1))


def _before(sizes: Array, exceeded: Array) -> float:
    """How many go before the first time; infinite where that never comes."""
    first = np.flatnonzero(exceeded)
    if not len(first):
        return np.inf
    return float(sizes[first[0] - 1]) if first[0] else 0.0


def _reach(found: list[float], total: int) -> Reach:
    if not found:
        return Reach(median=None, few=None)
    median, few = np.quantile(found, [0.5, 0.05], method="lower")
    return Reach(median=_count(median, total), few=_count(few, total))


def _count(value: float, total: int) -> int | None:
    return None if not np.isfinite(value) or value >= total else int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReach:
    """How many more people weights can be corrected for, by their series alone. unknown: of how many none was kept."""

    converges: Reach
    unknown: int


def weights_reach(bundle: Bundle, leaving: Collection[int], *, seed: int = 0) -> WeightsReach | None:
    """Until the weights' series diverges (docs/theory.md section 14); None for a bundle that kept no series of them.

    leaving: positions of whom the weights leave out already.
    """
    if bundle.solo is None or not bundle.solo.keeps_weights:
        return None
    known = {int(unit): _ratio(bundle.solo, int(unit)) for unit in bundle.solo.units}
    random = np.random.default_rng(seed)
    before = sum(known.get(unit, 0.0) ** 2 for unit in leaving)
    squares = np.square([ratio for unit, ratio in known.items() if unit not in set(leaving)])
    reached = [before + np.cumsum(random.permutation(squares)) for _ in range(ORDERS if len(squares) else 0)]
    sizes = np.arange(1, len(squares) + 1)
    found = [_before(sizes, sums >= 1) for sums in reached]
    unknown = len(set(range(bundle.manifest.units)) - known.keys() - set(leaving))
    return WeightsReach(converges=_reach(found, len(squares)), unknown=unknown)


def _ratio(solo: SoloSketch, unit: int) -> float:
    """Of a unit's degrees; where there is but one, it is not known, and then a correction does not heed it either."""
    series = {name: array[0] for name, array in solo.weights(np.array([unit])).items()}
    ratio = take(series, solo.degree).ratio
    return 0.0 if np.isnan(ratio) else ratio


def strangers(bundle: Bundle, tolerance: Decimal | None = None) -> Strangers | None:
    """How strangers' own losses are spread; None for a bundle that has no own losses, or predicts none."""
    name = bundle.manifest.own_loss
    if not name or not bundle.probe(name).degree:
        return None
    sketch, units = bundle.probe(name), bundle.manifest.units
    values = np.concatenate([_own(sketch, np.arange(i, min(i + _CHUNK, units))) for i in range(0, units, _CHUNK)])
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    within = None if tolerance is None else float((np.abs(values - sketch.base) <= float(tolerance)).mean())
    return Strangers(low=low, median=median, high=high, within=within)


def _own(sketch: Sketch, units: Array) -> Array:
    """The own loss of each of some units, had it been left out alone."""
    masks = np.zeros((len(units), sketch.directions.units))
    masks[np.arange(len(units)), units] = 1
    return np.asarray(np.diagonal(sketch.of(units).predict(masks).value))
