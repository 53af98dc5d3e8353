"""Bounds: how far a prediction may be off, with which probability, what that covers, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.certified import truncation
from unlearnkit.estimation.constants import outward
from unlearnkit.estimation.convergence import CONVERGING, Convergence
from unlearnkit.estimation.estimate import Chance, Method, Part, Source
from unlearnkit.estimation.rounding import Differences, numeric_epsilon
from unlearnkit.estimation.stability import Sizes, objection

Array = np.ndarray[Any, Any]

Family: TypeAlias = Literal["each", "all", "everyone"]
"""Which claims delta is for. See `Sketch.bound`."""

ERRORS = ("sampling", "rounding", "truncation")
"""What a prediction's error consists of; a bound covers some of it."""

# Far more than float64 loses in a prediction, far less than matters.
_ROOM = 1e-9
# Share of delta for the size of the part that a declared decay starts from.
_NORM_SHARE = 0.1

_FAMILIES = {
    "each": "Delta is for each element by itself, and for either side of it: the chance that it is above its "
    "interval, and that it is below. That is what 'every element stays within tolerance' needs (an intersection-union "
    "test); it is likelier that some element or other is outside.",
    "all": "Delta is for all elements of a deletion together: the chance that any of them is outside.",
    "everyone": "Delta is for all elements of all deletions that were asked together: the chance that any is outside.",
}


class Sketched(Protocol):
    """What a bound reads of a sketch; see `prediction.Sketch`."""

    @property
    def name(self) -> str:
        """See `prediction.Sketch`."""
        ...

    @property
    def base(self) -> Array:
        """``[*P]``."""
        ...

    @property
    def is_random(self) -> bool:
        """Whether nobody chose the directions."""
        ...

    def source(self, degree: int) -> Source:
        """What answers for a degree."""
        ...

    def sizes(self, degree: int) -> Sizes | None:
        """How large a degree's part is."""
        ...

    def convergence(self, sets: Array) -> Convergence:
        """Of the series, arrays ``[sets, *P]``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """``|truth - estimate| <= epsilon``, but for probability ``delta``, as far as ``covers`` says.

    estimate, epsilon: ``[*P]``, or ``[sets, *P]`` for many sets. family: which claims delta is for: "each" element and
    side alone, "all" elements of a set together, or those of "everyone", of all sets. degree: the highest that the
    estimate uses. method: begins with "certified" or "audited". covers: of "sampling", "rounding" and "truncation".
    sampling: "exact" where no directions had a part in it, so that epsilon is room for arithmetic alone.
    assumptions: in plain words. convergence: of the series; None where the bound does not rest on it.
    """

    estimate: Array
    epsilon: Array
    delta: float
    family: Family
    degree: int
    method: str
    covers: tuple[str, ...]
    sampling: Literal["exact", "bounded"]
    assumptions: tuple[str, ...]
    convergence: Convergence | None

    @property
    def leaves_out(self) -> tuple[str, ...]:
        """The errors that epsilon does not cover; to be said beside every number."""
        return tuple(error for error in ERRORS if error not in self.covers)


def certified_bound(  # the settings of Sketch.bound
    sketch: Sketched,
    sets: Array,
    *,
    delta: float,
    family: Family,
    method: Method,
    degree: int,
    decay: float | None,
    rounding: float | Differences | None,
) -> Bound:
    """See `Sketch.bound`. sets: ``[sets, units]``; arrays of the result are ``[sets, *P]``."""
    degrees, convergence = range(1, degree + 1), sketch.convergence(sets)
    random = _random_degrees(sketch, degrees)
    claims = {"each": 1, "all": sketch.base.size, "everyone": sketch.base.size * len(sets)}[family]
    share = delta / max(1, claims)
    spent = share * _NORM_SHARE if decay is not None else 0.0
    chance = Chance((share - spent) / max(1, len(random)), 1 if family == "each" else 2)
    parts = _parts(sketch, sets, degrees, chance, method)
    change = np.sum([part.estimate for part in parts], axis=0)
    epsilon = np.sum([part.epsilon for part in parts], axis=0) + _arithmetic(sketch, degrees, sets)
    if decay is not None:
        beyond = _truncation(sketch, sets, degree, decay, spent)
        _require_convergence(sketch.name, convergence)
        epsilon = epsilon + beyond
    if not np.isfinite(epsilon).all():
        hint = "sketch with more directions, or ask for a lower degree or a larger delta"
        raise EstimationError(f"{sketch.name}: too few directions for a finite bound at delta={delta:g}", hint=hint)
    shape, numeric = (len(sets), *sketch.base.shape), _numeric(sketch, sets, degrees, chance, rounding)
    return Bound(
        estimate=sketch.base + change.reshape(shape),
        epsilon=outward((epsilon + (0.0 if numeric is None else numeric)).reshape(shape)),
        delta=delta,
        family=family,
        degree=degree,
        method="certified: " + "; ".join(f"degree {r} {part.method}" for r, part in zip(degrees, parts, strict=True)),
        covers=("sampling", *(("rounding",) if numeric is not None else ()), *(("truncation",) if decay else ())),
        sampling="bounded" if random else "exact",
        assumptions=_assumptions(
            degree, decay, _of_rounding(rounding, numeric), family, convergence, sampled=bool(random)
        ),
        convergence=convergence,
    )


def _random_degrees(sketch: Sketched, degrees: Sequence[int]) -> list[int]:
    """Those that spend delta; a certified bound of them needs directions that nobody chose."""
    random = [r for r in degrees if sketch.source(r).is_random(r)]
    if random and not sketch.is_random:
        message = f"{sketch.name}: its directions were given explicitly, so no bound is certified"
        raise EstimationError(message, hint="sketch with directions=, a number of random ones")
    for r in random:
        sketch.source(r).require_bound(r, sketch.name)
    return random


def _parts(sketch: Sketched, sets: Array, degrees: Sequence[int], chance: Chance, method: Method) -> list[Part]:
    found: list[Part] = []
    for source in dict.fromkeys(sketch.source(r) for r in degrees):
        found += source.parts(sets, [r for r in degrees if sketch.source(r) is source], chance, method)
    return found


def _arithmetic(sketch: Sketched, degrees: Sequence[int], sets: Array) -> Array:
    """Room for the rounding of the predictions' own arithmetic: a share of the largest that each degree can be."""
    length, total = np.linalg.norm(sets, axis=1), np.zeros((len(sets), sketch.base.size))
    for r in degrees:
        if (found := sketch.sizes(r)) is not None:
            total += _ROOM * np.outer(length**r, found.norm)
    return total


def _require_convergence(name: str, convergence: Convergence) -> None:
    if (verdict := convergence.worst) != CONVERGING:
        raise EstimationError(
            f"{name}: no bound covers the truncation here, for the series is {verdict} at this deletion. {convergence}",
            hint="delete fewer units at once, retrain, or ask for a bound of the degree's part alone (no decay)",
        )


def _truncation(sketch: Sketched, sets: Array, degree: int, decay: float, delta: float) -> Array:
    this, following = sketch.sizes(degree), sketch.sizes(degree + 1)
    if this is None or (wrong := objection(this, following, degree, decay)):
        wrong = wrong if this is not None else "nothing was measured that it could start from"
        hint = "declare a slower decay, sketch one degree more, or declare none: then truncation is not covered"
        raise EstimationError(f"{sketch.name}: the declared decay is refused: {wrong}", hint=hint)
    found = truncation(this.above(delta), degree, (sets**2).sum(1), decay)
    if not np.isfinite(found).all():
        message = f"with a decay of {decay:g} the series need not converge for {sets.sum(1).max():g} units"
        raise EstimationError(f"{sketch.name}: {message}", hint="delete fewer units at once, or declare no decay")
    return found


def _numeric(
    sketch: Sketched, sets: Array, degrees: Sequence[int], chance: Chance, rounding: float | Differences | None
) -> Array | None:
    """How far rounding moves the interval, ``[sets, E]``; None where that is not known of all of it."""
    if not isinstance(rounding, Differences):
        return None if rounding is None else np.asarray(rounding)
    found = numeric_epsilon(sketch.source, sets, rounding, degrees=degrees, chance=chance)
    return found if np.isfinite(found).all() else None


def _of_rounding(rounding: float | Differences | None, numeric: Array | None) -> str:
    """What a bound says of rounding."""
    if numeric is None:
        known = "" if rounding is None else " What a replay measured does not tell how far they move this interval."
        return f"Rounding errors of the training and of the sketch are not covered.{known}"
    most = float(numeric.max(initial=0))
    if isinstance(rounding, Differences):
        return (
            f"Rounding errors amount to {most:.3g} at most: a replay of the training in float64 measured those of the "
            "numbers that it made again, which stand for all, and this is what they can do to the interval."
        )
    return f"Rounding errors amount to {most:g} at most: that is declared; a replay in float64 measures them."


def _assumptions(
    degree: int,
    decay: float | None,
    rounding: str,
    family: Family,
    convergence: Convergence,
    *,
    sampled: bool,
) -> tuple[str, ...]:
    found = ["The model was trained as its recipe says; a replay of the training checks that."]
    if sampled:
        found.append(
            "The deletion and the probe were chosen without looking at the random directions or at numbers found with "
            "them, and these directions, made from the recipe's digest and a committed salt, are as good as random."
        )
        found.append(_FAMILIES[family])
    found.append(rounding)
    if decay is None:
        found.append(
            f"What is bounded is the part of the change up to degree {degree} in the weights of the deleted data. "
            "Parts of higher degrees are not covered."
        )
    else:
        found.append(
            f"The size of each further degree's part is at most {decay:g} times that of the one before: the policy "
            "declares that for all degrees; the stability profile shows what was measured for the lowest."
        )
    return (*found, str(convergence))
