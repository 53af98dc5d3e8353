"""Series along units alone, as a bundle holds them (docs/theory.md sections 10, 11 and 14).

``solo.safetensors`` has ``probes/NAME`` ``[count, degree, *P]`` for the units that the manifest lists; of own losses
only each unit's own element, ``[count, degree]``. Where they were kept, ``sketch/solo-FIRST-LAST.safetensors`` has the
trained weights' series ``[last - first, degree, *S]``, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.bundle.manifest import SOLO, Manifest
from unlearnkit.bundle.tensors import misfit, parse_tensors, read_tensors
from unlearnkit.errors import FormatError, RefusedError
from unlearnkit.estimation.solo import SoloSeries

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class SoloSketch:
    """Series along units alone: of every pinned probe, and of the trained weights where they were kept.

    units: their positions, increasing. degree: highest power. probes: in float64.
    """

    manifest: Manifest
    probes: Mapping[str, Array]
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, manifest: Manifest, read: Callable[[str], bytes]) -> SoloSketch:
        """read: the bytes of a listed file. FormatError for arrays that do not fit the manifest."""
        shapes = manifest.solo.shapes(manifest.probes, manifest.own_loss)
        tensors = read_tensors(read(SOLO), shapes, manifest.dtype, where=SOLO)
        probes = {name.removeprefix("probes/"): array.astype(np.float64) for name, array in tensors.items()}
        return cls(manifest, probes, read)

    @property
    def units(self) -> Array:
        """Positions of the units, increasing."""
        return np.array(self.manifest.solo.units, dtype=np.int64)

    @property
    def degree(self) -> int:
        """Highest power of the series."""
        return self.manifest.solo.degree

    @property
    def keeps_weights(self) -> bool:
        """Whether the trained weights' series were kept."""
        return bool(self.manifest.solo_weights)

    def series(self, name: str) -> SoloSeries:
        """Those of a pinned probe, its elements in a row."""
        array = self.probes[name]
        if name == self.manifest.own_loss:
            return SoloSeries(self.units, array, self.units)
        return SoloSeries(self.units, array.reshape(len(array), self.degree, -1))

    def weights(self, positions: Array) -> dict[str, Array]:
        """The trained weights' series along the units at these positions: by name, ``[len(positions), degree, *S]``.

        Raises RefusedError where they were not kept, or a unit has none; FormatError for files that do not fit.
        """
        if not self.keeps_weights:
            hint = "sketch with Solo(keep_weights=True)"
            raise RefusedError("the bundle kept no series of the weights along units alone", hint=hint)
        if missing := sorted({int(p) for p in positions} - set(self.manifest.solo.units)):
            raise RefusedError(f"the bundle has no series along {len(missing)} of these units alone")
        rows = np.searchsorted(self.units, positions)
        found: dict[str, Array] = {}
        for entry in self.manifest.solo_weights:
            inside = np.flatnonzero((entry.first <= rows) & (rows < entry.last))
            if not len(inside):
                continue
            for name, block in self._block(entry.path, entry.last - entry.first).items():
                place = found.setdefault(name, np.empty((len(rows), *block.shape[1:]), dtype=block.dtype))
                place[inside] = block[rows[inside] - entry.first]
        return found

    def verify_weights(self) -> None:
        """FormatError for files of weights that do not fit the manifest."""
        for entry in self.manifest.solo_weights:
            self._block(entry.path, entry.last - entry.first)

    def _block(self, path: str, count: int) -> dict[str, Array]:
        tensors = parse_tensors(self.read(path), where=path)
        shapes = {w.name: (count, self.degree, *w.shape) for w in self.manifest.weights if w.name in tensors}
        if wrong := misfit(tensors, shapes, self.manifest.dtype):
            raise FormatError(f"{path}: {wrong}")
        return tensors
