"""How many directions a certified bound takes, before anything was trained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from unlearnkit.estimation.averaging import best_constants, least_count, pilot_variance, settled_radius
from unlearnkit.estimation.constants import moment_ratio, variance_bound
from unlearnkit.estimation.estimate import Method
from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.estimation.powers import LARGEST
from unlearnkit.estimation.student import quantile


def planned_epsilon(
    count: int, *, degree: int, units: int, size: float, norm: float, delta: float, method: Method = "catoni"
) -> float:
    """The certified error to expect of degree r from this many directions; infinite when they are too few.

    size: ``|x|^2``, the number of deleted units. norm: ``||f_r||``. For deletions in general position; for one that is
    aligned with ``f_r`` it can be about twice as wide.
    """
    length = math.sqrt(size)
    if 2 * count >= (dimension := symmetric_dimension(units, degree)) and (degree == 1 or dimension <= LARGEST):
        return 0.0
    if degree == 1:
        rank = 2 * count
        return math.sqrt((units - rank) / units / (rank - 1)) * quantile(delta, rank, sides=2) * norm * length
    found = best_constants(moment_ratio(units, degree), count, delta, method)
    if found is None:
        return math.inf
    upper, reach = np.asarray(norm**2 / found.retained), np.asarray(norm * length**degree)
    scale = found.scale(pilot_variance(upper, np.asarray(size), units, degree))
    return float(
        settled_radius(
            np.zeros(()),
            reach / math.sqrt(found.retained),
            lambda square: found.radius(variance_bound(upper, np.asarray(size), square, units, degree), scale),
        )
    )


def directions_needed(
    epsilon: float,
    delta: float,
    *,
    degree: int,
    units: int,
    size: float,
    norm: float,
    elements: int = 1,
    method: Method = "catoni",
) -> int:
    """How many directions make degree r's certified error at most epsilon, for all elements of a probe together.

    See `planned_epsilon`. Raises EstimationError when no affordable number does.
    """
    settings: dict[str, Any] = {"degree": degree, "units": units, "size": size, "norm": norm, "method": method}
    return least_count(lambda count: planned_epsilon(count, delta=delta / elements, **settings) <= epsilon)
