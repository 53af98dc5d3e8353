"""What forward directions say of every degree: by projection, and by averaging where that stands out of its noise.

Degree one is `unlearnkit.estimation.first_order`. A higher degree is exact where there are as many measurements as its
tensor has dimensions. Elsewhere there are two estimates, good at different things (docs/theory.md section 3 and 7): the
minimum norm is the better one in general position, and averaging sees coherent deletions, which are lost to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.errors import EstimationError
from unlearnkit.estimation.certified import averaged, exact, projected
from unlearnkit.estimation.choice import required_significance, significance
from unlearnkit.estimation.constants import moment_ratio
from unlearnkit.estimation.estimate import Chance, Estimate, Method, Part
from unlearnkit.estimation.estimators import averaged_term, minimum_norm_error, squared_norm
from unlearnkit.estimation.first_order import FirstOrder
from unlearnkit.estimation.powers import LARGEST, TensorProjection, tensor_projection
from unlearnkit.estimation.projection import Projection, inner_products
from unlearnkit.estimation.stability import Sizes
from unlearnkit.names import counted

Array = np.ndarray[Any, Any]

# Share of its tensor's dimensions from which on a degree's minimum norm is worth finding: with less, in general
# position, it is no larger than its own error but for one time in a hundred.
_LEAST_SHARE = 1 / 8


@dataclass(frozen=True, eq=False)
class Forward:
    """The source of what was sketched along forward directions.

    coefficients: complex ``[directions, degree, E]``. slopes: ``Q'g`` along the projection's informed basis,
    ``[q, E]``.
    """

    projection: Projection
    coefficients: Array
    slopes: Array | None

    @property
    def count(self) -> int:
        """Number of directions."""
        return self.projection.source.count

    @property
    def units(self) -> int:
        """Number of units."""
        return self.projection.source.units

    @property
    def degree(self) -> int:
        """It answers for the degrees 1 to this."""
        return int(self.coefficients.shape[1]) if self.count else int(self.slopes is not None)

    @cached_property
    def first_order(self) -> FirstOrder:
        """What is known of the gradient."""
        return FirstOrder(self.projection, self.coefficients[:, 0], self.slopes)

    def influences(self) -> Array:
        """The gradient as far as it is known, ``[units, E]``."""
        return self.first_order.influences()

    @cached_property
    def _projections(self) -> dict[int, TensorProjection]:
        """Of the degrees above one that projection says something of."""
        found = {r: tensor_projection(self.projection, r) for r in range(2, self.degree + 1)}
        return {r: p for r, p in found.items() if self._is_worthwhile(p.dimension)}

    def _is_worthwhile(self, dimension: int) -> bool:
        return 2 * self.count >= _LEAST_SHARE * dimension and min(2 * self.count, dimension) <= LARGEST

    @cached_property
    def _tensors(self) -> dict[int, Array]:
        """Coordinates of what is known of each degree's tensor, ``[p, E]``."""
        return {r: p.tensor_coordinates(self.coefficients[:, r - 1]) for r, p in self._projections.items()}

    def is_exact(self, degree: int) -> bool:
        """Whether there are as many measurements of this degree as it has dimensions."""
        if degree == 1:
            return self.projection.is_exact
        return degree in self._projections and self._projections[degree].is_exact

    def estimates(self, sets: Array, degrees: Sequence[int], *, unbiased: bool) -> list[Estimate]:
        """See `estimate.Source`."""
        products = inner_products(self.projection.source, sets) if max(degrees, default=1) > 1 else None
        return [self._estimate(sets, r, products, unbiased=unbiased) for r in degrees]

    def _estimate(self, sets: Array, degree: int, products: Array | None, *, unbiased: bool) -> Estimate:
        if degree == 1 or products is None:
            value, error = self.first_order.term(sets, products, unbiased=unbiased)
            return Estimate.certain(value, self.first_order.method(unbiased=unbiased), error)
        if self.is_exact(degree):
            overlap, _ = self._overlap(sets, degree, products)
            return Estimate.certain(overlap, "exact, by projection")
        average, noise = averaged_term(products.conj(), self.coefficients[:, degree - 1], self.units, degree)
        method = f"average over {counted(self.count, 'direction')}"
        if unbiased:
            return Estimate.certain(average, method, noise)
        share = self._projections[degree].rank / self._projections[degree].dimension if degree in self._tensors else 0.0
        level = required_significance(self.units, degree, self.count, rival=1 - share)
        stands_out = significance(average, noise, self.count) >= level
        if not share:
            return Estimate(value=average, standard_error=noise, stands_out=stands_out, method=method)
        return self._between(sets, degree, products, (average, noise, stands_out))

    def _between(self, sets: Array, degree: int, products: Array, average: tuple[Array, Array, Array]) -> Estimate:
        """The average where it stands out, elsewhere the minimum norm."""
        mean, noise, averaged = average
        plain, seen = self._overlap(sets, degree, products)
        projection, squared = self._projections[degree], (self._tensors[degree] ** 2).sum(0)
        unseen = np.maximum((sets**2).sum(1) ** degree - seen, 0)
        error = minimum_norm_error(squared, unseen, projection.rank)
        place = f"{projection.rank} of {projection.dimension} dimensions"
        return Estimate(
            value=np.where(averaged, mean, plain),
            standard_error=np.where(averaged, noise, error),
            stands_out=averaged | (np.abs(plain) > error),
            method=f"minimum norm, by projection on {place}, or average over {counted(self.count, 'direction')} where "
            "that stands out",
        )

    def _overlap(self, sets: Array, degree: int, products: Array) -> tuple[Array, Array]:
        """``<P F_r, x^r>`` ``[sets, E]`` and ``|P x^r|^2`` ``[sets]``."""
        coordinates = self._projections[degree].coordinates(sets, products)
        return coordinates @ self._tensors[degree], (coordinates**2).sum(1)

    def parts(self, sets: Array, degrees: Sequence[int], chance: Chance, method: Method) -> list[Part]:
        """See `estimate.Source`."""
        products = inner_products(self.projection.source, sets) if max(degrees, default=1) > 1 else None
        found = []
        for r in degrees:
            if self.is_exact(r):
                found.append(exact(self._estimate(sets, r, products, unbiased=False).value, "exact by projection"))
            elif r == 1 or products is None:
                found.append(projected(self.first_order, sets, chance))
            else:
                found.append(averaged(products.conj(), self.coefficients[:, r - 1], sets, r, chance.delta, method))
        return found

    def is_random(self, degree: int) -> bool:
        """See `estimate.Source`."""
        return not self.is_exact(degree)

    def require_bound(self, degree: int, name: str) -> None:
        """See `estimate.Source`."""
        if not self.count and self.is_random(degree):
            message = f"{name}: degree {degree} has no certified bound: the bundle has no random directions"
            raise EstimationError(message, hint="sketch with some")

    def sizes(self, degree: int) -> Sizes | None:
        """See `estimate.Source`."""
        if degree > self.degree:
            return None
        if self.is_exact(degree):
            return Sizes(squared=self.first_order.squared_norm if degree == 1 else (self._tensors[degree] ** 2).sum(0))
        if not self.count:
            return None
        squared = squared_norm(self.coefficients[:, degree - 1], self.units, degree)
        return Sizes(squared=squared, kurtosis=moment_ratio(self.units, degree), count=self.count)
