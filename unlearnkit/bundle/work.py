"""What making a sketch takes, in plain trainings of the same recipe, by what it holds.

The factors were measured on the digits example (``benchmarks/README.md``); on other models and machines they are of
that order.
"""

from __future__ import annotations

import math

from unlearnkit.bundle.manifest import InformedDirections, Manifest

FIRST_ORDER = 11.0
"""Of all pinned probes, by reverse sweeps."""
PRODUCT = 0.06
"""One product with the Hessian of one element."""
DIRECTION = 0.175
"""One random direction, a degree."""
INFORMED = 0.375
"""One informed direction."""
ALONE = 0.06
"""One unit alone, or one point on the span of informed directions, a degree."""


def work(*, sweeps: bool, products: int, directions: int, informed: InformedDirections, alone: int) -> float:
    """Plain trainings that a sketch takes, about.

    sweeps: whether there are reverse sweeps. products: with Hessians of single elements. directions: random ones times
    the degree. alone: units alone times the degree.
    """
    along = DIRECTION * directions + informed_work(informed) + ALONE * alone
    return (FIRST_ORDER if sweeps else 0.0) + PRODUCT * products + along


def informed_work(informed: InformedDirections) -> float:
    """Of informed directions, and of the points on the span of the leading ones."""
    points = sum(degree * informed.points(degree) for degree in informed.degrees)
    return INFORMED * informed.count + ALONE * points


def sketch_work(manifest: Manifest) -> float:
    """Plain trainings that the sketch of a bundle took, about."""
    sizes = {probe.name: math.prod(probe.shape) for probe in manifest.probes}
    return work(
        sweeps=bool(manifest.reverse),
        products=sum((2 * swept.rank + swept.residual) * sizes[swept.name] for swept in manifest.reverse),
        directions=manifest.degree * manifest.direction_count,
        informed=manifest.informed,
        alone=manifest.solo.degree * len(manifest.solo.units),
    )
