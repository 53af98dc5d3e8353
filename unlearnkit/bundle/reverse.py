"""What reverse sweeps found out about a pinned probe, as a bundle holds it: ``reverse/NAME.safetensors``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from unlearnkit.bundle.directions import Directions
from unlearnkit.bundle.manifest import Manifest, Shape, SweptProbe, reverse_file
from unlearnkit.bundle.tensors import complex_numbers, read_tensors
from unlearnkit.estimation import NO_CUBIC, CubicForm, ReverseSketch, SoloSeries

# Purposes of random vectors beside the sketch's own directions (`directions.direction_key`): of the sweeps' ranges, and
# of what those leave out.
RANGE, RESIDUAL = "range", "residual"


def read_reverse(
    manifest: Manifest, probe: Shape, read: Callable[[str], bytes], solo: SoloSeries | None
) -> ReverseSketch | None:
    """None for a probe that was not swept. read: the bytes of a listed file.

    FormatError for arrays that do not fit the manifest.
    """
    entry: SweptProbe | None = next((a for a in manifest.reverse if a.name == probe.name), None)
    if entry is None:
        return None
    name, dtype, units = reverse_file(probe.name), manifest.dtype, manifest.units
    arrays = read_tensors(read(name), entry.shapes(math.prod(probe.shape), units, manifest.solo), dtype, where=name)
    salt, real = bytes.fromhex(manifest.salt), {name: array.astype(np.float64) for name, array in arrays.items()}
    return ReverseSketch(
        gradient=real["gradient"],
        vectors=real["vectors"],
        values=real["values"],
        residual=complex_numbers(arrays["residual"]).astype(np.complex128),
        directions=Directions.random(manifest.recipe_digest, salt, entry.residual, units, dtype, RESIDUAL),
        cubic=CubicForm(real["basis"], real["cubic"]) if entry.cubic else NO_CUBIC,
        solo=solo,
    )
