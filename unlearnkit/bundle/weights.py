"""The trained weights as a bundle holds them, and their sketches along random directions where these were kept.

``model.safetensors`` has the constant term, by state-dict name. ``sketch/directions-FIRST-LAST.safetensors`` has each
trained weight's coefficients ``[last - first, degree, *S, 2]``, real and imaginary parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.bundle.manifest import MODEL, Manifest
from unlearnkit.bundle.tensors import complex_numbers, misfit, parse_tensors, read_tensors
from unlearnkit.errors import FormatError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """Weights of a bundle. read: the bytes of a listed file."""

    manifest: Manifest
    read: Callable[[str], bytes]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By state-dict name."""
        return {weight.name: weight.shape for weight in self.manifest.weights}

    def stored(self) -> dict[str, Array]:
        """The constant term as it lies in the file. FormatError for arrays that do not fit the manifest."""
        return read_tensors(self.read(MODEL), self.shapes, None, where=MODEL)

    def sketches(self) -> Iterator[tuple[int, int, dict[str, Array]]]:
        """Block by block: first and last direction, and each trained weight's complex ``[directions, degree, *S]``."""
        trained: set[str] | None = None
        for entry in self.manifest.weight_sketches:
            tensors = parse_tensors(self.read(entry.path), where=entry.path)
            trained = trained or set(tensors) & set(self.shapes)
            leading = (entry.last - entry.first, self.manifest.degree)
            expected = {name: (*leading, *self.shapes[name], 2) for name in trained}
            if wrong := misfit(tensors, expected, self.manifest.dtype):
                raise FormatError(f"{entry.path}: {wrong}")
            yield entry.first, entry.last, {name: complex_numbers(array) for name, array in tensors.items()}
