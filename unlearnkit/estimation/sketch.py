"""A probe's sketch: predicts what the probe would be had some units been left out of training, and bounds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.alone import Alone
from unlearnkit.estimation.bound import Bound, Family, certified_bound
from unlearnkit.estimation.choice import choose
from unlearnkit.estimation.convergence import Convergence, judge
from unlearnkit.estimation.estimate import Estimate, Method, Source
from unlearnkit.estimation.explanation import explain
from unlearnkit.estimation.forward import Forward
from unlearnkit.estimation.prediction import Prediction, Term
from unlearnkit.estimation.projection import DirectionSource, Projection
from unlearnkit.estimation.question import Delete, Unit, deletions, many_deletions, many_weights, one_weight
from unlearnkit.estimation.reverse import ReverseSketch
from unlearnkit.estimation.rounding import Differences
from unlearnkit.estimation.sets import Sets, dense, lengths, touched
from unlearnkit.estimation.solo import SoloSeries
from unlearnkit.estimation.span import Span
from unlearnkit.estimation.stability import Profile, Sizes, profile
from unlearnkit.estimation.swept import Swept
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Sketch:
    """A probe's power series along random directions, and what else is known of it. ``bundle.probe`` gives one.

    Attributes:
        name: of the probe.
        base: ``[*P]``, the probe of the trained model.
        coefficients: ``c_{j,r}``, complex ``[directions, degree, *P]``.
        projection: on the directions; one for all probes of a bundle.
        resolve: from unit names to positions.
        slopes: the gradient along the projection's informed basis, ``[q, *P]``, where it has one.
        reverse: what reverse sweeps found out; it takes the place of the lowest degrees of the forward sketch.
        solo: series along units alone; exact for these, and at the diagonals of every degree.
        span: forms of the degrees above one on the span of informed directions, where nothing else has these.
        is_random: whether the directions were drawn at random; no bound is certified for others.

    Example:
        >>> sketch = bundle.probe("test_loss")
        >>> sketch.influences().shape  # of each unit alone, at first order
        (5,)
        >>> sketch.bound(["ann"], delta=0.05).covers
        ('sampling',)

    """

    name: str
    base: Array
    coefficients: Array
    projection: Projection
    resolve: Callable[[Sequence[Unit]], Array]
    slopes: Array | None = None
    reverse: ReverseSketch | None = None
    solo: SoloSeries | None = None
    span: Span | None = None
    is_random: bool = True

    def __post_init__(self) -> None:
        expected = (self.directions.count, *self.coefficients.shape[1:2], *self.base.shape)
        if self.coefficients.ndim < 2 or self.coefficients.shape != expected:
            raise ValueError(
                f"{self.name}: coefficients have shape {self.coefficients.shape}, expected [directions, degree, *P] "
                f"with {counted(self.directions.count, 'direction')} and P = {self.base.shape}"
            )

    def __repr__(self) -> str:
        count, units = self.directions.count, self.directions.units
        return f"Sketch({self.name!r}, shape={self.base.shape}, {units=}, directions={count}, degree={self.degree})"

    @property
    def directions(self) -> DirectionSource:
        """The directions that the coefficients belong to."""
        return self.projection.source

    @property
    def degree(self) -> int:
        """Highest degree that was sketched; 0 for a probe that nothing is known of but its base."""
        return max(source.degree for source in self.sources)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """What answers, the best first: for each degree the first of these that has it."""
        elements = self.base.size
        slopes = None if self.slopes is None else self.slopes.reshape(-1, elements)
        coefficients = self.coefficients.reshape(*self.coefficients.shape[:2], elements)
        forward = Forward(self.projection, coefficients, slopes)
        others = (forward,) if self.reverse is None else (Swept(self.reverse), forward)
        if self.solo is None and self.span is None:
            return others
        done = 0 if self.reverse is None else self.reverse.degree
        series = self.solo or SoloSeries.none(elements)
        return (Alone(series, others, elements, self.directions.units, done, self.span),)

    def of(self, elements: Array) -> Sketch:
        """The sketch of some elements of a probe ``[P]``, in this order."""
        return replace(
            self,
            base=self.base[elements],
            coefficients=self.coefficients[:, :, elements],
            slopes=None if self.slopes is None else self.slopes[:, elements],
            reverse=None if self.reverse is None else self.reverse.of(elements),
            solo=None if self.solo is None else self.solo.of(elements),
            span=None if self.span is None else self.span.of(elements),
        )

    def source(self, degree: int) -> Source:
        """What answers for this degree."""
        return next(source for source in self.sources if source.degree >= degree)

    def influences(self) -> Array:
        """First-order effect of deleting each unit alone: real ``[units, *P]``.

        Exact after reverse sweeps, for units with series of their own, and when 2 x directions >= units; otherwise the
        minimum-norm gradient that explains the sketch.
        """
        self._checked_degree(1)
        return self.source(1).influences().reshape(-1, *self.base.shape)

    def predict(
        self, delete: Delete, *, weight: float = 1.0, degree: int | None = None, unbiased: bool = False
    ) -> Prediction:
        """Predict the probe without these units.

        Args:
            delete: unit names; or for many sets at once an array ``[sets, units]`` of weights, 0 (kept) to 1 (deleted).
            weight: multiplies all of them, so that the term of degree r gets ``weight^r``.
            degree: use the terms 1..degree, whatever their noise and whether they converge. None: degree one, and those
                above it that help, for each set and element of the probe (`unlearnkit.estimation.choice`).
            unbiased: all terms (up to ``degree``), and without the shrinking of the minimum norm: noisier than
                the default, but right on average over directions.

        Raises:
            ValueError: an empty deletion, settings out of range, malformed masks.
            TypeError: not a list of units.
            UnknownNameError: the bundle has no such unit.

        """
        sets, single = deletions(delete, self.directions.units, self.resolve)
        return self._predicted(one_weight(weight) * sets, degree, unbiased=unbiased, single=single)

    def predict_many(
        self,
        delete: Iterable[Iterable[Unit]],
        *,
        weight: float = 1.0,
        degree: int | None = None,
        unbiased: bool = False,
    ) -> Prediction:
        """`predict` for many sets by their names, at once: thousands a second where reverse sweeps answer.

        Where other sources answer too, the sets take an array ``[sets, units]``.

        Args:
            delete: for each set the names of its units.
            weight: as for `predict`.
            degree: as for `predict`.
            unbiased: as for `predict`.

        Returns:
            A prediction with a row for each set, ``[sets, *P]``.

        Raises:
            ValueError: no set, an empty one, or settings out of range.
            TypeError: not a list of lists of units.
            UnknownNameError: the bundle has no such unit.

        Example:
            >>> bundle.probe("test_loss").predict_many([["ann"], ["bob", "cleo"]]).value.shape
            (2,)

        """
        sets = many_deletions(delete, self.directions.units, self.resolve)
        best = self.sources[0]
        reads_sparse = isinstance(best, Swept) and best.degree == self.degree
        asked = one_weight(weight) * (sets if reads_sparse else dense(sets))
        return self._predicted(asked, degree, unbiased=unbiased, single=False)

    def _predicted(self, sets: Sets, degree: int | None, *, unbiased: bool, single: bool) -> Prediction:
        highest = self._checked_degree(degree)
        series = self._series(sets, max(highest, min(2, self.degree)), unbiased=unbiased)
        forced = unbiased or degree is not None
        used = [np.ones_like(u) for u in series.used] if forced else series.used
        return self._prediction(replace(series, terms=series.terms[:highest], used=used), forced=forced, single=single)

    def curve(self, delete: Delete, weights: Sequence[float] | Array | None = None) -> tuple[Array, Prediction]:
        """Partial deletion of one set of units: weights, and predictions ``[weights, *P]``.

        All points use the degrees that the full deletion uses, so the curve is a polynomial (the paper's figures 2, 3).

        Args:
            delete: names of one set of units.
            weights: from 0 to 1; None: 21 of them.

        """
        steps = many_weights(weights)
        x, single = deletions(delete, self.directions.units, self.resolve)
        if not single:
            raise ValueError(f"curve: got masks for {counted(len(x), 'set')}, expected the names of one set of units")
        full = self._series(x, self._checked_degree(None), unbiased=False)
        terms = [_scaled(term, steps**r) for r, term in enumerate(full.terms, start=1)]
        used = [np.broadcast_to(u, (len(steps), self.base.size)) for u in full.used]
        convergence, _ = self._judged(terms, np.outer(steps, x))
        return steps, self._prediction(_Series(terms, used, convergence), forced=False, single=False)

    def convergence(self, sets: Array) -> Convergence:
        """Whether the series converges for sets ``[sets, units]``: arrays ``[sets, *P]``."""
        series = self._series(sets, self._checked_degree(None), unbiased=False)
        return _shaped(series.convergence, (len(sets), *self.base.shape))

    def bound(
        self,
        delete: Delete,
        delta: float,
        *,
        family: Family = "all",
        method: Method = "catoni",
        degree: int | None = None,
        decay: float | None = None,
        rounding: float | Differences | None = None,
    ) -> Bound:
        """A certified bound, but for probability ``delta`` (docs/theory.md section 4).

        The estimate is not `predict`'s, but the centre of the interval.

        Args:
            delete: as for `predict`.
            delta: chance that what ``family`` says is wrong, above 0 and below 1.
            family: which claims delta is for. "all": that all elements of a set are inside, with another delta for each
                set; for "retrain needed", which picks the largest. "each": each element and side by itself; for
                "negligible", which is wrong only if one particular element is. "everyone": all elements of all sets, so
                ``bound(np.eye(units), delta, family="everyone")`` is about all single people at once.
            method: for degrees that are averaged; two-sided for every family.
            degree: of what is bounded; None: the degrees that reverse sweeps answered for, otherwise 1.
            decay: declares ``||f_(r+1)|| <= decay ||f_r||`` from that degree on, which covers the truncation.
            rounding: what a replay in float64 found different of this probe, propagated to the interval; or a declared
                size of rounding errors, in the probe's unit. What the replay does not tell stays uncovered.

        Raises:
            EstimationError: too few directions, with the number that would do; directions that are not random; a decay
                that the sketch contradicts or could not have contradicted, or where the series does not converge.

        """
        if not 0 < delta < 1:
            raise ValueError(f"delta={delta}: expected a probability, above 0 and below 1")
        if decay is not None and not 0 < decay < 1:
            raise ValueError(f"decay={decay}: expected a factor above 0 and below 1")
        if isinstance(rounding, float | int) and not 0 <= rounding < np.inf:
            raise ValueError(f"rounding={rounding}: expected a size, not negative")
        for name, value, choices in (("method", method, get_args(Method)), ("family", family, get_args(Family))):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: expected one of {', '.join(choices)}")
        self._checked_degree(degree)
        sets, single = deletions(delete, self.directions.units, self.resolve)
        found = certified_bound(
            self,
            sets,
            delta=delta,
            family=family,
            method=method,
            degree=degree or (1 if self.reverse is None else min(2, self.reverse.degree)),
            decay=decay,
            rounding=rounding,
        )
        if not single:
            return found
        convergence = None if found.convergence is None else _shaped(found.convergence, self.base.shape)
        return replace(found, estimate=found.estimate[0], epsilon=found.epsilon[0], convergence=convergence)

    def stability(self) -> Profile:
        """How large each degree's part is, as far as the sketch tells (`unlearnkit.estimation.stability`)."""
        return profile([self.sizes(r) for r in range(1, max(2, self.degree) + 1)])

    def sizes(self, degree: int) -> Sizes | None:
        """How large this degree's part of each element is; None where nothing is known of it."""
        found = (source.sizes(degree) for source in self.sources)
        return next((sizes for sizes in found if sizes is not None), None)

    def _checked_degree(self, degree: int | None) -> int:
        if not self.degree:
            hint = "sketch it along directions, or with reverse= or informed="
            raise EstimationError(f"{self.name!r}: the bundle has its base only, no sketch of it", hint=hint)
        if degree is not None and not 1 <= degree <= self.degree:
            raise ValueError(f"degree={degree}: the sketch of {self.name!r} has degrees 1 to {self.degree}")
        return degree or self.degree

    def _series(self, sets: Sets, degree: int, *, unbiased: bool) -> _Series:
        """The terms 1..degree for sets ``[sets, units]``, where to use them, and whether they converge."""
        terms: list[Estimate] = []
        for source in self.sources:
            terms += source.estimates(sets, range(len(terms) + 1, min(degree, source.degree) + 1), unbiased=unbiased)
        convergence, beyond = self._judged(terms, sets)
        return _Series(terms, choose(terms, beyond), convergence)

    def _judged(self, terms: Sequence[Estimate], sets: Sets) -> tuple[Convergence, list[Array]]:
        inside, units = touched(sets)
        effects = np.sqrt(np.asarray(inside**2 @ self.source(1).influences()[units] ** 2))
        sizes = [self.sizes(r) for r in range(1, max(2, len(terms)) + 1)]
        norms = [np.full(self.base.size, np.nan) if found is None else found.norm for found in sizes]
        return judge(terms, effects, norms, lengths(sets))

    def _prediction(self, series: _Series, *, forced: bool, single: bool) -> Prediction:
        count = len(series.terms[0].value)
        shape = self.base.shape if single else (count, *self.base.shape)
        records = tuple(
            Term(
                degree=r,
                value=term.value.reshape(shape)[()],
                standard_error=term.standard_error.reshape(shape)[()],
                used=used.reshape(shape)[()],
                method=term.method,
            )
            for r, (term, used) in enumerate(zip(series.terms, series.used, strict=False), start=1)
        )
        change = np.sum([np.where(term.used, term.value, 0) for term in records], axis=0)
        variance = np.sum([np.where(term.used, term.standard_error, 0) ** 2 for term in records], axis=0)
        convergence = _shaped(series.convergence, shape)
        return Prediction(
            value=self.base + change,
            base=np.broadcast_to(self.base, change.shape)[()],
            change=change,
            standard_error=np.sqrt(variance),
            convergence=convergence,
            terms=records,
            explanation=explain(records, convergence, forced=forced),
        )


@dataclass(frozen=True, slots=True)
class _Series:
    """Arrays ``[sets, E]``."""

    terms: Sequence[Estimate]
    used: Sequence[Array]
    convergence: Convergence


def _scaled(term: Estimate, factors: Array) -> Estimate:
    """One set's term at several weights."""
    return Estimate(
        value=np.multiply.outer(factors, term.value[0]),
        standard_error=np.multiply.outer(factors, term.standard_error[0]),
        stands_out=np.broadcast_to(term.stands_out, (len(factors), *term.value.shape[1:])),
        method=term.method,
    )


def _shaped(convergence: Convergence, shape: tuple[int, ...]) -> Convergence:
    return Convergence(
        verdict=convergence.verdict.reshape(shape)[()],
        terms=convergence.terms.reshape(shape)[()],
        norms=convergence.norms.reshape(shape)[()],
    )
