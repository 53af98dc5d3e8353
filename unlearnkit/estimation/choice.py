"""Which degrees a prediction uses: bias against variance, from the sketch's own numbers (docs/theory.md section 7).

The noise of an averaged term of degree r >= 2 has little to do with its size. In *general position*, where the deletion
x is no better aligned with ``f_r`` than a random direction is, the two have variances

    T^2 = |x|^(2r) E|c_{j,r}|^2   (the term)    and    rho^2 T^2,  rho^2 = N_r / 2m   (its estimate's noise):

at m = 512 directions of n = 1000 units, ``rho`` is 22 for r = 2 and 404 for r = 3. So a term enters

- always, when nothing about it is random: exact by projection (``rho <= 1``), by reverse sweeps or along units alone;
- an average where it stands out of its noise by so many standard errors (`required_significance`) that chance hardly
  ever lets one in, weighted with the damage that it would do; a minimum norm where it is larger than its own error;
- only if what lower degrees were left out is certainly less than half of it, for terms of a series often have
  opposite signs, and one without the other can be worse than neither; and
- only where the series does not diverge up to it (`unlearnkit.estimation.convergence`), whatever it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import chdtri

from unlearnkit.estimation.estimate import Estimate
from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.estimation.student import TOLERANCE

Array = np.ndarray[Any, Any]


def choose(terms: Sequence[Estimate], beyond: Sequence[Array]) -> list[Array]:
    """Where to use each term: boolean arrays of the terms' shape.

    terms: of the degrees 1, 2, ...; the first is always used. beyond: where the series diverges up to each.
    """
    used = [np.ones_like(terms[0].value, dtype=bool)]
    left_out = np.zeros_like(terms[0].value)  # no more than this, in all likelihood, was left out so far
    for term, diverges in zip(terms[1:], beyond[1:], strict=True):
        size = np.abs(term.value)
        used.append(term.stands_out & (left_out <= size / 2) & ~diverges)
        error = np.where(np.isnan(term.standard_error), np.inf, term.standard_error)
        left_out += np.where(used[-1], 0, size + 2 * error)
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


def required_significance(units: int, degree: int, directions: int, *, rival: float = 1.0) -> float:
    """The least number of standard errors s for which using averages costs at most ``TOLERANCE`` in general position.

    rival: the mean square error of what is used instead, as a share of T^2; 1 for leaving the term out. With term and
    noise normal, of variance T^2 and ``rho^2 T^2``, using all averages beyond s standard errors changes the mean square
    error by ``T^2 (rho^2 - rival) P(chi^2_3 > s^2 rho^2 / (1 + rho^2))``, so s follows from a quantile.
    """
    noise = symmetric_dimension(units, degree) / (2 * directions)
    allowed = min(1.0, TOLERANCE / max(noise - rival, TOLERANCE))
    return math.sqrt(float(chdtri(3, allowed)) * (1 + noise) / noise)
