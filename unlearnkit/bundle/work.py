"""What making a sketch takes, in plain trainings of the same recipe, by what it holds.

The factors were measured on the digits example (``benchmarks/README.md``); on other models and machines they are of
that order.
"""

from __future__ import annotations

import math

from unlearnkit.bundle.manifest import Manifest

FIRST_ORDER = 11.0
"""Of all pinned probes, by reverse sweeps."""
PRODUCT = 0.06
"""One product with the Hessian of one element."""
DIRECTION = 0.175
"""One random direction, a degree."""
INFORMED = 0.375
"""One informed direction."""
ALONE = 0.06
"""One unit alone, a degree."""


def work(*, sweeps: bool, products: int, directions: int, informed: int, alone: int) -> float:
    """Plain trainings that a sketch takes, about.

    sweeps: whether there are reverse sweeps. products: with Hessians of single elements. directions: random ones times
    the degree. informed: such directions. alone: units alone times the degree.
    """
    along = DIRECTION * directions + INFORMED * informed + ALONE * alone
    return (FIRST_ORDER if sweeps else 0.0) + PRODUCT * products + along


def sketch_work(manifest: Manifest) -> float:
    """Plain trainings that the sketch of a bundle took, about."""
    sizes = {probe.name: math.prod(probe.shape) for probe in manifest.probes}
    return work(
        sweeps=bool(manifest.reverse),
        products=sum((2 * swept.rank + swept.residual) * sizes[swept.name] for swept in manifest.reverse),
        directions=manifest.degree * manifest.direction_count,
        informed=manifest.informed.count,
        alone=manifest.solo.degree * len(manifest.solo.units),
    )
