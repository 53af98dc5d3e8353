"""Predictions: what a probe would be had some units been left out of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias, get_args

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.averaging import Method
from unlearnkit.estimation.bound import Bound, certified_bound
from unlearnkit.estimation.choice import choose
from unlearnkit.estimation.estimators import averaged_term
from unlearnkit.estimation.first_order import MINIMUM_NORM, FirstOrder
from unlearnkit.estimation.projection import DirectionSource, Projection, inner_products
from unlearnkit.estimation.reverse import ReverseSketch
from unlearnkit.estimation.stability import Size, profile

Array = np.ndarray[Any, Any]
Unit: TypeAlias = str | int
Delete: TypeAlias = Iterable[Unit] | Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """The estimate of one degree's part of the change. Arrays ``[*P]``, or ``[sets, *P]`` for many sets."""

    degree: int
    value: Array
    standard_error: Array
    used: Array  # bool
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A probe without some units' data. Arrays ``[*P]``, or ``[sets, *P]`` when many sets were asked at once.

    Attributes:
        value: base + change, in the probe's unit.
        base: the probe of the trained model.
        change: what the deletion does to it.
        standard_error: of the terms that were used, over the randomness of the directions; asymptotic, not a certified
            bound, and silent about terms that were not used and degrees beyond the last one.
        terms: all degrees that were estimated, used or not.
        explanation: the same choice in words.

    Example:
        >>> prediction = bundle.probe("test_loss").predict(["ann"])
        >>> bool(prediction.value == prediction.base + prediction.change)
        True
        >>> [term.degree for term in prediction.terms]
        [1, 2]

    """

    value: Array
    base: Array
    change: Array
    standard_error: Array
    terms: tuple[Term, ...]
    explanation: str


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
    is_random: bool = True

    def __post_init__(self) -> None:
        expected = (self.directions.count, *self.coefficients.shape[1:2], *self.base.shape)
        if self.coefficients.ndim < 2 or self.coefficients.shape != expected:
            raise ValueError(
                f"{self.name}: coefficients have shape {self.coefficients.shape}, expected [directions, degree, *P] "
                f"with {self.directions.count} directions and P = {self.base.shape}"
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
        forward = int(self.coefficients.shape[1]) if self.directions.count else int(self.slopes is not None)
        return max(forward, self.swept)

    @property
    def swept(self) -> int:
        """How many of the lowest degrees reverse sweeps answer for."""
        return 0 if self.reverse is None else 2 if self.reverse.rank else 1

    def influences(self) -> Array:
        """First-order effect of deleting each unit alone: real ``[units, *P]``.

        Exact after reverse sweeps, or when 2 x directions >= units; otherwise the minimum-norm gradient that explains
        the sketch.
        """
        if self.reverse is not None:
            return self.reverse.gradient.T.reshape(-1, *self.base.shape)
        self._checked_degree(1)
        return self.first_order.influences()

    def predict(
        self, delete: Delete, *, weight: float = 1.0, degree: int | None = None, unbiased: bool = False
    ) -> Prediction:
        """Predict the probe without these units.

        Args:
            delete: unit names; or for many sets at once an array ``[sets, units]`` of weights, 0 (kept) to 1 (deleted).
            weight: multiplies all of them, so that the term of degree r gets ``weight^r``.
            degree: use the terms 1..degree, whatever their noise. None: degree one, and those above it that help, for
                each set and element of the probe (`unlearnkit.estimation.choice`).
            unbiased: all terms (up to ``degree``), and degree one without the shrinking of the minimum norm: noisier
                than the default, but right on average over directions.

        Raises:
            ValueError: an empty deletion, settings out of range, malformed masks.
            TypeError: not a list of units.
            UnknownNameError: the bundle has no such unit.

        """
        if np.ndim(weight):
            raise ValueError(f"weight: got {weight!r}, expected one number; `curve` takes several")
        _verify_weights("weight", np.asarray(weight, dtype=float))
        sets, single = self._sets(delete)
        terms = self._terms(weight * sets, self._checked_degree(degree), unbiased=unbiased)
        forced = unbiased or degree is not None
        used = [np.ones_like(value, dtype=bool) for value, _ in terms] if forced else self._chosen(terms)
        if single:
            terms, used = [(value[0], error[0]) for value, error in terms], [u[0] for u in used]
        return self._prediction(terms, used, unbiased=unbiased, forced=forced)

    def curve(self, delete: Delete, weights: Sequence[float] | Array | None = None) -> tuple[Array, Prediction]:
        """Partial deletion of one set of units: weights, and predictions ``[weights, *P]``.

        All points use the degrees that the full deletion uses, so the curve is a polynomial (the paper's figures 2, 3).

        Args:
            delete: names of one set of units.
            weights: from 0 to 1; None: 21 of them.

        """
        steps = np.linspace(0, 1, 21) if weights is None else np.asarray(weights, dtype=float)
        if steps.ndim != 1:
            raise ValueError(f"weights: got an array of shape {steps.shape}, expected a list of numbers")
        _verify_weights("weights", steps)
        x, single = self._sets(delete)
        if not single:
            raise ValueError(f"curve: got masks for {len(x)} sets, expected the names of one set of units")
        full = self._terms(x, self._checked_degree(None), unbiased=False)
        terms = [tuple(np.multiply.outer(steps**r, array[0]) for array in term) for r, term in enumerate(full, start=1)]
        used = [np.broadcast_to(u, value.shape) for u, (value, _) in zip(self._chosen(full), terms, strict=True)]
        return steps, self._prediction(terms, used, unbiased=False, forced=False)

    def bound(
        self,
        delete: Delete,
        delta: float,
        *,
        method: Method = "catoni",
        degree: int | None = None,
        decay: float | None = None,
        rounding: float | None = None,
    ) -> Bound:
        """A certified bound, for all elements together, but for probability ``delta`` (docs/theory.md section 4).

        The estimate is not `predict`'s, but the centre of the interval.

        Args:
            delete: as for `predict`.
            delta: chance that any element is outside, above 0 and below 1.
            method: for degrees that are averaged.
            degree: of what is bounded; None: the degrees that reverse sweeps answered for, otherwise 1.
            decay: declares ``||f_(r+1)|| <= decay ||f_r||`` from that degree on, which covers the truncation.
            rounding: declared size of rounding errors, in the probe's unit.

        Raises:
            EstimationError: too few directions, with the number that would do; directions that are not random; a decay
                that the sketch contradicts.

        """
        if not 0 < delta < 1:
            raise ValueError(f"delta={delta}: expected a probability, above 0 and below 1")
        if decay is not None and not 0 < decay < 1:
            raise ValueError(f"decay={decay}: expected a factor above 0 and below 1")
        if rounding is not None and not 0 <= rounding < np.inf:
            raise ValueError(f"rounding={rounding}: expected a size, not negative")
        if method not in get_args(Method):
            raise ValueError(f"method={method!r}: expected one of {', '.join(get_args(Method))}")
        self._checked_degree(degree)
        sets, single = self._sets(delete)
        found = certified_bound(
            self,
            sets,
            delta=delta,
            method=method,
            degree=degree or max(1, self.swept),
            decay=decay,
            rounding=rounding,
        )
        return replace(found, estimate=found.estimate[0], epsilon=found.epsilon[0]) if single else found

    def stability(self) -> list[Size]:
        """How large each degree's part is, as far as the sketch tells (`unlearnkit.estimation.stability`)."""
        return profile(self.coefficients, self.directions.units, self.reverse)

    def _checked_degree(self, degree: int | None) -> int:
        if not self.degree:
            hint = "sketch it along directions, or with reverse= or informed="
            raise EstimationError(f"{self.name!r}: the bundle has its base only, no sketch of it", hint=hint)
        if degree is not None and not 1 <= degree <= self.degree:
            raise ValueError(f"degree={degree}: the sketch of {self.name!r} has degrees 1 to {self.degree}")
        return degree or self.degree

    def _sets(self, delete: Delete) -> tuple[Array, bool]:
        """Downweights ``[sets, units]``, and whether a single set was asked for by its names."""
        if isinstance(delete, np.ndarray) and (delete.ndim != 1 or delete.dtype.kind in "bfc"):
            return _masks(delete, self.directions.units), False
        if isinstance(delete, (str, bytes, int)):
            raise TypeError(f"delete={delete!r}: expected a list of units")
        names = list(delete)
        if not names:
            raise ValueError("delete: no units were named; without a deletion the prediction is the base")
        sets = np.zeros((1, self.directions.units))
        sets[0, self.resolve(names)] = 1
        return sets, True

    @cached_property
    def first_order(self) -> FirstOrder:
        """What the forward sketch knows of the gradient."""
        return FirstOrder(self.projection, self.coefficients[:, 0], self.slopes)

    def _terms(self, sets: Array, degree: int, *, unbiased: bool) -> list[tuple[Array, Array]]:
        """Estimates and standard errors ``[sets, *P]`` of the terms 1..degree."""
        terms = self._swept_terms(sets, unbiased=unbiased)[:degree]
        products = None if degree <= max(1, len(terms)) else inner_products(self.directions, sets)
        if not terms:
            terms.append(self.first_order.term(sets, products, unbiased=unbiased))
        if products is not None:
            units, h = self.directions.units, products.conj()
            lowest = len(terms) + 1
            terms.extend(averaged_term(h, self.coefficients[:, r - 1], units, r) for r in range(lowest, degree + 1))
        return terms

    def _swept_terms(self, sets: Array, *, unbiased: bool) -> list[tuple[Array, Array]]:
        """The terms that reverse sweeps answer for."""
        if self.reverse is None:
            return []
        first = self.reverse.first_order(sets)
        terms = [(first, np.zeros_like(first))]
        if self.reverse.rank:
            terms.append(self.reverse.second_order(sets, unbiased=unbiased))
        shape = (len(sets), *self.base.shape)
        return [(value.reshape(shape), error.reshape(shape)) for value, error in terms]

    def _chosen(self, terms: Sequence[tuple[Array, Array]]) -> list[Array]:
        return choose(terms, self.directions.units, self.directions.count, given=max(1, self.swept))

    def _prediction(
        self, terms: Sequence[tuple[Array, ...]], used: Sequence[Array], *, unbiased: bool, forced: bool
    ) -> Prediction:
        change = np.sum([np.where(u, value, 0) for (value, _), u in zip(terms, used, strict=True)], axis=0)
        variance = np.sum([np.where(u, error, 0) ** 2 for (_, error), u in zip(terms, used, strict=True)], axis=0)
        records = tuple(
            Term(degree=r, value=value, standard_error=error, used=u, method=self._method(r, unbiased=unbiased))
            for r, ((value, error), u) in enumerate(zip(terms, used, strict=True), start=1)
        )
        return Prediction(
            value=self.base + change,
            base=np.broadcast_to(self.base, change.shape)[()],
            change=change,
            standard_error=np.sqrt(variance),
            terms=records,
            explanation=_explanation(records, forced=forced),
        )

    def _method(self, degree: int, *, unbiased: bool) -> str:
        if degree <= self.swept:
            rank = self.reverse.rank if self.reverse else 0
            return "exact, by reverse sweeps" if degree == 1 else f"{rank} eigenpairs, by reverse sweeps"
        if degree > 1:
            return f"average over {self.directions.count} directions"
        return self.first_order.method(unbiased=unbiased)


def _masks(delete: Array, units: int) -> Array:
    if delete.ndim != 2 or delete.shape[1] != units:
        raise ValueError(f"delete: got masks of shape {delete.shape}, expected [sets, units={units}]")
    if delete.dtype.kind not in "biuf":
        raise TypeError(f"delete: got masks of {delete.dtype}, expected numbers from 0 (kept) to 1 (deleted)")
    masks = delete.astype(float)
    _verify_weights("delete: masks", masks)
    return masks


def _verify_weights(name: str, weights: Array) -> None:
    wrong = weights[~((weights >= 0) & (weights <= 1))]  # NaN compares as false
    if wrong.size:
        raise ValueError(f"{name}: got {wrong.flat[0]}, expected numbers from 0 (kept) to 1 (deleted)")


def _explanation(terms: Sequence[Term], *, forced: bool) -> str:
    parts = [f"Degree {term.degree} ({term.method}): {_share(term.used)}." for term in terms]
    if any(np.isnan(term.standard_error).any() for term in terms):
        parts.append("A standard error of NaN is not known: no random directions were sketched that could tell.")
    if forced:
        parts.append("The degrees are those that were asked for.")
    elif len(terms) > 1:
        parts.append(
            "A degree above one is used where the sketch has more measurements than the term has dimensions, or where "
            "its estimate stands out of its own noise so far that using it is hardly ever a mistake."
        )
    if terms[0].method.startswith(MINIMUM_NORM):
        parts.append(
            "The standard error of degree 1 supposes that the deletion is no better aligned with the gradient than a "
            "random one; for a more coherent one it is too small."
        )
    parts.append(
        "Standard errors are asymptotic, over the randomness of the directions, and cover the terms that are used; "
        "they say nothing about terms left out and higher degrees."
    )
    return " ".join(parts)


def _share(used: Array) -> str:
    count = int(np.count_nonzero(used))
    if count in (0, np.size(used)):
        return "used" if count else "left out"
    return f"used for {count} of {np.size(used)} numbers, left out for the others"
