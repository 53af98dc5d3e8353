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


def sketch_work(manifest: Manifest) -> float:
    """Plain trainings that the sketch of a bundle took, about."""
    sizes = {probe.name: math.prod(probe.shape) for probe in manifest.probes}
    products = sum((2 * swept.rank + swept.residual) * sizes[swept.name] for swept in manifest.reverse)
    return (
        (FIRST_ORDER if manifest.reverse else 0.0)
        + PRODUCT * products
        + DIRECTION * manifest.degree * manifest.direction_count
        + INFORMED * manifest.informed.count
        + ALONE * manifest.solo.degree * len(manifest.solo.units)
    )
