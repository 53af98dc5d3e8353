"""Predictions: what a probe would be had some units been left out of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from unlearnkit.verifier.estimators import averaged_term, typical_size
from unlearnkit.verifier.projection import (
    DirectionSource,
    Projection,
    inner_products,
    minimum_norm_error,
    unbiased_error,
)

Array = np.ndarray[Any, Any]
Delete: TypeAlias = Sequence[str | int] | Array

# A term whose noise exceeds its typical size enters only when it stands out of the noise by this many standard errors.
SIGNIFICANT = 4.0


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

    value = base + change. standard_error: of the terms that were used, over the randomness of the directions; asymptotic,
    not a certified bound, and silent about the degrees beyond the last one.
    """

    value: Array
    base: Array
    change: Array
    standard_error: Array
    terms: tuple[Term, ...]
    explanation: str


@dataclass(frozen=True, eq=False)
class Sketch:
    """A probe's power series along random directions.

    base: ``[*P]``, the probe of the trained model. coefficients: ``c_{j,r}``, complex ``[directions, degree, *P]``.
    """

    name: str
    base: Array
    coefficients: Array
    directions: DirectionSource
    resolve: Callable[[Sequence[str | int]], Array]  # unit names -> positions
    shared_projection: Callable[[], Projection]  # one for all probes of a bundle

    @property
    def degree(self) -> int:
        """Highest degree that was sketched."""
        return self.coefficients.shape[1]

    @cached_property
    def gradient(self) -> Array:
        """``g_P`` ``[units, *P]``: the gradient over downweights, projected on the directions."""
        return self.shared_projection().gradient(self.coefficients[:, 0])

    def influences(self) -> Array:
        """First-order effect of deleting each unit alone: ``[units, *P]``, exact when 2 x directions >= units."""
        return self.gradient

    def predict(
        self, delete: Delete, *, weight: float = 1.0, degree: int | None = None, unbiased: bool = False
    ) -> Prediction:
        """Predict the probe without these units.

        delete: unit names; or for many sets at once an array ``[sets, units]`` of weights (1: deleted, 0: kept).
        weight: 1 deletes, 0 keeps, between: partly (the term of degree r gets ``weight^r``).
        degree: use the terms 1..degree whatever their noise; None: choose for each question and element (``_choose``).
        unbiased: the unbiased estimate of all terms (up to ``degree``), noisier than the default.

        Raises UnknownNameError for unknown units, ValueError for an empty deletion or settings out of range.
        """
        if degree is not None and not 1 <= degree <= self.degree:
            raise ValueError(f"degree={degree}, but the sketch has degrees 1 to {self.degree}")
        if not 0 <= weight <= 1:
            raise ValueError(f"weight={weight}, expected a number from 0 (keep) to 1 (delete)")
        sets, single = self._sets(delete)
        terms = self._terms(weight * sets, degree or self.degree, unbiased=unbiased)
        forced = unbiased or degree is not None
        used = [np.ones_like(value, dtype=bool) for value, _ in terms] if forced else self._choose(weight * sets, terms)
        return self._prediction(terms, used, single=single, unbiased=unbiased, forced=forced)

    def curve(self, delete: Sequence[str | int], weights: Sequence[float] | None = None) -> tuple[Array, Prediction]:
        """Partial deletion: weights (None: 21 from 0 to 1) and predictions ``[weights, *P]``, at the degrees that the
        full deletion uses (the paper's figures 2 and 3)."""
        steps = np.linspace(0, 1, 21) if weights is None else np.asarray(weights, dtype=float)
        x = np.zeros((1, self.directions.units))
        x[0, self.resolve(delete)] = 1
        used = self._choose(x, self._terms(x, self.degree, unbiased=False))
        terms = self._terms(steps[:, None] * x, self.degree, unbiased=False)
        chosen = [np.broadcast_to(u, value.shape) for u, (value, _) in zip(used, terms, strict=True)]
        return steps, self._prediction(terms, chosen, single=False, unbiased=False, forced=False)

    def _sets(self, delete: Delete) -> tuple[Array, bool]:
        """Downweights ``[sets, units]``, and whether a single set was asked for by its names."""
        units = self.directions.units
        if isinstance(delete, np.ndarray) and delete.ndim == 2:
            sets = delete.astype(float)
            if sets.shape[1] != units:
                raise ValueError(f"delete: got masks of shape {delete.shape}, expected [sets, units={units}]")
            if not ((sets >= 0) & (sets <= 1)).all():
                raise ValueError("delete: masks must hold numbers from 0 (keep) to 1 (delete)")
            return sets, False
        if isinstance(delete, (str, bytes)):
            raise TypeError(f"delete={delete!r}: expected a list of units, got one text")
        if len(delete) == 0:
            raise ValueError("delete: no units were named; without a deletion the prediction is the base")
        sets = np.zeros((1, units))
        sets[0, self.resolve(list(delete))] = 1
        return sets, True

    def _terms(self, sets: Array, degree: int, *, unbiased: bool) -> list[tuple[Array, Array]]:
        """Estimates and standard errors ``[sets, *P]`` of the terms 1..degree."""
        products = inner_products(self.directions, sets)
        terms = [self._first_order(sets, products, unbiased=unbiased)]
        for r in range(2, degree + 1):
            terms.append(averaged_term(products.conj(), self.coefficients[:, r - 1], self.directions.units, r))
        return terms

    def _first_order(self, sets: Array, products: Array, *, unbiased: bool) -> tuple[Array, Array]:
        projection = self.shared_projection()
        value = np.tensordot(sets, self.gradient, axes=1)
        if projection.is_exact:
            return value, np.zeros_like(value)
        length, measured, units = (sets**2).sum(1), projection.measurements, self.directions.units
        if unbiased:
            value = value * (units / measured)
            return value, unbiased_error(value, self.gradient, length, measured, units)
        return value, minimum_norm_error(self.gradient, length, projection.seen_length(products), measured)

    def _choose(self, sets: Array, terms: list[tuple[Array, Array]]) -> list[Array]:
        """Which terms help, for each set and element: bias against variance, from the sketch's own numbers.

        Degree one always. Degree r >= 2 where its standard error is below what the term is expected to remove, that is

        - below the term's typical size over all orientations of the deletion, which the stored coefficients tell; or
        - the deletion is evidently coherent: the estimate stands out by ``SIGNIFICANT`` standard errors, and the noise
          is below the change that the lower degrees give (a series that converges has terms that shrink).
        """
        length = (sets**2).sum(1)
        used = [np.ones_like(terms[0][0], dtype=bool)]
        so_far = terms[0][0].copy()
        for r, (value, error) in enumerate(terms[1:], start=2):
            expected = error <= typical_size(self.coefficients[:, r - 1], length, r)
            coherent = (np.abs(value) >= SIGNIFICANT * error) & (error <= np.abs(so_far))
            used.append(expected | coherent)
            so_far += np.where(used[-1], value, 0)
        return used

    def _prediction(
        self, terms: list[tuple[Array, Array]], used: list[Array], *, single: bool, unbiased: bool, forced: bool
    ) -> Prediction:
        change = sum(np.where(u, value, 0) for (value, _), u in zip(terms, used, strict=True))
        variance = sum(np.where(u, error, 0) ** 2 for (_, error), u in zip(terms, used, strict=True))
        base = np.asarray(self.base, dtype=float)

        def shaped(array: Array) -> Array:
            return array[0] if single else array

        records = tuple(
            Term(
                degree=r,
                value=shaped(value),
                standard_error=shaped(error),
                used=shaped(u),
                method=self._method(r, unbiased=unbiased),
            )
            for r, ((value, error), u) in enumerate(zip(terms, used, strict=True), start=1)
        )
        return Prediction(
            value=shaped(base + change),
            base=base,
            change=shaped(np.asarray(change)),
            standard_error=shaped(np.sqrt(variance)),
            terms=records,
            explanation=_explanation(records, forced=forced),
        )

    def _method(self, degree: int, *, unbiased: bool) -> str:
        if degree > 1:
            return f"average over {self.directions.count} directions"
        projection = self.shared_projection()
        if projection.is_exact:
            return "exact, by projection"
        kind = "unbiased" if unbiased else "minimum norm"
        return f"{kind}, by projection on {projection.measurements} of {self.directions.units} dimensions"


def _explanation(terms: Sequence[Term], *, forced: bool) -> str:
    parts = []
    for term in terms:
        share = float(np.mean(term.used)) if term.used.size else 0.0
        how = "used" if share == 1 else "left out" if share == 0 else f"used for {share:.0%} of the numbers"
        parts.append(f"degree {term.degree} ({term.method}): {how}")
    why = (
        "as asked"
        if forced
        else "a degree above one is used only where its noise is below what it is expected to remove"
    )
    note = "standard errors are asymptotic, of the terms used, and do not cover the degrees left out"
    return "; ".join(parts) + f". Chosen: {why}. The {note}."
