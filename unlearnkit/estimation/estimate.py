"""Estimates: what a source says of one degree's part of a change; and the sources' common interface.

A prediction is a sum of parts, one a degree. Each comes from a named source: forward directions
(`unlearnkit.estimation.forward`) or reverse sweeps (`unlearnkit.estimation.swept`); a source may rest on another one
and make its answers sharper. Arrays are flat: ``[sets, E]`` for the E elements of a probe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from unlearnkit.estimation.sets import Sets
from unlearnkit.estimation.stability import Sizes

Array = np.ndarray[Any, Any]
Method: TypeAlias = Literal["catoni", "median-of-means"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One degree's part of the change.

    standard_error: over the randomness of the directions, asymptotic; 0 where nothing is random, NaN where nobody
    knows. stands_out: bool, whether the value is so far out of its noise that using it is hardly ever a mistake.
    method: in words.
    """

    value: Array
    standard_error: Array
    stands_out: Array
    method: str

    @classmethod
    def certain(cls, value: Array, method: str, standard_error: Array | None = None) -> Estimate:
        """One that noise is no reason to leave out. standard_error: None: there is none."""
        error = np.zeros_like(value) if standard_error is None else standard_error
        return cls(value=value, standard_error=error, stands_out=np.ones_like(value, dtype=bool), method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One degree's part with a certified bound: ``|f_r(x) - estimate| <= epsilon``, each ``[sets, E]``.

    method: in words.
    """

    estimate: Array
    epsilon: Array
    method: str


@dataclass(frozen=True, slots=True)
class Chance:
    """What one element of one part may spend. sides: 2: delta is for both sides together; 1: for each of them alone."""

    delta: float
    sides: Literal[1, 2]


class Source(Protocol):
    """What answers for some of the degrees."""

    @property
    def degree(self) -> int:
        """It answers for the degrees 1 to this; 0: for none."""
        ...

    def estimates(self, sets: Sets, degrees: Sequence[int], *, unbiased: bool) -> list[Estimate]:
        """An estimate of each of these degrees, for sets ``[sets, units]``."""
        ...

    def parts(self, sets: Array, degrees: Sequence[int], chance: Chance, method: Method) -> list[Part]:
        """A certified bound of each of these degrees. EstimationError for too few directions."""
        ...

    def is_random(self, degree: int) -> bool:
        """Whether directions have a part in this degree's estimate, so that its bound spends delta."""
        ...

    def require_bound(self, degree: int, name: str) -> None:
        """EstimationError, naming the probe, where the sketch has nothing that bounds this degree."""
        ...

    def sizes(self, degree: int) -> Sizes | None:
        """How large this degree's part is; None where nothing is known of it."""
        ...

    def influences(self) -> Array:
        """The gradient as far as it is known, ``[units, E]``."""
        ...
