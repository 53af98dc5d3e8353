"""Which degrees a prediction uses: bias against variance, from the sketch's own numbers (docs/theory.md section 7).

The noise of an averaged term of degree r >= 2 has little to do with its size. In *general position*, where the deletion
x is no better aligned with ``f_r`` than a random direction is, the two have variances

    T^2 = |x|^(2r) E|c_{j,r}|^2   (the term)    and    rho^2 T^2,  rho^2 = N_r / 2m   (its estimate's noise):

at m = 512 directions of n = 1000 units, ``rho`` is 22 for r = 2 and 404 for r = 3. So a term enters

- always, when ``rho <= 1``: there are as many real measurements as the term has dimensions;
- otherwise where its estimate stands out of its noise by so many standard errors (`required_significance`) that chance
  hardly ever lets a term in, weighted with the damage that it would do; and
- only if what lower degrees were left out is certainly less than half of it, for terms of a series often have
  opposite signs, and one without the other can be worse than neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import chdtri

from unlearnkit.estimation.estimators import symmetric_dimension

Array = np.ndarray[Any, Any]

TOLERANCE = 0.02
"""What choosing a degree may cost in general position: this share of the term's mean square, so 1 % of its rms."""


def choose(terms: Sequence[tuple[Array, Array]], units: int, directions: int, given: int = 1) -> list[Array]:
    """Where to use each term: boolean arrays of the terms' shape.

    terms: estimates and standard errors of the degrees 1, 2, ... given: how many of them are no averages over
    directions, and are always used.
    """
    used = [np.ones_like(value, dtype=bool) for value, _ in terms[:given]]
    left_out = np.zeros_like(terms[0][0])  # no more than this, in all likelihood, was left out so far
    for degree, (value, error) in enumerate(terms[given:], start=given + 1):
        stands_out = significance(value, error, directions) >= required_significance(units, degree, directions)
        used.append(stands_out & (left_out <= np.abs(value) / 2))
        left_out += np.where(used[-1], 0, np.abs(value) + 2 * error)
    return used


def significance(value: Array, error: Array, directions: int) -> Array:
    """``|sum_j Z_j| / sqrt(sum_j Z_j^2)``, from the mean of the Z_j and its standard error.

    Like ``|value| / error``, but at most ``sqrt(m)``, and for symmetric Z_j of any distribution it exceeds s with
    probability at most ``2 exp(-s^2 / 2)`` (Hoeffding's inequality given the magnitudes ``|Z_j|``): a few directions
    that agree by accident do not stand out.
    """
    spread = math.sqrt(directions - 1) * error if directions > 1 else np.zeros_like(error)
    length = np.hypot(value, spread)
    return np.divide(math.sqrt(directions) * np.abs(value), length, out=np.zeros_like(length), where=length > 0)


def required_significance(units: int, degree: int, directions: int) -> float:
    """The least number of standard errors s for which using the term costs at most ``TOLERANCE`` in general position.

    With term and noise normal, of variance T^2 and ``rho^2 T^2``, using all estimates beyond s standard errors changes
    the mean square error by ``T^2 (rho^2 - 1) P(chi^2_3 > s^2 rho^2 / (1 + rho^2))``, so s follows from a quantile.
    """
    noise = symmetric_dimension(units, degree) / (2 * directions)
    if noise <= 1 + TOLERANCE:
        return 0.0
    return math.sqrt(float(chdtri(3, TOLERANCE / (noise - 1))) * (1 + noise) / noise)
