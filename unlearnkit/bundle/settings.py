"""What was asked of a sketch, as far as it decides what is computed: a digest of it is announced before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from unlearnkit.bundle.manifest import InformedDirections, Manifest, Positive, Precision, SoloUnits, SweptProbe
from unlearnkit.canonical import sha256_hex
from unlearnkit.records import Count, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchSettings:
    """The settings of a sketch. reverse: sorted by name."""

    schema: Literal["unlearnkit/sketch-settings/v1"] = "unlearnkit/sketch-settings/v1"
    degree: Positive
    directions: Count
    dtype: Precision
    informed: InformedDirections
    solo: SoloUnits
    reverse: tuple[SweptProbe, ...]
    keep_weights: bool
    keep_solo_weights: bool

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Those that a bundle was made with."""
        return cls(
            degree=manifest.degree,
            directions=manifest.direction_count,
            dtype=manifest.dtype,
            informed=manifest.informed,
            solo=manifest.solo,
            reverse=manifest.reverse,
            keep_weights=bool(manifest.weight_sketches),
            keep_solo_weights=bool(manifest.solo_weights),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical JSON."""
        return sha256_hex(write_json(self))
