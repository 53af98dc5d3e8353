"""The stability profile: how large each degree's part of a probe is (the paper's figure 1; docs/theory.md section 3).

``||f_r||`` is what a certified bound and the truncation rest on. Rows are the root mean square over a probe's elements.
Intervals are certified, each by itself: from above by `retained_share`, from below by Cantelli's inequality, both from
``E W^2 <= K (E W)^2`` for ``W = N_r |c_r|^2`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from unlearnkit.estimation.constants import moment_ratio, retained_share
from unlearnkit.estimation.estimators import squared_norm
from unlearnkit.estimation.reverse import ReverseSketch

Array = np.ndarray[Any, Any]

DELTA = 0.05
"""Chance that one interval is wrong."""


@dataclass(frozen=True, slots=True)
class Size:
    """``||f_r||`` in the probe's unit, per unit of weight to the power r. low, high: its certified 95 % interval.

    high is infinite where there are too few directions to say.
    """

    degree: int
    norm: float
    low: float
    high: float


def profile(coefficients: Array, units: int, reverse: ReverseSketch | None) -> list[Size]:
    """A row for each degree that something is known of. coefficients: ``[directions, degree, *P]``, may be empty."""
    rows: dict[int, Size] = {}
    count, degree = coefficients.shape[:2]
    for r in range(1, degree + 1) if count else ():
        squared = float(np.mean(squared_norm(coefficients[:, r - 1], units, r)))
        rows[r] = _interval(r, squared, moment_ratio(units, r), count)
    if reverse is not None:
        norm = math.sqrt(float(np.mean((reverse.gradient**2).sum(1))))
        rows[1] = Size(1, norm, norm, norm)
        if directions := len(reverse.residual):
            squared = units * float(np.mean((np.abs(reverse.residual) ** 2).sum(-1))) / 4
            rows[2] = _interval(2, squared, moment_ratio(units, 1), directions)
    return [rows[r] for r in sorted(rows)]


def _interval(degree: int, squared: float, kurtosis: float, count: int) -> Size:
    """From the mean of ``count`` samples. Cantelli: ``P(mean >= (1+t) E) <= v / (v + t^2)``, ``v = (K-1)/count``."""
    retained = retained_share(kurtosis, count, DELTA / 2)
    excess = math.sqrt((kurtosis - 1) / count * (2 / DELTA - 1))
    high = math.sqrt(squared / retained) if retained else math.inf
    return Size(degree, math.sqrt(squared), math.sqrt(squared / (1 + excess)), high)


def contradiction(rows: Sequence[Size], decay: float) -> str | None:
    """What the profile says against ``||f_(r+1)|| <= decay ||f_r||``, in words; None if nothing."""
    for row, following in pairwise(rows):
        if following.degree == row.degree + 1 and following.low > decay * row.high:
            return (
                f"the part of degree {following.degree} has size {following.low:.4g} or more, that of degree "
                f"{row.degree} {row.high:.4g} or less: more than {decay:g} times"
            )
    return None
