"""Whether what was found from the data was fitted to the random directions that measure what it leaves out."""

from __future__ import annotations

import numpy as np

from unlearnkit.errors import VerificationError
from unlearnkit.training.recipe import Array

# Chance of a false alarm for one number of a probe, when what it concerns was fitted to nothing.
_CHANCE = 1e-9


def verify_not_fitted(what: str, kept: Array, fresh: Array, rounding: Array) -> None:
    """What was found from the data leaves out as much along a fresh direction as along the bundle's own random ones.

    Estimates of what it leaves out rest on its not having been fitted to those, which whoever makes a bundle knows.
    kept: squares of what is left out, ``[directions, elements]``; fresh: the same, and what rounding makes of it,
    ``[elements]``. Fitted to nothing, both are about a positive quadratic form of random vectors, which varies most at
    rank one. There m kept ones are exponential, the fresh one, if real, is chi squared of one degree, and it exceeds
    ``t`` times their mean with probability at most ``(1 + t / 2m)^-m``, by its Chernoff bound averaged over them.
    """
    count = len(kept)
    if not count:
        return
    most = 2 * count * (_CHANCE ** (-1 / count) - 1)
    if (wrong := np.flatnonzero(fresh > most * kept.mean(axis=0) + rounding)).size:
        raise VerificationError(
            f"{what}, element {wrong[0]}: along a fresh random direction they leave out far more than the bundle shows",
            hint="they were fitted to the bundle's random directions, so what it says of its own error is false",
        )
