"""Bounds: how far a prediction may be off, with which probability, what that covers, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.averaging import Method
from unlearnkit.estimation.certified import Part, averaged, projected_first, swept_first, swept_second, truncation
from unlearnkit.estimation.constants import outward
from unlearnkit.estimation.first_order import FirstOrder
from unlearnkit.estimation.projection import DirectionSource, Projection, inner_products
from unlearnkit.estimation.reverse import ReverseSketch
from unlearnkit.estimation.stability import Size, contradiction

Array = np.ndarray[Any, Any]


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
    def coefficients(self) -> Array:
        """``[directions, degree, *P]``."""
        ...

    @property
    def directions(self) -> DirectionSource:
        """That the coefficients belong to."""
        ...

    @property
    def projection(self) -> Projection:
        """On the directions."""
        ...

    @property
    def first_order(self) -> FirstOrder:
        """What the forward sketch knows of the gradient."""
        ...

    @property
    def reverse(self) -> ReverseSketch | None:
        """What reverse sweeps found out."""
        ...

    @property
    def swept(self) -> int:
        """Degrees that they answer for."""
        ...

    @property
    def is_random(self) -> bool:
        """Whether nobody chose the directions."""
        ...

    def stability(self) -> list[Size]:
        """How large each degree's part is."""
        ...


# Far more than float64 loses in a prediction, far less than matters.
_ROOM = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """``|truth - estimate| <= epsilon`` in every element, but for probability ``delta``, as far as ``covers`` says.

    estimate, epsilon: ``[*P]``, or ``[sets, *P]`` for many sets, each of which has its own delta. degree: the highest
    that the estimate uses. method: begins with "certified" or "audited". covers: of "sampling", "rounding" and
    "truncation". assumptions: in plain words.
    """

    estimate: Array
    epsilon: Array
    delta: float
    degree: int
    method: str
    covers: tuple[str, ...]
    assumptions: tuple[str, ...]


def certified_bound(  # the settings of Sketch.bound
    sketch: Sketched,
    sets: Array,
    *,
    delta: float,
    method: Method,
    degree: int,
    decay: float | None,
    rounding: float | None,
) -> Bound:
    """See `Sketch.bound`. sets: ``[sets, units]``; arrays of the result are ``[sets, *P]``."""
    parts = _parts(sketch, sets, degree, delta, method)
    change = np.sum([part.estimate for part in parts], axis=0)
    epsilon = np.sum([part.epsilon for part in parts], axis=0) + _arithmetic(parts, sets)
    if decay is not None:
        if wrong := contradiction(sketch.stability(), decay):
            hint = "declare a slower decay, or do not declare one: then the bound does not cover truncation"
            raise EstimationError(
                f"{sketch.name}: the declared decay is contradicted by the sketch: {wrong}", hint=hint
            )
        epsilon = epsilon + truncation(parts[-1].norm, degree, (sets**2).sum(1), decay)
        if not np.isfinite(epsilon).all():
            message = (
                f"{sketch.name}: with a decay of {decay:g} the series need not converge for {sets.sum(1).max():g} units"
            )
            raise EstimationError(message, hint="delete fewer units at once, or declare no decay")
    shape = (len(sets), *sketch.base.shape)
    return Bound(
        estimate=sketch.base + change.reshape(shape),
        epsilon=outward(epsilon.reshape(shape) + (rounding or 0.0)),
        delta=delta,
        degree=degree,
        method="certified: " + "; ".join(f"degree {r} {part.method}" for r, part in enumerate(parts, start=1)),
        covers=("sampling", *(("rounding",) if rounding is not None else ()), *(("truncation",) if decay else ())),
        assumptions=_assumptions(degree, decay, rounding, sampled=any(part.epsilon.any() for part in parts)),
    )


def _arithmetic(parts: Sequence[Part], sets: Array) -> Array:
    """Room for the rounding of the predictions' own arithmetic: a share of the largest that each degree can be."""
    length = np.linalg.norm(sets, axis=1)
    return np.asarray(_ROOM * sum(np.outer(length**r, part.norm) for r, part in enumerate(parts, start=1)))


def _parts(sketch: Sketched, sets: Array, degree: int, delta: float, method: Method) -> list[Part]:
    """Delta is shared by the elements of the probe and the degrees whose parts are random."""
    reverse, swept = sketch.reverse, sketch.swept
    random = [r for r in range(1, degree + 1) if r > 1 or not (swept or sketch.projection.is_exact)]
    share = delta / max(1, sketch.base.size * len(random))
    if random:
        _require_directions(sketch, random)
    parts: list[Part] = []
    products = inner_products(sketch.directions, sets).conj() if degree > max(1, swept) else None
    for r in range(1, degree + 1):
        if reverse is not None and r <= swept:
            parts.append(swept_first(reverse, sets) if r == 1 else swept_second(reverse, sets, share, method))
        elif r == 1:
            parts.append(projected_first(sketch.first_order, sets, share))
        else:
            assert products is not None  # noqa: S101  of a degree above those that were swept
            flat = sketch.coefficients[:, r - 1].reshape(sketch.directions.count, -1)
            parts.append(averaged(products, flat, sets, r, share, method))
    return parts


def _require_directions(sketch: Sketched, degrees: Sequence[int]) -> None:
    """A certified bound needs directions that nobody chose."""
    if not sketch.is_random:
        hint = "sketch with directions=, a number of random ones"
        raise EstimationError(
            f"{sketch.name}: its directions were given explicitly, so no bound is certified", hint=hint
        )
    for r in degrees:
        left = (
            len(sketch.reverse.residual)
            if sketch.reverse is not None and r <= sketch.swept
            else sketch.directions.count
        )
        if not left:
            what = "directions for the rest (Reverse.directions)" if r <= sketch.swept else "random directions"
            raise EstimationError(
                f"{sketch.name}: degree {r} has no certified bound: the bundle has no {what}",
                hint=f"sketch with some, or ask for degree={r - 1}" if r > 1 else "sketch with some",
            )


def _assumptions(degree: int, decay: float | None, rounding: float | None, *, sampled: bool) -> tuple[str, ...]:
    found = ["The model was trained as its recipe says; a replay of the training checks that."]
    if sampled:
        found.append(
            "The deletion and the probe were chosen without looking at the random directions or at numbers found with "
            "them, and these directions, made from the recipe's digest and a committed salt, are as good as random."
        )
    if rounding is None:
        found.append("Rounding errors of the training and of the sketch are not covered.")
    else:
        found.append(
            f"Rounding errors amount to {rounding:g} at most: that is declared; a replay in float64 measures them."
        )
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
    return tuple(found)
