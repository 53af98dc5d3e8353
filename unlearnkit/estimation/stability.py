"""How large each degree's part of a probe is (the paper's figure 1; docs/theory.md section 3).

``||f_r||`` is what truncation rests on, what convergence is judged by, and what a declared decay is held against.
Intervals are certified: from above by `retained_share`, from below by Cantelli's inequality, both from
``E W^2 <= K (E W)^2`` for the samples W alone, and so for sums of them over elements too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation.constants import outward, retained_share
from unlearnkit.notebook import html_table

Array = np.ndarray[Any, Any]

DELTA = 0.05
"""Chance that one interval is wrong."""

BELOW = "Root mean square over the probe's numbers; at least and at most: certified, each row but for 5 %."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """``||f_r||`` of each element, in the probe's unit per unit of weight to the power r.

    squared: an unbiased estimate of its square, ``[E]``, the mean of ``count`` samples W. kurtosis: ``K``; 1 where
    nothing is random.
    """

    squared: Array
    kurtosis: float = 1.0
    count: int = 1

    @property
    def norm(self) -> Array:
        """The estimate, ``[E]``."""
        return np.asarray(np.sqrt(self.squared))

    def above(self, delta: float) -> Array:
        """No less than it, but for delta; infinite where there are too few samples to say."""
        retained = retained_share(self.kurtosis, self.count, delta)
        return outward(self.norm / math.sqrt(retained)) if retained else np.full_like(self.squared, np.inf)

    def below(self, delta: float) -> Array:
        """No more than it, but for delta. Cantelli: ``P(mean >= (1+t) E) <= v / (v + t^2)``, ``v = (K-1)/count``."""
        excess = math.sqrt((self.kurtosis - 1) / self.count * (1 / delta - 1))
        return self.norm**2 / outward(self.norm * math.sqrt(1 + excess))


@dataclass(frozen=True, slots=True)
class Size:
    """A row of the profile: root mean square over a probe's elements. low, high: its certified 95 % interval.

    high is infinite where there are too few directions to say.
    """

    degree: int
    norm: float
    low: float
    high: float


class Profile(tuple[Size, ...]):
    """A row for each degree that something is known of."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        rows = [(str(row.degree), row.norm, row.low, row.high) for row in self]
        return html_table("Size of each degree", ("degree", "norm", "at least", "at most"), rows, below=BELOW)


def profile(sizes: Sequence[Sizes | None]) -> Profile:
    """Of the degrees 1, 2, ..."""
    rows = []
    for degree, found in enumerate(sizes, start=1):
        if found is not None:
            mean = Sizes(squared=np.mean(found.squared, keepdims=True), kurtosis=found.kurtosis, count=found.count)
            low, norm, high = (float(x.item()) for x in (mean.below(DELTA / 2), mean.norm, mean.above(DELTA / 2)))
            rows.append(Size(degree, norm, low, high))
    return Profile(rows)


def objection(this: Sizes | None, following: Sizes | None, degree: int, decay: float) -> str | None:
    """What was measured against ``||f_(r+1)|| <= decay ||f_r||``, r = degree, in any element; None if nothing.

    Nothing measured is an objection too: a decay that nothing could have contradicted is refused. What contradicts one
    is the least that the ratio can be: ``below`` of the degree above over ``above`` of this one.
    """
    if this is None or following is None:
        return f"nothing was measured that could contradict it: the size of degree {degree + 1} is not known"
    low, high = following.below(DELTA / 2), this.above(DELTA / 2)
    if not np.isfinite(high).all():
        return f"nothing was measured that could contradict it: the size of degree {degree} has no upper bound"
    excess = low - decay * high
    if (excess <= 0).all():
        return None
    worst = int(np.argmax(excess))
    return (
        f"it is contradicted by the sketch: in element {worst} the part of degree {degree + 1} has size "
        f"{low[worst]:.4g} or more, that of degree {degree} {high[worst]:.4g} or less: more than {decay:g} times"
    )
