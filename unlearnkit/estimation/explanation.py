"""A prediction in words: which degrees it uses, whether its series converges, and what its error means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from unlearnkit.estimation.convergence import CONVERGING, Convergence
from unlearnkit.estimation.first_order import MINIMUM_NORM

Array = np.ndarray[Any, Any]


class Used(Protocol):
    """What is read of a `prediction.Term`."""

    @property
    def degree(self) -> int:
        """Of the term."""
        ...

    @property
    def standard_error(self) -> Array:
        """NaN where not known."""
        ...

    @property
    def used(self) -> Array:
        """Where."""
        ...

    @property
    def method(self) -> str:
        """How it was found."""
        ...


def explain(terms: Sequence[Used], convergence: Convergence, *, forced: bool) -> str:
    """forced: the degrees are those that were asked for."""
    parts = [f"Degree {term.degree} ({term.method}): {_share(term.used)}." for term in terms]
    parts.append(str(convergence))
    if convergence.worst not in (CONVERGING, "unknown"):
        parts.append(
            "Where it is doubtful or diverging the change may be far from the prediction, whatever the standard error "
            "says: retrain, or delete fewer units at once."
        )
    if any(np.isnan(term.standard_error).any() for term in terms):
        parts.append("A standard error of NaN is not known: nothing was sketched that could tell.")
    if forced:
        parts.append("The degrees are those that were asked for.")
    elif len(terms) > 1:
        parts.append(
            "A degree above one is used where it is known, or where its estimate stands out of its own noise so far "
            "that using it is hardly ever a mistake; and only where the series does not diverge."
        )
    if terms[0].method.startswith(MINIMUM_NORM):
        parts.append(
            "The standard error of degree 1 supposes that the deletion is no better aligned with the gradient than a "
            "random one; for a more coherent one it is too small, until that shows and the centre of the interval of "
            "Student's law is predicted."
        )
    parts.append(
        "Standard errors are asymptotic, over the randomness of the directions, and cover the terms that are used; "
        "they say nothing about terms left out and higher degrees."
    )
    return " ".join(parts)


def _share(used: Array) -> str:
    count = int(np.count_nonzero(used))
    if count in (0, np.size(used)):
        return "used" if count else "left out"
    return f"used for {count} of {np.size(used)} numbers, left out for the others"
