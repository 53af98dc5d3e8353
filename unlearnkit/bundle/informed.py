"""Informed directions of a bundle: found from the data, therefore stored, with all slopes along them.

``directions`` ``[q, units]`` has orthonormal rows up to rounding; ``weights/NAME`` ``[q, *S]`` and ``probes/NAME``
``[q, *P]`` are the first derivatives of the trained weights and of the pinned probes along them
(docs/theory.md section 9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from unlearnkit.bundle.manifest import INFORMED, Manifest
from unlearnkit.bundle.tensors import misfit, parse_tensors
from unlearnkit.errors import FormatError

Array = np.ndarray[Any, Any]

# How far the rows may be from orthonormal: far more than rounding to float32 does to them.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class InformedSlopes:
    """The informed directions and the slopes along them, in float64."""

    directions: Array
    weights: Mapping[str, Array]
    probes: Mapping[str, Array]

    @classmethod
    def from_bytes(cls, raw: bytes, manifest: Manifest) -> InformedSlopes:
        """Parse the file; FormatError for arrays that do not fit the manifest, or directions not orthonormal."""
        tensors = parse_tensors(raw, where=INFORMED)
        trained = [weight for weight in manifest.weights if f"weights/{weight.name}" in tensors]
        shapes = manifest.informed.shapes(manifest.units, trained, manifest.probes)
        if wrong := misfit(tensors, shapes, manifest.dtype):
            raise FormatError(f"{INFORMED}: {wrong}")
        arrays = {name: array.astype(np.float64) for name, array in tensors.items()}
        directions = arrays["directions"]
        if np.abs(directions @ directions.T - np.eye(len(directions))).max(initial=0) > _TOLERANCE:
            raise FormatError(f"{INFORMED}: the directions are not orthonormal")
        return cls(directions, _below("weights/", arrays), _below("probes/", arrays))

    @property
    def basis(self) -> Array:
        """An orthonormal basis Q of the directions' span, ``[units, q]``."""
        return self._factors[0]

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        """``directions' = Q R``: R is the identity up to rounding and signs."""
        basis, triangle = scipy.linalg.qr(self.directions.T, mode="economic")
        return basis, triangle

    def in_basis(self, slopes: Array) -> Array:
        """Slopes along the columns of the basis, from those along the directions, ``[q, *P]``."""
        flat = slopes.reshape(len(slopes), -1).astype(np.float64)
        solved = scipy.linalg.solve_triangular(self._factors[1], flat, trans="T")
        return np.asarray(solved.reshape(slopes.shape))


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
