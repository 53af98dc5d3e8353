"""Audited bounds: split conformal prediction from real retrainings (docs/theory.md section 5).

A score is the error of a prediction over the sketch's own scale ``sigma`` for that deletion. When the deletion asked
for and the N that were retrained are exchangeable, the new score is as likely to have any rank among the N + 1, so it
exceeds the ``ceil((N+1)(1-delta))``-th smallest of the N with probability at most delta: exactly, for finite N, and
whatever the distribution of errors (Vovk, Gammerman, Shafer 2005; Lei et al. 2018, theorem 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.bound import ERRORS, Bound
from unlearnkit.estimation.convergence import DIVERGING
from unlearnkit.estimation.prediction import Prediction
from unlearnkit.estimation.question import once
from unlearnkit.estimation.sketch import Sketch
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]

# Weight of the first-order influences in the scale, beside the standard error.
_INFLUENCE_WEIGHT = 0.5
# Scores and bounds are computed in float64: far more than the rounding of both.
_MARGIN = 1e-12


def retrainings_needed(delta: float) -> int:
    """The least N that carries a bound: ``N >= 1/delta - 1``. delta is taken as the decimal that it prints as."""
    share = _share(delta)
    return math.ceil((1 - share) / share)


def require_retrainings(count: int, delta: float) -> None:
    """EstimationError, with the number that would do, unless so many retrainings carry a bound at this delta."""
    if count < (needed := retrainings_needed(delta)):
        raise EstimationError(
            f"{counted(count, 'retraining', 'carry')} no bound at delta={delta}",
            hint=f"audit at least {counted(needed, 'deletion')}, or ask for a larger delta",
        )


def conformal_quantile(scores: Array, delta: float) -> float:
    """The ``ceil((N+1)(1-delta))``-th smallest of N scores; raises what `require_retrainings` raises."""
    require_retrainings(len(scores), delta)
    rank = math.ceil((len(scores) + 1) * (1 - _share(delta)))
    return float(np.sort(scores)[rank - 1])


def _share(delta: float) -> Fraction:
    share = Fraction(str(delta))
    if not 0 < share < 1:
        raise ValueError(f"delta={delta}: expected a probability between 0 and 1")
    return share


def scale(sketch: Sketch, sets: Array, prediction: Prediction) -> Array:
    """The scale sigma > 0 of the prediction's error for each set, ``[sets, *P]``; of sketch and deletion alone.

        sigma^2 = standard_error^2 + (0.5 |g_D|)^2 + l^2 + floor^2,    |g_D|^2 = sum over u in D of (x_u g_u)^2

    sets: weights ``[sets, units]``. g: `Sketch.influences`, one number for each unit. l: the terms that were left out
    because the series does not converge there. floor: what float32 resolves of
    the largest base, so that a probe that nothing moves has a scale too.

    Any sigma gives the promised coverage; one that follows the size of the errors gives it with short intervals. The
    standard error follows what the sketch knows of its sampling error and of a low-rank second order's remainder, and
    ``|g_D|`` what it cannot see: higher orders are large where first-order effects of the same units are. Measured on
    the digits benchmark (real retrainings, 90 %, all 40 margins at once, mean epsilon over the standard deviation of
    the true change; random | class | both kinds of deletions; rank 64 reverse sweeps, then 512, then 256 directions):
    sigma = 1: 0.40 0.73 0.48, 0.97 1.69 1.12, 3.1 3.9 3.2; the standard error alone: 0.54 0.51 0.52, none, 2.7 3.5 3.1;
    ``|g_D|`` alone: 0.36 0.59 0.64, 0.81 1.00 1.19, 2.2 2.0 2.2; both: 0.36 0.41 0.48, 0.81 1.00 1.19, 2.3 2.9 2.5.
    Scales with the size of predicted terms or powers of ``|D|`` gave longer ones: where a term vanishes by accident its
    error does not.
    """
    influence = np.tensordot(sets**2, sketch.influences() ** 2, axes=1)
    # A scale needs no error that nobody knows; what it lacks there, scores and their quantile have.
    known = np.where(np.isfinite(prediction.standard_error), prediction.standard_error, 0.0)
    floor = max(float(np.abs(sketch.base).max(initial=0)) * 2.0**-23, float(np.finfo(np.float64).tiny))
    squares = known**2 + _INFLUENCE_WEIGHT**2 * influence + _left_out(prediction)
    return np.asarray(np.sqrt(squares) + floor)


def _left_out(prediction: Prediction) -> Array:
    """Squares of the terms that were not used where the series does not converge."""
    diverges = prediction.convergence.verdict == DIVERGING
    total = np.zeros(np.shape(prediction.change))
    for term in prediction.terms:
        counts = diverges & ~term.used & np.isfinite(term.value)
        total = total + np.where(counts, term.value, 0.0) ** 2
    return total


def audited_bound(
    sketch: Sketch,
    delete: Iterable[str | int],
    *,
    masks: Array,
    truth: Array,
    delta: float,
    distribution: str,
    evidence: str,
    element: int | None = None,
) -> Bound:
    """The bound on the error of the default prediction for a deletion, from N real retrainings.

    masks: what was deleted, ``[N, units]``. truth: the probe after each retraining, ``[N, *P]``. distribution: which
    the masks were drawn from, in words. evidence: digest of the file that they are from.
    element: None: delta is the chance that any element of the probe is outside; a flat position: that this one is, with
    epsilon infinite for the others.

    Raises EstimationError, with the number that would do, for too few retrainings.
    """
    found = scores(sketch, masks, truth)
    joint = found.max(axis=1) if element is None else found[:, element]
    quantile = conformal_quantile(joint, delta)
    x = np.zeros((1, sketch.directions.units))
    x[0, once(list(delete), sketch.resolve(list(delete)))] = 1
    prediction = sketch.predict(x)
    epsilon = (scale(sketch, x, prediction)[0] * quantile * (1 + _MARGIN)).reshape(-1)
    if element is not None:
        epsilon[np.arange(len(epsilon)) != element] = np.inf
    return Bound(
        estimate=prediction.value[0],
        epsilon=epsilon.reshape(sketch.base.shape),
        delta=delta,
        family="all",
        degree=max(term.degree for term in prediction.terms if term.used.any()),
        method=f"audited: split conformal, N={len(truth)}",
        covers=ERRORS,
        sampling="bounded",
        assumptions=_assumptions(len(truth), distribution, evidence, element),
        convergence=None,
    )


def scores(sketch: Sketch, masks: Array, truth: Array) -> Array:
    """``|truth - prediction| / sigma``, ``[N, elements]``.

    masks: what was deleted, ``[N, units]``. truth: the probe after each retraining, ``[N, *P]``.
    """
    if masks.shape != (len(truth), sketch.directions.units) or truth.shape[1:] != sketch.base.shape:
        raise ValueError(
            f"{sketch.name}: got masks {masks.shape} and values {truth.shape}, expected one mask of "
            f"{counted(sketch.directions.units, 'unit')} for each value of shape {sketch.base.shape}"
        )
    prediction = sketch.predict(masks)
    off = np.abs(truth - prediction.value) / scale(sketch, masks, prediction)
    return np.asarray(off.reshape(len(truth), -1))


def _assumptions(count: int, distribution: str, evidence: str, element: int | None) -> tuple[str, ...]:
    which = "any number of the probe" if element is None else f"number {element} of the probe, and no other,"
    return (
        f"The deletion is exchangeable with the {count} that were retrained: it comes from the same distribution, "
        f"{distribution}. For deletions of another kind, such as people who are alike where the distribution draws "
        "anybody, nothing is promised.",
        f"The probability counts the draw of the {counted(count, 'deletion')} and of this one together: "
        f"that {which} is outside.",
        f"The retrainings are those of the signed evidence with SHA-256 {evidence}, were done as it says, and how many "
        "there would be was fixed before any result was known.",
        "The truth is this run's own counterfactual, in float64: the same start, order, random numbers and schedule, "
        "with loss weight zero. It is not a run with another order or another seed.",
    )
