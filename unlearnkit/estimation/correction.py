"""Which terms of the weights' own series a correction takes, and how far it reaches (docs/theory.md section 14).

Everything is found element by element in a fixed order, and sizes are rounded once, from their exact sums: the same
series give the same numbers, to the last bit, on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from unlearnkit.estimation.convergence import CONVERGING, DIVERGING, DOUBTFUL, UNKNOWN

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What is taken of one unit's series.

    terms: by weight, ``[degree, *S]`` in float64. by_coordinate: whether the series grows from one degree to the next,
    so that each coordinate's terms end where they would grow. ratio: the largest size, over all weights, of a degree
    against that of the one before; by coordinate of the second against the first, where a coordinate that grows counts
    as one that stays. NaN for degree one alone.
    """

    terms: Mapping[str, Array]
    by_coordinate: bool
    ratio: float


def take(series: Mapping[str, Array], degree: int) -> Taken:
    """The terms 1 to ``degree`` of one unit's series ``[>= degree, *S]``, by weight.

    All of them where the series of all weights together falls from degree to degree. Otherwise coordinate by
    coordinate, as long as a term is no larger than the one before: where a rule divides by a second moment, coordinates
    in which that is tiny diverge first, and say nothing of the others.
    """
    terms = {name: array[:degree].astype(np.float64) for name, array in series.items()}
    ratios = _ratios(_sizes(terms, range(degree)))
    if max(ratios, default=0.0) <= 1:
        return Taken(terms, by_coordinate=False, ratio=max(ratios, default=math.nan))
    taken = {name: _while_falling(array) for name, array in terms.items()}
    stays = {name: np.minimum(np.abs(array[:1]), np.abs(array[1:2])) for name, array in terms.items()}
    (ratio,) = _ratios([*_sizes(terms, [0]), *_sizes(stays, [0])])
    return Taken(taken, by_coordinate=True, ratio=ratio)


def reach(ratios: Iterable[float]) -> float:
    """How the degrees of several units' terms relate when they are deleted together; NaN if that is not known of one.

    As ``|x| ||f_(r+1)|| / ||f_r||`` of section 13, of which each unit's ratio measures a case with ``|x| = 1``.
    """
    return math.sqrt(math.fsum(ratio * ratio for ratio in ratios))


def verdict(ratio: float, *, by_coordinate: int) -> str:
    """In the words of `convergence`. by_coordinate: of how many units the terms were taken so."""
    if math.isnan(ratio):
        return UNKNOWN
    if ratio >= 1:
        return DIVERGING
    return DOUBTFUL if by_coordinate else CONVERGING


def _ratios(sizes: Sequence[float]) -> list[float]:
    """Of each to the one before; of nothing to nothing 0."""
    return [0.0 if not above else above / below if below else math.inf for below, above in pairwise(sizes)]


def _sizes(terms: Mapping[str, Array], degrees: Iterable[int]) -> list[float]:
    """Over all weights, of each degree."""
    squares = [np.square(np.concatenate([array[r].ravel() for array in terms.values()])) for r in degrees]
    return [math.sqrt(math.fsum(square.tolist())) for square in squares]


def _while_falling(terms: Array) -> Array:
    """Of each coordinate the terms until one is larger than the one before."""
    size = np.abs(terms)
    falling = np.concatenate([np.ones((1, *terms.shape[1:]), dtype=bool), size[1:] <= size[:-1]])
    return np.where(np.logical_and.accumulate(falling, axis=0), terms, 0.0)
