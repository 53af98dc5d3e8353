"""The corrected model: trained weights predicted without some units' data (docs/theory.md sections 8, 9 and 14).

Always from the trained weights, for everybody who leaves, and never on top of another correction. Whoever holds the
bundle makes the same correction again; needs neither torch nor the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnkit.bundle.bfloat16 import rounded, wide
from unlearnkit.bundle.informed import InformedSlopes
from unlearnkit.bundle.solo import SoloSketch
from unlearnkit.bundle.spanned import Spanned
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.errors import AssumptionError, RefusedError
from unlearnkit.estimation import Prediction, Sketch
from unlearnkit.estimation.convergence import DIVERGING
from unlearnkit.estimation.correction import reach, take, verdict
from unlearnkit.names import counted

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Correction:
    """The trained weights as they would be without some units' data, and what is known of that.

    Attributes:
        state: arrays by state-dict name, in the stored precision (`unlearnkit.bundle.bfloat16`).
        standard_error: by trained weight, over the randomness of the directions; 0: no chance in it, NaN: not known.
        reproducible: whether every machine finds these very bytes.
        by_coordinate: of how many units the series grows, so that its terms were taken coordinate by coordinate, or, of
            units together on the span of informed directions, left out above degree one.
        ratio: from degree to degree, of the terms of all units together; NaN: not known.
        convergence: "converging", "doubtful" where some were taken by coordinate, or "unknown".
        explanation: how the weights were found, and what that leaves out, in words.

    """

    state: Mapping[str, Array]
    standard_error: Mapping[str, Array]
    reproducible: bool
    by_coordinate: int
    ratio: float
    convergence: str
    explanation: str

    @property
    def sampling_noise(self) -> float:
        """Root of the sum of all squared standard errors: how far the directions' chance may move the weights."""
        return float(np.sqrt(sum(float((error**2).sum()) for error in self.standard_error.values())))

    def to_bytes(self) -> bytes:
        """As a safetensors file: the same correction gives the same bytes."""
        return tensor_bytes(self.state)


@dataclass(frozen=True)
class _Part:
    """What one way to look at the weights contributes; first: of its change the first order."""

    change: Mapping[str, Array]
    first: Mapping[str, Array]
    errors: Mapping[str, Array]
    ratios: Sequence[float]
    by_coordinate: int
    said: str


class CorrectedState(dict[str, "torch.Tensor"]):
    """A state dict that ``load_state_dict`` takes.

    Attributes:
        correction: how the weights were found.
        predictions: of the pinned probes without the same units, by name; own losses: of those who leave.

    """

    correction: Correction
    predictions: Mapping[str, Prediction]


class Correcting:
    """What a bundle holds of its trained weights, and the corrections that follow.

    Args:
        stored: the trained model by state-dict name. tied: names that share another's tensor, and that name.
        solo: the weights' series along units alone, where they were kept.
        informed: the slopes along informed directions, where there are any.
        sampled: each trained weight as a probe along random directions, beside the informed ones, where they were kept.

    """

    def __init__(
        self,
        stored: Mapping[str, Array],
        tied: Mapping[str, str],
        *,
        solo: SoloSketch | None,
        informed: InformedSlopes | None,
        sampled: Mapping[str, Sketch],
    ) -> None:
        self._stored, self._tied = stored, tied
        self._solo, self._informed, self._sampled = solo, informed, sampled

    def without(self, positions: Sequence[int], degree: int | None) -> Correction:
        """The correction for units at these positions, each once.

        degree: of what is taken, at most; None: all of the series along units alone and of informed directions, of
        random ones the first. RefusedError where nothing is known of a unit; AssumptionError where the series of all
        of them diverges.
        """
        known = set() if self._solo is None else set(self._solo.units.tolist())
        alone, others = sorted(known.intersection(positions)), sorted(set(positions) - known)
        parts = [self._alone(alone, degree)] if alone else []
        parts += [self._others(others, degree or 1)] if others else []
        parts.append(self._together(alone, others, degree, _sum([part.first for part in parts])))
        ratios = [ratio for part in parts for ratio in part.ratios]
        _require_reach(reach(ratio for ratio in ratios if not math.isnan(ratio)), len(positions))
        by_coordinate = min(len(positions), sum(part.by_coordinate for part in parts))
        return Correction(
            state=self._moved(_sum([part.change for part in parts])),
            standard_error=_sum([part.errors for part in parts]),
            reproducible=not (others and self._sampled),
            by_coordinate=by_coordinate,
            ratio=reach(ratios),
            convergence=verdict(reach(ratios), by_coordinate=by_coordinate),
            explanation=" ".join(part.said for part in parts if part.said),
        )

    def _degree(self, degree: int | None) -> int:
        most = self._solo.degree if self._solo else 1
        return most if degree is None else min(degree, most)

    def _alone(self, positions: Sequence[int], degree: int | None) -> _Part:
        """The sum of what is taken of the units' series, in their order."""
        change: dict[str, Array] = {}
        first: dict[str, Array] = {}
        ratios, by_coordinate = [], 0
        found = self._solo.weights(np.array(positions)) if self._solo else {}
        for place in range(len(positions)):
            taken = take({name: series[place] for name, series in found.items()}, self._degree(degree))
            terms = [dict(zip(taken.terms, term, strict=True)) for term in zip(*taken.terms.values(), strict=True)]
            change, first = _sum([change, *terms]), _sum([first, terms[0]])
            ratios.append(taken.ratio)
            by_coordinate += taken.by_coordinate
        said = _said_alone(len(positions), self._degree(degree), by_coordinate)
        return _Part(change, first, _everywhere(change, 0.0), ratios, by_coordinate, said)

    def _others(self, positions: Sequence[int], degree: int) -> _Part:
        """What directions say of units without series of their own, the first order of informed ones."""
        if self._sampled:
            return self._by_sampling(positions, degree)
        if self._informed is None:
            raise RefusedError(
                f"the bundle kept no weight sketches of {counted(len(positions), 'unit')} that would be left out",
                hint="sketch with Solo(keep_weights=True), Informed(...) or Forward(keep_weights=True)",
            )
        change = self._along(self._informed, positions)
        said = (
            f"Of {counted(len(positions), 'unit')} the first order, exact along "
            f"{counted(len(self._informed.directions), 'informed direction')}; what lies across is left out."
        )
        return _Part(change, change, _everywhere(change, math.nan), [], 0, said)

    def _together(
        self, alone: Sequence[int], others: Sequence[int], degree: int | None, first: Mapping[str, Array]
    ) -> _Part:
        """What higher degrees on the span of informed directions say. first: of all these units, the first order."""
        informed, count = self._informed, len(alone) + len(others)
        if others and self._sampled:
            return _Part({}, {}, {}, [], 0, "")
        if informed is None:
            return _Part({}, {}, {}, [], 0, _said_left_out(count, others=0))
        most = informed.degree if degree is None else min(degree, informed.degree)
        found = Spanned(informed, alone, others, self._degree(degree) if alone else 0, most)
        ratios, added = [found.ratio] if others else [], found.added(first)
        if added is None:
            return _Part({}, {}, {}, ratios, 0, _said_left_out(count, others=len(others)))
        said = _said_together(count, most, informed.leading, grows=added.grows)
        return _Part(added.change, {}, {}, ratios, count * added.grows, said)

    def _by_sampling(self, positions: Sequence[int], degree: int) -> _Part:
        """As `Sketch.predict` does it for a probe that is a weight."""
        found: dict[str, Prediction] = {}
        for name, sketch in self._sampled.items():
            left_out = np.zeros((1, sketch.directions.units))
            left_out[0, list(positions)] = 1
            found[name] = sketch.predict(left_out, degree=degree)
        change = {name: prediction.change[0] for name, prediction in found.items()}
        errors = {name: prediction.standard_error[0] for name, prediction in found.items()}
        return _Part(change, {}, errors, [math.nan], 0, next(iter(found.values())).explanation)

    @staticmethod
    def _along(informed: InformedSlopes, positions: Sequence[int]) -> dict[str, Array]:
        """``J Q Q' x``, in the order of units and directions."""
        along = np.zeros(len(informed.directions))
        for position in positions:
            along = along + informed.directions[:, position]
        changes: dict[str, Array] = {}
        for name, slopes in informed.weights.items():
            for weight, slope in zip(along.tolist(), slopes, strict=True):
                changes[name] = changes.get(name, 0.0) + weight * slope.astype(np.float64)
        return changes

    def _moved(self, change: Mapping[str, Array]) -> dict[str, Array]:
        moved = {
            name: rounded(wide(array).astype(np.float64) + change[name], array.dtype) if name in change else array
            for name, array in self._stored.items()
        }
        return {name: moved[self._tied.get(name, name)] for name in self._stored}


def as_state_dict(correction: Correction, model: torch.nn.Module) -> CorrectedState:
    """For ``load_state_dict`` of ``model``, in its own precision and on its device."""
    own = model.state_dict()
    state = CorrectedState({name: own[name].new_tensor(wide(array)) for name, array in correction.state.items()})
    state.correction = correction
    return state


def _require_reach(ratio: float, units: int) -> None:
    if verdict(ratio, by_coordinate=0) == DIVERGING:
        raise AssumptionError(
            f"the weights' series diverges without {counted(units, 'unit')}{' together' if units > 1 else ''}: the "
            f"ratio of a degree to the one before is {ratio:.2g}, expected below 1",
            hint="train again without them" + ("; fewer may be within its reach" if units > 1 else ""),
        )


def _said_alone(units: int, degree: int, by_coordinate: int) -> str:
    what = f"degree {degree}" if degree == 1 else f"degrees 1 to {degree}"
    said = f"Of {counted(units, 'unit')} the series along each alone, {what}."
    if by_coordinate:
        said += f" Of {by_coordinate} of them the series grows: terms were taken coordinate by coordinate."
    return said


def _said_left_out(units: int, *, others: int) -> str:
    if others:
        return "Higher degrees of these are left out, and what units do to one another."
    return "What they do to one another is left out." if units > 1 else ""


def _said_together(units: int, degree: int, leading: int, *, grows: bool) -> str:
    what = "degree 2" if degree == 2 else f"degrees 2 to {degree}"
    span = counted(leading, "informed direction")
    ends = "grows, and is left out, as is what lies across" if grows else "; the rest is left out"
    return f"Of {counted(units, 'unit')} together {what} on the span of {span}{' ' if grows else ''}{ends}."


def _sum(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """One after another, by name."""
    total: dict[str, Array] = {}
    for part in parts:
        for name, array in part.items():
            total[name] = total.get(name, 0.0) + array
    return total


def _everywhere(arrays: Mapping[str, Array], value: float) -> dict[str, Array]:
    return {name: np.full(array.shape, value) for name, array in arrays.items()}
