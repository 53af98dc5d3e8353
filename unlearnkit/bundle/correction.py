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
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.errors import AssumptionError, RefusedError
from unlearnkit.estimation import Prediction, Sketch
from unlearnkit.estimation.convergence import DIVERGING
from unlearnkit.estimation.correction import reach, take, verdict

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
        by_coordinate: of how many units the series grows, so that its terms were taken coordinate by coordinate.
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

        degree: of what is taken, at most; None: all of the series along units alone, and of directions the first.
        RefusedError where nothing is known of a unit; AssumptionError where the series of all of them diverges.
        """
        known = set() if self._solo is None else set(self._solo.units.tolist())
        alone = sorted(known.intersection(positions))
        others = sorted(set(positions) - known)
        change, ratios, by_coordinate = self._alone(alone, degree)
        errors = {name: np.zeros(array.shape) for name, array in change.items()}
        said = [_said_alone(len(alone), self._degree(degree), by_coordinate)] if alone else []
        if others:
            more, errors, words = self._others(others, degree or 1)
            change = {name: change.get(name, 0.0) + array for name, array in more.items()}
            said.append(words)
        ratio = reach(ratios) if not others else math.nan
        _require_reach(reach(ratios), len(positions))
        return Correction(
            state=self._moved(change),
            standard_error=errors,
            reproducible=not (others and self._sampled),
            by_coordinate=by_coordinate,
            ratio=ratio,
            convergence=verdict(ratio, by_coordinate=by_coordinate),
            explanation=" ".join(said),
        )

    def _degree(self, degree: int | None) -> int:
        most = self._solo.degree if self._solo else 1
        return most if degree is None else min(degree, most)

    def _alone(self, positions: Sequence[int], degree: int | None) -> tuple[dict[str, Array], list[float], int]:
        """The sum of what is taken of the units' series, in their order; their ratios; how many by coordinate."""
        change: dict[str, Array] = {}
        ratios, by_coordinate = [], 0
        found = self._solo.weights(np.array(positions)) if self._solo and positions else {}
        for place in range(len(positions)):
            taken = take({name: series[place] for name, series in found.items()}, self._degree(degree))
            for name, terms in taken.terms.items():
                for term in terms:
                    change[name] = change.get(name, 0.0) + term
            ratios.append(taken.ratio)
            by_coordinate += taken.by_coordinate
        return change, ratios, by_coordinate

    def _others(self, positions: Sequence[int], degree: int) -> tuple[dict[str, Array], dict[str, Array], str]:
        """What directions say of units without series of their own: changes, standard errors, and how, in words."""
        if self._sampled:
            return self._by_sampling(positions, degree)
        if self._informed is None:
            raise RefusedError(
                f"the bundle kept no weight sketches of {_units(len(positions))} that would be left out",
                hint="sketch with Solo(keep_weights=True), Informed(...) or Forward(keep_weights=True)",
            )
        changes = self._along(self._informed, positions)
        words = (
            f"Of {_units(len(positions))} the first order, exact along {len(self._informed.directions)} informed "
            "directions; what lies across these, and higher degrees, are left out."
        )
        return changes, {name: np.full(array.shape, np.nan) for name, array in changes.items()}, words

    def _by_sampling(self, positions: Sequence[int], degree: int) -> tuple[dict[str, Array], dict[str, Array], str]:
        """As `Sketch.predict` does it for a probe that is a weight."""
        found: dict[str, Prediction] = {}
        for name, sketch in self._sampled.items():
            left_out = np.zeros((1, sketch.directions.units))
            left_out[0, list(positions)] = 1
            found[name] = sketch.predict(left_out, degree=degree)
        changes = {name: prediction.change[0] for name, prediction in found.items()}
        errors = {name: prediction.standard_error[0] for name, prediction in found.items()}
        return changes, errors, next(iter(found.values())).explanation

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
            f"the weights' series diverges without {_units(units)}{' together' if units > 1 else ''}: the ratio of a "
            f"degree to the one before is {ratio:.2g}, expected below 1",
            hint="train again without them" + ("; fewer may be within its reach" if units > 1 else ""),
        )


def _said_alone(units: int, degree: int, by_coordinate: int) -> str:
    what = f"degree {degree}" if degree == 1 else f"degrees 1 to {degree}"
    said = f"Of {_units(units)} the series along each alone, {what}; what units do to one another is left out."
    if by_coordinate:
        said += f" Of {by_coordinate} of them the series grows: terms were taken coordinate by coordinate."
    return said


def _units(count: int) -> str:
    return f"{count} unit{'s' if count > 1 else ''}"
