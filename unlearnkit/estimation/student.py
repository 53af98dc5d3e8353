"""The law of a projection on random directions: Student's t, exactly (docs/theory.md section 4.1).

The span U of p real measurements along random directions is a uniformly random subspace of R^n. With ``e = x/|x|``,
``c = |P e|``, ``s = sqrt(1-c^2)`` and ``p1 = P e / c``, the part Q of U across p1 is across x too, and
``p1 = c e + s u`` with u across x; (u, Q) is a uniformly random p-frame of x's complement, whatever c is. So for any g

    <g, x> = (|x| / c) (<g_P, p1> - s t),     t sqrt(p-1) / |Q g| ~ Student(p-1),

an interval around ``centre = |x| <g_P, p1> / c = <g_P, x> |x|^2 / |P x|^2``. Nothing is supposed of g, x and n, and two
measurements are enough. Pure functions over arrays of shapes that broadcast:

overlap: ``<g_P, x>``. seen: ``|P x|^2``. gradient: ``|g_P|^2``. length: ``|x|^2``. rank: p, below n.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import betainccinv, betaincinv

from unlearnkit.errors import EstimationError

Array = np.ndarray[Any, Any]

TOLERANCE = 0.02
"""What choosing between estimates may cost in general position: this share of the mean square, so 1 % of the rms."""


def centre(overlap: Array, seen: Array, length: Array) -> Array:
    """The estimate that the interval is around; 0 where there is no x."""
    return np.asarray(overlap * np.divide(length, seen, out=np.zeros_like(seen), where=seen > 0))


def spread(overlap: Array, seen: Array, gradient: Array, length: Array, rank: int) -> Array:
    """``|x| (s/c) |Q g| / sqrt(p-1)``: `quantile` times this is the interval's half-width.

    Infinite from a single measurement, and for an x of which nothing is seen.
    """
    rest = np.maximum(gradient - overlap * centre(overlap, seen, np.ones_like(seen)), 0)
    unseen = np.maximum(length - seen, 0)
    share = np.divide(unseen, seen, out=np.zeros_like(seen), where=seen > 0)
    found = np.sqrt(length * share * rest / max(rank - 1, 1))
    return np.where((unseen > 0) & ((seen <= 0) | (rank < 2)), np.inf, found)


def quantile(delta: float, rank: int, *, sides: int) -> float:
    """How many `spread` the truth is away at most, but for delta: on either side, or (sides=1) on one given side.

    ``P(|T| > t) = I(nu/(nu+t^2); nu/2, 1/2)``, which keeps its digits for any delta. EstimationError where t is beyond
    what float64 holds.
    """
    freedom, tail = rank - 1, 2 * delta / sides
    share = float(betaincinv(freedom / 2, 0.5, tail)) if tail < 1 else 1.0
    if not share > np.finfo(float).tiny:
        hint = "sketch with more directions, or ask for a larger delta"
        raise EstimationError(f"delta={delta:g} is too small for {rank} measurements along directions", hint=hint)
    rest = float(betaincinv(0.5, freedom / 2, 1 - tail)) if 0.5 < tail < 1 else 1 - share  # each keeps its digits there
    return math.sqrt(freedom * rest / share)


def is_aligned(overlap: Array, seen: Array, gradient: Array, length: Array, rank: int) -> Array:
    """Where the centre is the better prediction: where x is hardly in general position to g.

    For a given x the squared errors of the minimum norm ``<g_P, x>`` and of the centre are, on average over U given c,

        |x|^2 (s^4 <g,e>^2 + c^2 s^2 tau^2)    and    |x|^2 (s^2 / c^2) tau^2,      tau^2 = |g - <g,e> e|^2 / (n-1),

    so the centre is better just where ``<g,e>^2 > tau^2 (1 + 1/c^2)``: for deletions that are aligned with g. In
    general position, where ``<g,e>^2`` is about tau^2, it is about n/p times worse. There ``B = <g_P,p1>^2 / |g_P|^2``
    is Beta(1/2, (p-1)/2), and going over to the centre where B > b costs ``(s^4/c^2) P(Beta(3/2, (p-1)/2) > b)`` of the
    term's mean square. b makes that `TOLERANCE`: no loss to speak of in general position, all of the gain where x is
    aligned clearly.
    """
    shrink = np.divide(seen, length, out=np.ones_like(seen), where=length > 0)  # c^2
    excess = np.divide((1 - shrink) ** 2, shrink, out=np.full_like(shrink, np.inf), where=shrink > 0)
    allowed = np.minimum(np.divide(TOLERANCE, excess, out=np.ones_like(excess), where=excess > TOLERANCE), 1)
    least = betainccinv(1.5, (rank - 1) / 2, allowed) if rank > 1 else np.ones_like(allowed)
    return np.asarray(overlap**2 > least * seen * gradient)
