"""What series along units alone say, on top of the other sources (docs/theory.md sections 10 and 11).

A single unit's deletion has no cross terms: its series is exact in every degree. Of several units the first order is
exact, if all of them have series; above it their own parts are known, and cross terms if another source has them. Where
none has, the span of informed directions tells their part in it (section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.estimate import Chance, Estimate, Method, Part, Source
from unlearnkit.estimation.solo import SoloSeries
from unlearnkit.estimation.span import Span
from unlearnkit.estimation.stability import Sizes
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]

_EXACT = "exact, by series along units alone"


@dataclass(frozen=True, eq=False)
class Alone:
    """The source of what series along units alone tell of a probe with ``elements`` elements over ``units`` units.

    others: the best first. done: how many of the lowest degrees have the series in them already. span: answers for
    degrees that none of the others has; no bound rests on it.
    """

    series: SoloSeries
    others: tuple[Source, ...]
    elements: int
    units: int
    done: int
    span: Span | None = None

    @property
    def degree(self) -> int:
        """It answers for the degrees 1 to this."""
        spanned = 0 if self.span is None else self.span.degree
        return max(self.series.degree, spanned, *(source.degree for source in self.others))

    def influences(self) -> Array:
        """The gradient as far as it is known, ``[units, E]``."""
        other = self.other(1)
        found = np.zeros((self.units, self.elements)) if other is None else other.influences()
        return found + self.series.beside(found, 1) if self.series.degree and not self.done else found

    def estimates(self, sets: Array, degrees: Sequence[int], *, unbiased: bool) -> list[Estimate]:
        """See `estimate.Source`. EstimationError for units that nothing is known of."""
        others = self._estimates(sets, degrees, unbiased=unbiased)
        if not any(source.degree for source in self.others) and not self.series.listed(sets).all():
            along = counted(len(self.series.units), "unit")
            message = f"the bundle has series along {along} alone, and nothing of others that are deleted here"
            raise EstimationError(message, hint="sketch these units too, or with reverse=, forward= or informed=")
        found = []
        for r in degrees:
            if r not in others and self.span is not None and 1 < r <= self.span.degree:
                found.append(self._on_span(self.span, sets, r))
            else:
                found.append(self._estimate(sets, r, others.get(r), unbiased=unbiased))
        return found

    def parts(self, sets: Array, degrees: Sequence[int], chance: Chance, method: Method) -> list[Part]:
        """See `estimate.Source`. Exact for single units; EstimationError where cross terms have no other bound."""
        others: dict[int, Part] = {}
        for source in self.others:
            mine = [r for r in degrees if r not in others and r <= source.degree]
            others |= dict(zip(mine, source.parts(sets, mine, chance, method), strict=True))
        return [self._part(sets, r, others.get(r)) for r in degrees]

    def is_random(self, degree: int) -> bool:
        """See `estimate.Source`."""
        other = self.other(degree)
        return other is not None and other.is_random(degree)

    def require_bound(self, degree: int, name: str) -> None:
        """See `estimate.Source`."""
        if (other := self.other(degree)) is not None:
            other.require_bound(degree, name)

    def sizes(self, degree: int) -> Sizes | None:
        """See `estimate.Source`."""
        found = (source.sizes(degree) for source in self.others)
        return next((sizes for sizes in found if sizes is not None), None)

    def other(self, degree: int) -> Source | None:
        """What else answers for a degree."""
        return next((source for source in self.others if source.degree >= degree), None)

    def _estimates(self, sets: Array, degrees: Sequence[int], *, unbiased: bool) -> dict[int, Estimate]:
        """What the others say, of the degrees that they answer for."""
        found: dict[int, Estimate] = {}
        for source in self.others:
            mine = [r for r in degrees if r not in found and r <= source.degree]
            found |= dict(zip(mine, source.estimates(sets, mine, unbiased=unbiased), strict=True))
        return found

    def exact(self, sets: Array, degree: int) -> Array:
        """Where the series are all there is to a degree, ``[sets, E]``."""
        return (self.series.complete if degree == 1 else self.series.alone)(sets, self.elements)

    def _estimate(self, sets: Array, degree: int, other: Estimate | None, *, unbiased: bool) -> Estimate:
        if other is not None and (degree > self.series.degree or degree <= self.done):
            return other
        exact = self.exact(sets, degree)
        if degree == 1 and other is not None:
            left = self.series.beside(self._others_influences(), 1)
            error = np.where(exact, 0.0, other.standard_error)
            return replace(
                other, value=other.value + sets @ left, standard_error=error, method=_beside(other.method, exact)
            )
        known = other or _nothing(exact.shape)
        left_out = ~known.stands_out & (other is None or not unbiased)
        mine = exact | (self.series.touched(sets, self.elements) & left_out)
        return Estimate(
            value=np.where(mine, self.series.diagonal(sets, degree, self.elements), known.value),
            standard_error=np.where(mine, np.where(exact, 0.0, np.nan), known.standard_error),
            stands_out=known.stands_out | mine,
            method=_beside(known.method, exact),
        )

    def _on_span(self, span: Span, sets: Array, degree: int) -> Estimate:
        """What lies in the span, but at the diagonal what the series say."""
        value = span.at(sets, degree)
        if degree > self.series.degree:
            return span.estimate(value)
        exact, series = self.exact(sets, degree), self.series.among(sets)
        form = span.at(np.eye(self.units)[series.units], degree)
        known = span.estimate(value + series.instead(form, sets, degree))
        return replace(
            known,
            value=np.where(exact, series.diagonal(sets, degree, self.elements), known.value),
            standard_error=np.where(exact, 0.0, known.standard_error),
            method=_beside(known.method, exact),
        )

    def _others_influences(self) -> Array:
        other = self.other(1)
        return np.zeros((self.units, self.elements)) if other is None else other.influences()

    def _part(self, sets: Array, degree: int, other: Part | None) -> Part:
        if degree > self.series.degree and other is not None:
            return other
        exact = self.exact(sets, degree)
        if other is None and (degree > self.series.degree or not exact.all()):
            message = f"degree {degree} has no certified bound: nothing is known of what units do to one another"
            raise EstimationError(message, hint="sketch with reverse= or forward= too, or ask for single units")
        known = other or Part(estimate=np.zeros(exact.shape), epsilon=np.zeros(exact.shape), method=_EXACT)
        return Part(
            estimate=np.where(exact, self.series.diagonal(sets, degree, self.elements), known.estimate),
            epsilon=np.where(exact, 0.0, known.epsilon),
            method=_EXACT if exact.all() else known.method,
        )


def _nothing(shape: tuple[int, ...]) -> Estimate:
    no = np.zeros(shape)
    unknown = np.full(shape, np.nan)
    return Estimate(value=no, standard_error=unknown, stands_out=no.astype(bool), method="")


def _beside(method: str, exact: Array) -> str:
    """How a degree was found, in words. method: by what else."""
    if exact.all():
        return _EXACT
    own = "series along units alone"
    return f"{method}, and {own}" if method else f"{own}, nothing between units"
