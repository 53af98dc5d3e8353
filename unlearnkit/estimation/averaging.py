"""How directions and delta are used for terms that are averaged: the split that gives the narrowest certified bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.constants import SHARES, retained_share, variance_bound
from unlearnkit.estimation.estimate import Method
from unlearnkit.estimation.robust_mean import catoni_radius, catoni_scale, median_blocks, median_radius
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]

# More directions than anybody could afford.
_MOST = 1 << 40


@dataclass(frozen=True, slots=True)
class AveragingConstants:
    """How the directions and delta are used for one averaged term.

    retained: ``||f_r||^2 <= (its estimate) / retained``. pilot: how many directions only set Catoni's alpha.
    confidence: ``L = ln(2 / d4)``. blocks: of the median of means.
    """

    method: Method
    count: int
    retained: float
    pilot: int
    confidence: float
    blocks: int

    def radius(self, variance: Array, scale: Array) -> Array:
        """How far the robust mean is from the mean at most. scale: Catoni's alpha."""
        if self.method == "catoni":
            return catoni_radius(variance, scale, self.count - self.pilot, self.confidence)
        return median_radius(variance, self.count, self.blocks)

    def scale(self, variance: Array) -> Array:
        """Catoni's alpha for this variance."""
        return catoni_scale(variance, self.count - self.pilot, self.confidence)


@lru_cache(maxsize=1024)
def averaging_constants(kurtosis: float, count: int, delta: float, method: Method) -> AveragingConstants:
    """Split delta between the norm's bound (d3) and the mean's (d4) so that the bound is narrowest.

    kurtosis: of the samples that the norm is found from, see `retained_share`.

    Raises EstimationError, with the number that would do, when there are too few directions for this delta.
    """
    found = best_constants(kurtosis, count, delta, method)
    if found is None:
        fewest = fewest_directions(kurtosis, delta, method)
        message = (
            f"too few directions for a certified bound: got {counted(count, 'direction')}, expected at least {fewest}"
        )
        hint = f"sketch with {counted(fewest, 'direction')} or more, or ask for a lower degree, or a larger delta"
        raise EstimationError(message, hint=hint)
    return found


def fewest_directions(kurtosis: float, delta: float, method: Method) -> int:
    """The least number of directions with which an averaged term has a certified bound at all, however wide."""
    return least_count(lambda count: best_constants(kurtosis, count, delta, method) is not None)


def best_constants(kurtosis: float, count: int, delta: float, method: Method) -> AveragingConstants | None:
    """The split with the narrowest bound; None when there is none."""
    pilot = math.ceil(count / 10) if method == "catoni" else 0
    best, least = None, math.inf
    for share in SHARES:
        blocks, confidence = median_blocks(delta * (1 - share)), math.log(2 / (delta * (1 - share)))
        if (blocks > count) if method == "median-of-means" else (2 * confidence >= count - pilot):
            continue
        retained = retained_share(kurtosis, count, delta * share)
        constants = AveragingConstants(method, count, retained, pilot, confidence, blocks)
        one = np.ones(())
        width = float(constants.radius(one, constants.scale(one))) / math.sqrt(retained) if retained else math.inf
        if width < least:
            best, least = constants, width
    return best


def settled_radius(estimate: Array, reach: Array, radius: Callable[[Array], Array]) -> Array:
    """A bound on ``|estimate - f|`` where the bound itself depends on ``f^2``, of which only ``|f| <= reach`` is known.

    radius: from an upper bound on ``f^2`` to a bound on ``|estimate - f|``, rising. Each round narrows what f can be,
    and with it the bound; all rounds hold together, for they rest on the same event.
    """
    epsilon = np.abs(estimate) + reach
    for _ in range(40):
        epsilon = np.minimum(epsilon, radius(reach**2))
        reach = np.minimum(reach, np.abs(estimate) + epsilon)
    return np.asarray(epsilon)


def pilot_variance(squared_norm: Array, squared_length: Array, units: int, degree: int) -> Array:
    """The variance to set Catoni's alpha for: halfway, geometrically, between general position and alignment.

    An alpha for another variance than the true one widens the bound a little, and nothing else.
    """
    least = variance_bound(squared_norm, squared_length, np.zeros(()), units, degree)
    most = variance_bound(squared_norm, squared_length, squared_length**degree * squared_norm, units, degree)
    return np.asarray(np.sqrt(least * most))


def least_count(enough: Callable[[int], bool]) -> int:
    """The least count that is enough, if more is always enough."""
    high = 1
    while not enough(high):
        high *= 2
        if high > _MOST:
            raise EstimationError(f"more than {_MOST} directions would be needed", hint="ask for a larger epsilon")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
