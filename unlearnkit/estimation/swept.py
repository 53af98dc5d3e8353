"""What reverse sweeps say of the lowest degrees: the first exactly, the next two by low-rank forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.certified import exact, left_out
from unlearnkit.estimation.constants import moment_ratio
from unlearnkit.estimation.estimate import Chance, Estimate, Method, Part
from unlearnkit.estimation.projection import Projection
from unlearnkit.estimation.reverse import ReverseSketch
from unlearnkit.estimation.sets import Sets
from unlearnkit.estimation.stability import Sizes

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Swept:
    """The source of what reverse sweeps found out."""

    reverse: ReverseSketch

    @property
    def degree(self) -> int:
        """It answers for the degrees 1 to this."""
        return self.reverse.degree

    @cached_property
    def left_out(self) -> Projection:
        """On the directions that the low rank knows nothing of."""
        return Projection(self.reverse.directions)

    def influences(self) -> Array:
        """The gradient, ``[units, E]``."""
        return self.reverse.gradient.T

    def estimates(self, sets: Sets, degrees: Sequence[int], *, unbiased: bool) -> list[Estimate]:
        """See `estimate.Source`."""
        found = []
        for degree in degrees:
            if degree == 1:
                value, error = self.reverse.first_order(sets), None
            elif degree == 2:
                value, error = self.reverse.second_order(sets, unbiased=unbiased)
            else:
                value, error = self.reverse.third_order(sets)
            found.append(Estimate.certain(value, self.reverse.method(degree), error))
        return found

    def parts(self, sets: Array, degrees: Sequence[int], chance: Chance, method: Method) -> list[Part]:  # noqa: ARG002
        """See `estimate.Source`. Nothing is averaged, so ``method`` makes no difference."""
        return [
            exact(self.reverse.first_order(sets), "exact by reverse sweeps")
            if degree == 1
            else left_out(self.reverse, self.left_out, sets, chance)
            for degree in degrees
        ]

    def is_random(self, degree: int) -> bool:
        """See `estimate.Source`."""
        return degree > 1 and not (len(self.reverse.residual) and self.left_out.is_exact)

    def require_bound(self, degree: int, name: str) -> None:
        """See `estimate.Source`."""
        if degree > 2:
            message = f"{name}: degree {degree} has no certified bound: nothing measures what the cubic form leaves out"
            raise EstimationError(message, hint="ask for degree=2")
        if degree > 1 and not len(self.reverse.residual):
            raise EstimationError(
                f"{name}: degree {degree} has no certified bound: the bundle has no directions for the rest "
                "(Reverse.residual)",
                hint="sketch with some, or ask for degree=1",
            )

    def sizes(self, degree: int) -> Sizes | None:
        """See `estimate.Source`. Of degree two ``||H||^2 = n E|H psi|^2``; ``H'H`` is not negative, so K is R_1."""
        return self._sizes[degree - 1] if degree <= 2 else None

    @cached_property
    def _sizes(self) -> tuple[Sizes, Sizes | None]:
        first = Sizes(squared=(self.reverse.gradient**2).sum(1))
        residual, units = self.reverse.residual, self.reverse.gradient.shape[1]
        if not len(residual):
            return first, None
        squared = units * (residual.real**2 + residual.imag**2).sum(-1).mean(0) / 4
        return first, Sizes(squared=squared, kurtosis=moment_ratio(units, 1), count=len(residual))
