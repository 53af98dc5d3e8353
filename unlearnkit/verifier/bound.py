"""The record of a bound: how far a prediction may be off, with which probability, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """``|truth - estimate| <= epsilon`` in every element, but for probability ``delta``, as far as ``covers`` says.

    estimate, epsilon: ``[*P]``. degree: the highest that the estimate uses. method: begins with "certified" or
    "audited". covers: of "sampling", "rounding" and "truncation". assumptions: in plain words.
    """

    estimate: Array
    epsilon: Array
    delta: float
    degree: int
    method: str
    covers: tuple[str, ...]
    assumptions: tuple[str, ...]
