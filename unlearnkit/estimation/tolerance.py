"""Tolerance intervals: one statement about all deletions of a kind, from real retrainings (docs/theory.md section 5).

N deletions are drawn and retrained; a score is the error of a prediction over the sketch's own scale for that deletion.
The share of all deletions whose score is at most the k-th smallest of the N has the law Beta(k, N-k+1) or more,
whatever scores are distributed like (Wilks 1941). So "at most a share 1 - content lie outside" holds with this
confidence once

    P(Binomial(N, content) >= k) <= 1 - confidence,

and the least such k is taken. It is one statement about a bundle, made once, and serves every question: unlike the
quantile for one question (`unlearnkit.estimation.conformal`) it spends nothing. Deletions of different sizes err by
different amounts of their scales, so each stratum of sizes has draws, rank and score of its own (Mondrian).
Pure functions; content and confidence are taken as the decimals that they print as.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from unlearnkit.errors import AssumptionError, EstimationError
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]


# More retrainings than this nobody does; exact powers of so many decimals would take for ever.
_MOST = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Stratum:
    """Deletions of ``least`` to ``most`` units."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"a stratum of {self.least} to {self.most} units: expected 1 <= least <= most")

    def __str__(self) -> str:
        """In words."""
        return counted(self.least, "unit") if self.least == self.most else f"{self.least} to {self.most} units"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Deletions that were drawn and retrained. Arrays ``[N]``.

    names: what tells each draw from all others, such as the key of its audit and its number; the same draw in two files
    is one draw, the same set drawn twice is two. sizes: units deleted. scores: of one quantity.
    """

    names: tuple[str, ...]
    sizes: Array
    scores: Array

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.sizes) == len(self.scores):
            counts = f"{len(self.names)} names, {len(self.sizes)} sizes, {len(self.scores)} scores"
            raise ValueError(f"draws: got {counts}, expected as many of each")
        if np.isnan(self.scores).any() or (np.asarray(self.scores) < 0).any():
            raise ValueError("draws: a score is NaN or negative; every draw counts, and one that failed as infinite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """At most a share 1 - content of the stratum's deletions have a score above ``score``, with this confidence.

    count: retrained deletions of the stratum, N. rank: k.
    """

    stratum: Stratum
    content: float
    confidence: float
    count: int
    rank: int
    score: float

    def epsilon(self, scale: Array) -> Array:
        """Half-widths of the intervals around predictions, from the sketch's scale for each deletion."""
        return np.asarray(np.nextafter(np.asarray(scale) * self.score * (1 + 1e-12), np.inf))


def tolerance_rank(count: int, content: float, confidence: float) -> int | None:
    """The least k with ``P(Binomial(count, content) >= k) <= 1 - confidence``, in exact arithmetic; None if none is."""
    share, doubt = _share("content", content), 1 - _share("confidence", confidence)
    inside, outside, whole = share.numerator, share.denominator - share.numerator, share.denominator
    allowed, tail, rank = doubt * whole**count, 0, None
    for k in range(count, 0, -1):
        tail += math.comb(count, k) * inside**k * outside ** (count - k)
        if tail > allowed:
            break
        rank = k
    return rank


def retrainings_needed(content: float, confidence: float) -> int:
    """The least N that carries the statement at all, with k = N: ``content^N <= 1 - confidence``.

    59 for 0.95 and 0.95, 22 for 0.9 and 0.9, 299 for 0.99 and 0.95. Far beyond what anybody retrains it is not worked
    out to the last one.
    """
    share, doubt = _share("content", content), 1 - _share("confidence", confidence)
    estimate = math.log(doubt) / math.log1p(-float(1 - share))
    if estimate > _MOST:
        return math.ceil(estimate * (1 + 1e-9))
    count = max(1, math.floor(estimate) - 1)
    while share**count > doubt:
        count += 1
    return count


def tolerance_score(scores: Array, content: float, confidence: float) -> tuple[int, float]:
    """k, and the k-th smallest score. EstimationError, with the number that would do, for too few of them."""
    rank = tolerance_rank(len(scores), content, confidence)
    if rank is None:
        needed = retrainings_needed(content, confidence)
        raise EstimationError(
            f"{counted(len(scores), 'retraining', 'carry')} no statement of content {content} at "
            f"confidence {confidence}",
            hint=f"audit at least {counted(needed, 'deletion')} of this size, or ask for less",
        )
    return rank, float(np.sort(scores)[rank - 1])


def stratum_of(size: int, strata: Iterable[Stratum]) -> Stratum:
    """The stratum that holds deletions of so many units; AssumptionError where none does."""
    found = sorted(stratum for stratum in strata if stratum.least <= size <= stratum.most)
    if not found:
        raise AssumptionError(
            f"no stratum that was audited holds deletions of {counted(size, 'unit')}",
            hint="audit deletions of that size, or retrain",
        )
    if len(found) > 1:
        raise ValueError(
            f"strata overlap: {' and '.join(map(str, found))} both hold deletions of {counted(size, 'unit')}"
        )
    return found[0]


def pooled(audits: Sequence[Draws]) -> Draws:
    """All draws of several audits of one bundle, each once, sorted by name: in whatever order their files come.

    AssumptionError where two audits give the same draw another size or score: then one of them is not what was drawn.
    """
    found: dict[str, tuple[int, float]] = {}
    for audit in audits:
        for name, size, score in zip(audit.names, audit.sizes.tolist(), audit.scores.tolist(), strict=True):
            if found.setdefault(name, (size, score)) != (size, score):
                raise AssumptionError(
                    f"draw {name}: two audits disagree, {found[name]} and {(size, score)} (size, score)",
                    hint="retrain that deletion again; only one of the two can be right",
                )
    names = tuple(sorted(found))
    sizes, scores = [found[name][0] for name in names], [found[name][1] for name in names]
    return Draws(names=names, sizes=np.array(sizes, dtype=int), scores=np.array(scores, dtype=float))


def tolerance(draws: Draws, size: int, strata: Iterable[Stratum], *, content: float, confidence: float) -> Tolerance:
    """What the draws say of deletions of so many units: by the draws of their own stratum alone.

    Raises AssumptionError where no stratum holds them, EstimationError where theirs has too few draws.

    Example:
        >>> scores = np.arange(22) / 10
        >>> audit = Draws(names=tuple(map(str, range(22))), sizes=np.ones(22, dtype=int), scores=scores)
        >>> tolerance(audit, 1, [Stratum(1, 1)], content=0.9, confidence=0.9).score
        2.1

    """
    stratum = stratum_of(size, strata)
    inside = (draws.sizes >= stratum.least) & (draws.sizes <= stratum.most)
    rank, score = tolerance_score(draws.scores[inside], content, confidence)
    return Tolerance(
        stratum=stratum,
        content=content,
        confidence=confidence,
        count=int(inside.sum()),
        rank=rank,
        score=score,
    )


def retrained_value(deleted: Iterable[int], sets: Sequence[Iterable[int]], values: Array) -> Array | None:
    """The value of a deletion that was itself retrained; None for others. It has no interval: it is known.

    deleted, sets: positions of units. values: of the probe after each retraining, ``[N, *P]``. AssumptionError where
    the same set was retrained to different values.
    """
    wanted = frozenset(deleted)
    same = np.array([frozenset(units) == wanted for units in sets], dtype=bool)
    if not same.any():
        return None
    found = np.asarray(values)[same]
    if (found != found[0]).any():
        raise AssumptionError(
            f"a deletion of {counted(len(wanted), 'unit')} was retrained {len(found)} times, to different values",
            hint="retrainings are reproducible: do it again, and find out which of them is not what it says",
        )
    return np.asarray(found[0])


def _share(name: str, value: float) -> Fraction:
    share = Fraction(str(value))
    if not 0 < share < 1:
        raise ValueError(f"{name}={value}: expected a share between 0 and 1")
    return share
