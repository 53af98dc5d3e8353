"""Whether a series converges where it is asked: it shows in the sketch itself (docs/theory.md section 13).

Beyond its radius of convergence a series predicts nonsense with tiny standard errors. Two ratios of neighbouring
degrees are compared with 1, for each element and set:

- of *terms*: ``|f_r(x)|`` over ``|f_(r-1)(x)|``. A term may be small by accident, where people's effects cancel, and
  that alone is no sign of anything. So in the denominator stands, for degree one, no less than the size that the
  effects have one by one, ``|g_D|``, ``|g_D|^2 = sum_u (x_u g_u)^2``; for degree r > 1 no less than ``2^-r`` of degree
  one's; and in each case its standard error is added;
- of *norms*: ``|x| ||f_r||`` over ``||f_(r-1)||``, what the deletions of that size do that are worst for it.

Measured on the digits example (200 people, 40 margins, reverse sweeps of rank 24; root mean square errors of degree one
| degree two | falling back where both ratios are above 1 | where ``|f_2(x)| > |f_1(x)|``): 5 people 0.037 | 0.0119 |
0.0124 | 0.0173; 20 people 0.107 | 0.0473 | 0.0494 | 0.0652; 60 people 0.265 | 0.214 | 0.219 | 0.223.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from unlearnkit.estimation.estimate import Estimate

Array = np.ndarray[Any, Any]

CONVERGING, DOUBTFUL, DIVERGING, UNKNOWN = "converging", "doubtful", "diverging", "unknown"

VERDICTS = (CONVERGING, UNKNOWN, DOUBTFUL, DIVERGING)
"""From the best to the worst."""

_LARGEST = 1.0
_LEAST_RATE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """What the sketch's own numbers say of the series at each deletion. Arrays ``[*P]``, or ``[sets, *P]``.

    verdict: "converging" where no ratio that is known exceeds 1; "doubtful" where one does; "diverging" where both do,
    or the ratio of terms does and nothing is known of norms; "unknown" where nothing is known of either.
    terms, norms: the largest ratios of neighbouring degrees; NaN where not known.
    """

    verdict: Array
    terms: Array
    norms: Array

    @property
    def worst(self) -> str:
        """The worst verdict of any element and set."""
        found = set(np.unique(self.verdict).tolist())
        return next((word for word in reversed(VERDICTS) if word in found), CONVERGING)

    def __str__(self) -> str:
        """In words."""
        counts = {word: int(np.count_nonzero(self.verdict == word)) for word in reversed(VERDICTS)}
        total = int(np.size(self.verdict))
        parts = [
            word if count == total else f"{word} for {count} of {total} numbers"
            for word, count in counts.items()
            if count
        ]
        ratios = [
            f"{name} grow by a factor of {np.nanmax(ratio):.2g} at most from degree to degree"
            for name, ratio in (("terms", self.terms), ("norms", self.norms))
            if np.isfinite(ratio).any()
        ]
        return f"The series is {', '.join(parts)}" + (f" ({'; '.join(ratios)})." if ratios else ".")


def judge(
    terms: Sequence[Estimate], effects: Array, norms: Sequence[Array], lengths: Array
) -> tuple[Convergence, list[Array]]:
    """The verdict for sets and elements, ``[sets, E]``, and for each term whether the series diverges up to it.

    terms: of the degrees 1, 2, ... effects: ``|g_D|``, ``[sets, E]``. norms: ``||f_r||`` of the same degrees, ``[E]``,
    NaN where not known. lengths: ``|x|``, ``[sets]``.
    """
    local, overall = _term_ratios(terms, effects), _norm_ratios(norms, lengths)
    beyond = [np.zeros(effects.shape, dtype=bool)]
    for ratio, norm in zip(local, overall[: len(local)], strict=True):  # norms may be known of one degree more
        beyond.append(beyond[-1] | ((ratio > _LARGEST) & ~(norm <= _LARGEST)))
    largest = [_largest(ratios, effects.shape) for ratios in (local, overall)]
    known = np.any([~np.isnan(ratio) for ratio in largest], axis=0)
    exceeded = np.any([ratio > _LARGEST for ratio in largest], axis=0)
    verdict = np.select([beyond[-1], exceeded, known], [DIVERGING, DOUBTFUL, CONVERGING], UNKNOWN)
    return Convergence(verdict=verdict, terms=largest[0], norms=largest[1]), beyond


def _term_ratios(terms: Sequence[Estimate], effects: Array) -> list[Array]:
    """Of each degree above one to the one before; NaN where all that is known of it is noise."""
    found, first = [], np.maximum(np.abs(terms[0].value), effects)
    before = first + _finite(terms[0].standard_error)
    for degree, term in enumerate(terms[1:], start=2):
        size = np.abs(term.value)
        found.append(np.where(term.stands_out, _ratio(size, before), np.nan))
        before = np.maximum(size, first * _LEAST_RATE**degree) + _finite(term.standard_error)
    return found


def _norm_ratios(norms: Sequence[Array], lengths: Array) -> list[Array]:
    return [np.multiply.outer(lengths, _ratio(following, norm)) for norm, following in pairwise(norms)]


def _ratio(above: Array, below: Array) -> Array:
    """0 where nothing is divided by nothing; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((above == 0) & ~np.isnan(below), 0.0, above / below)


def _finite(error: Array) -> Array:
    """A denominator without what is not known."""
    return np.where(np.isfinite(error), error, 0)


def _largest(ratios: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """Of those that are known."""
    known = [np.where(np.isnan(ratio), -np.inf, ratio) for ratio in ratios]
    found = np.max(known, axis=0) if known else np.full(shape, -np.inf)
    return np.where(found == -np.inf, np.nan, found)
