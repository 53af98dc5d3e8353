"""Means of heavy-tailed samples with finite-sample guarantees: Catoni's estimator and the median of means.

A few directions that happen to lie along a deletion dominate an average over directions (docs/theory.md section 4.2),
so a plain mean has no useful certified error. These two estimators need nothing but a bound on the variance. Samples
come first: ``[count, *S]``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_ITERATIONS = 200
_SETTLED = 2.0**-48


def influence(x: Array) -> Array:
    """``sign(x) log(1 + |x| + x^2/2)``: Catoni's widest influence function (2012, equation 2.1 and below)."""
    return np.asarray(np.sign(x) * np.log1p(np.abs(x) + x * x / 2))


def catoni_mean(samples: Array, scale: Array) -> Array:
    """The root of ``sum_i influence(scale (Y_i - theta))`` in theta, ``[*S]``. scale: alpha, positive, ``[*S]``.

    The sum falls strictly in theta and changes its sign between the smallest and the largest sample. Newton's steps,
    and a bisection wherever one would leave the bracket.
    """
    low, high = samples.min(axis=0), samples.max(axis=0)
    theta, tolerance = samples.mean(axis=0), _SETTLED * np.abs(samples).max(axis=0)
    for _ in range(_ITERATIONS):
        x = scale * (samples - theta)
        total, size = influence(x).sum(axis=0), 1 + np.abs(x)
        low, high = np.where(total >= 0, theta, low), np.where(total <= 0, theta, high)
        step = total / (scale * (size / (size + x * x / 2)).sum(axis=0))
        inside = (theta + step > low) & (theta + step < high)
        following = np.where(inside, theta + step, low + (high - low) / 2)
        moved, theta = np.abs(following - theta), following
        if np.all(moved <= tolerance):
            break
    return np.asarray(theta)


def catoni_scale(variance: Array, count: int, confidence: float) -> Array:
    """The alpha with the least radius for this variance: ``sqrt(2 L (m - 2L) / (m^2 v))`` (Catoni 2012, Prop. 2.4).

    confidence: ``L``, less than ``count / 2``. Where the variance is 0 any alpha does, and it is 1.
    """
    best = 2 * confidence * (count - 2 * confidence) / count**2
    positive = np.where(variance > 0, variance, best)
    return np.asarray(np.sqrt(best / positive))


def catoni_radius(variance: Array, scale: Array, count: int, confidence: float) -> Array:
    """How far `catoni_mean` is from the mean at most, but for a probability ``2 exp(-L)``; infinite if unknown.

    variance: of a sample, or more. scale: any alpha that does not depend on the samples. confidence: ``L``.

    For fixed theta, ``influence(y) <= log(1 + y + y^2/2)`` and Markov's inequality give, but for probability exp(-L),
    ``(1/(m alpha)) sum_i influence(alpha (Y_i - theta)) <= -e + alpha (V + e^2)/2 + L/(m alpha)`` with
    ``e = theta - mean``. The left side falls in theta, so its root lies below the smaller root of the right side,
    ``e = (1 - sqrt(1 - alpha^2 V - 2L/m)) / alpha``; the same from below. At `catoni_scale`'s alpha this is
    ``sqrt(2 V L / (m - 2L))``. Source: Catoni 2012, section 2 and Prop. 2.4.
    """
    rise = scale**2 * variance + 2 * confidence / count
    root = np.sqrt(np.maximum(1 - rise, 0))
    return np.asarray(np.where(rise <= 1, rise / (scale * (1 + root)), np.inf))


def median_blocks(delta: float) -> int:
    """``ceil(8 ln(1/delta))`` blocks (Lugosi & Mendelson 2019, Theorem 2)."""
    return math.ceil(8 * math.log(1 / delta))


def median_of_means(samples: Array, blocks: int) -> Array:
    """The median of the means of ``blocks`` blocks of equal size; samples that do not fill them are left out."""
    size = len(samples) // blocks
    means = samples[: blocks * size].reshape(blocks, size, *samples.shape[1:]).mean(axis=1)
    return np.asarray(np.median(means, axis=0))


def median_radius(variance: Array, count: int, blocks: int) -> Array:
    """How far `median_of_means` is from the mean at most, but for a probability ``exp(-blocks/8)``: ``2 sqrt(V/s)``.

    s: samples in a block. By Chebyshev's inequality each block's mean is that close with probability 3/4 at least, and
    by Hoeffding's fewer than half of them are not. With ``blocks = 8 ln(1/delta)`` this is
    ``sqrt(32 V ln(1/delta) / m)``. Source: Lugosi & Mendelson 2019, Theorem 2 and its proof.
    """
    return np.asarray(2 * np.sqrt(variance / (count // blocks)))
