"""Informed directions of a bundle: found from the data, therefore stored, with all slopes along them.

``directions`` ``[q, units]`` has orthonormal rows up to rounding; ``weights/NAME`` ``[q, *S]`` and ``probes/NAME``
``[q, *P]`` are the first derivatives of the trained weights and of the pinned probes along them. Above degree one
``degree-R/weights/NAME`` and ``degree-R/probes/NAME`` are the forms of degree R at the points of
`unlearnkit.estimation.lattice` on the span of the first, leading ones: all that moves in that span, to that degree
(docs/theory.md section 9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from unlearnkit.bundle.manifest import INFORMED, Manifest, forms_of
from unlearnkit.bundle.tensors import misfit, parse_tensors
from unlearnkit.errors import FormatError
from unlearnkit.estimation.lattice import lattice_points, lattice_shares
from unlearnkit.estimation.span import Span

Array = np.ndarray[Any, Any]

# How far the rows may be from orthonormal: far more than rounding to float32 does to them.
_TOLERANCE = 1e-4

# Points whose series are made at once.
_POINTS = 64


@dataclass(frozen=True, eq=False)
class InformedSlopes:
    """The informed directions and the slopes along them, in float64, and the forms on the span of the leading ones.

    leading: how many those are. weight_forms, probe_forms: of the degrees 2, 3, ..., by name, ``[points, *S]``, as they
    are stored.
    """

    directions: Array
    weights: Mapping[str, Array]
    probes: Mapping[str, Array]
    leading: int = 0
    weight_forms: tuple[Mapping[str, Array], ...] = ()
    probe_forms: tuple[Mapping[str, Array], ...] = ()

    @classmethod
    def from_bytes(cls, raw: bytes, manifest: Manifest) -> InformedSlopes:
        """Parse the file; FormatError for arrays that do not fit the manifest, or directions not orthonormal."""
        tensors = parse_tensors(raw, where=INFORMED)
        trained = [weight for weight in manifest.weights if f"weights/{weight.name}" in tensors]
        shapes = manifest.informed.shapes(manifest.units, trained, manifest.probes)
        if wrong := misfit(tensors, shapes, manifest.dtype):
            raise FormatError(f"{INFORMED}: {wrong}")
        directions = tensors["directions"].astype(np.float64)
        if np.abs(directions @ directions.T - np.eye(len(directions))).max(initial=0) > _TOLERANCE:
            raise FormatError(f"{INFORMED}: the directions are not orthonormal")
        forms = [forms_of(degree) for degree in manifest.informed.degrees]
        return cls(
            directions,
            _wide(_below("weights/", tensors)),
            _wide(_below("probes/", tensors)),
            manifest.informed.leading,
            tuple(_below(f"{form}weights/", tensors) for form in forms),
            tuple(_below(f"{form}probes/", tensors) for form in forms),
        )

    @property
    def degree(self) -> int:
        """Highest degree that is known on the span of the leading ones; 1: the slopes alone."""
        return 1 + len(self.weight_forms)

    def span(self, forms: Sequence[Array]) -> Span | None:
        """Of a probe with such forms, ``[points, *P]`` of the degrees 2, 3, ...; None for none."""
        flat = tuple(array.reshape(len(array), -1).astype(np.float64) for array in forms)
        return Span(self.directions[: self.leading], flat) if flat else None

    def series_at_points(self, degree: int, dtype: str) -> Iterator[dict[str, Array]]:
        """The weights' series at the points that tell the forms of a degree, ``[points, degree, *S]``, by and by."""
        points = lattice_points(self.leading, degree)
        slopes: Mapping[str, Array] = {name: rows[: self.leading] for name, rows in self.weights.items()}
        for first in range(0, len(points), _POINTS):
            here = points[first : first + _POINTS]
            terms = [(here, slopes)]
            terms += [(lattice_shares(here, r), self.weight_forms[r - 2]) for r in range(2, degree + 1)]
            series = {n: [np.tensordot(shares, rows[n], axes=1) for shares, rows in terms] for n in slopes}
            yield {name: np.stack(parts, axis=1).astype(dtype) for name, parts in series.items()}

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


def _wide(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
