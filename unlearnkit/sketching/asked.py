"""What a call of ``sketch`` asks for: checked, compared with what is there, and settled where it left things open."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from unlearnkit.bundle import (
    Bundle,
    Directions,
    InformedDirections,
    SoloUnits,
    SweptProbe,
    salt_from_checkpoint,
    salt_from_seed,
)
from unlearnkit.bundle.settings import SketchSettings
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import UnknownNameError
from unlearnkit.names import counted
from unlearnkit.sketching.settings import FIRST_ORDER, Forward, Informed, Reverse, Solo
from unlearnkit.sketching.sizing import Lanes
from unlearnkit.sketching.store import Settings
from unlearnkit.training.recipe import Array, Recipe
from unlearnkit.training.run import Run

# Own losses of so many units are no longer swept by default: their gradients are a matrix of units by units.
MOST_SWEPT = 10_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The settings of one call, for a recipe."""

    recipe: Recipe
    forward: Forward | None
    reverse: Mapping[str, Reverse]
    informed: Informed | None
    solo: Solo | None
    seed: int | None
    checkpoint: str

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        forward: Forward | None,
        reverse: Mapping[str, Reverse] | None,
        informed: Informed | None,
        solo: Solo | None,
        seed: int | None,
        salt: bytes | None,
    ) -> Asked:
        """Check the settings that `unlearnkit.sketch` takes. ValueError or UnknownNameError for ones that do not go."""
        if reverse is None and forward is None and informed is None and solo is None:
            reverse = dict.fromkeys(_swept_by_default(recipe), FIRST_ORDER)
        asked = cls(
            recipe=recipe,
            forward=forward,
            reverse=reverse or {},
            informed=informed,
            solo=solo,
            seed=seed,
            checkpoint="" if salt is None else _checkpoint(salt),
        )
        asked._verify()
        return asked

    def _verify(self) -> None:
        units = len(self.recipe.unit_names)
        if self.forward is None and self.informed is None and self.solo is None and not self.reverse:
            raise ValueError(
                "nothing to sketch: the recipe pins no probe, and no forward=, informed= or solo= is given"
            )
        if self.informed is not None and self.informed.count > units:
            asked, most = counted(self.informed.count, "direction"), counted(units, "unit")
            raise ValueError(f"informed: {asked}, expected at most one for each of {most}")
        if self.seed is not None and self.checkpoint:
            raise ValueError("seed and salt: the directions follow from one of them")
        if self.explicit is not None and (self.seed is not None or self.checkpoint or self.reverse or self.informed):
            raise ValueError(
                "explicit directions go with no seed or salt, no reverse sweeps and no informed directions"
            )
        if unknown := sorted(set(self.reverse) - set(self.recipe.probes)):
            names = ", ".join(map(repr, unknown))
            raise UnknownNameError(
                f"reverse: the recipe has no probe {names}; it has: {', '.join(self.recipe.probes)}",
                hint="probes are named where the recipe is made, Recipe(probes={...}), and here by the same names",
            )
        for name, settings in self.reverse.items():
            if settings.rank > units:
                raise ValueError(f"reverse: {name} has rank {settings.rank}, expected at most one a unit, {units}")
        _ = self.solo_units

    @cached_property
    def explicit(self) -> Array | None:
        """Directions that somebody chose."""
        return None if self.forward is None else self.forward.explicit(len(self.recipe.unit_names))

    @cached_property
    def solo_units(self) -> SoloUnits:
        """Along which units alone."""
        if self.solo is None:
            return SoloUnits()
        return SoloUnits(self.solo.degree, self.solo.positions(self.recipe.unit_names))

    @property
    def keeps_solo_weights(self) -> bool:
        """Whether the weights' series along them are stored."""
        return self.solo is not None and self.solo.keep_weights

    @property
    def informed_directions(self) -> InformedDirections:
        """How many, and how often refined."""
        if self.informed is None:
            return InformedDirections()
        informed = self.informed
        return InformedDirections(informed.count, informed.degree, informed.spanned, informed.power_iterations)

    def settings(self, run: Run) -> Settings:
        """What decides every byte of the bundle, as far as the caller said."""
        forward, explicit = self.forward, self.explicit
        salt = "" if self.seed is None else salt_from_seed(self.seed).hex()
        if self.checkpoint:
            salt = salt_from_checkpoint(self.recipe.digest, self.checkpoint).hex()
        return Settings(
            recipe=self.recipe.digest,
            degree=1 if forward is None else forward.degree,
            directions=0 if forward is None else forward.count,
            explicit="" if explicit is None else digest_of(explicit),
            salt=salt,
            checkpoint=self.checkpoint,
            dtype=run.precision,
            device=run.device.type,
            keep_weights=forward is not None and forward.keep_weights,
            chunk=0 if forward is None or forward.chunk == "auto" else min(forward.chunk, forward.count),
            reverse=canonicalize({name: asdict(settings) for name, settings in self.reverse.items()}).decode(),
            informed=self.informed_directions,
            solo=self.solo_units,
            keep_solo_weights=self.keeps_solo_weights,
            solo_lanes=0,
            lanes=0,
        )

    def is_answered_by(self, bundle: Bundle, settings: Settings) -> bool:
        """Whether the same call made a finished bundle."""
        manifest = bundle.manifest
        swept = {a.name: Reverse(rank=a.rank, residual=a.residual, cubic=a.cubic) for a in manifest.reverse}
        explicit = "" if bundle.directions.array is None else digest_of(bundle.directions.array)
        there = (
            (manifest.recipe_digest, manifest.degree, manifest.direction_count, manifest.dtype, explicit),
            (bool(manifest.weight_sketches), swept, manifest.informed),
            (manifest.solo, bool(manifest.solo_weights), manifest.checkpoint),
        )
        wanted = (
            (settings.recipe, settings.degree, settings.directions, settings.dtype, settings.explicit),
            (settings.keep_weights and settings.directions > 0, dict(self.reverse), self.informed_directions),
            (self.solo_units, self.keeps_solo_weights, self.checkpoint),
        )
        return there == wanted and settings.salt in ("", manifest.salt)


def settings_of(
    recipe: Recipe,
    *,
    forward: Forward | None,
    reverse: Mapping[str, Reverse] | None,
    informed: Informed | None,
    solo: Solo | None,
    dtype: Literal["float32", "float64"],
) -> SketchSettings:
    """What a call of ``sketch`` computes. Raises as `Asked.of`, and ValueError for directions that somebody chose."""
    asked = Asked.of(recipe, forward, reverse, informed, solo, None, None)
    if asked.explicit is not None:
        raise ValueError("explicit directions follow from no log: use unlearnkit.sketch")
    return SketchSettings(
        degree=1 if forward is None else forward.degree,
        directions=0 if forward is None else forward.count,
        dtype=dtype,
        informed=asked.informed_directions,
        solo=asked.solo_units,
        reverse=tuple(SweptProbe(n, r.rank, r.residual, r.cubic) for n, r in sorted(asked.reverse.items())),
        keep_weights=forward is not None and forward.keep_weights and forward.count > 0,
        keep_solo_weights=asked.keeps_solo_weights,
    )


def digest_of(directions: Array) -> str:
    """SHA-256 of explicit directions."""
    return hashlib.sha256(np.ascontiguousarray(directions, dtype="<c16").tobytes()).hexdigest()


def settled(asked: Settings, most: Lanes) -> Settings:
    """Fill in what the caller left open. most: what fits at once."""
    return replace(
        asked,
        salt=asked.salt or ("" if asked.explicit else secrets.token_hex(32)),
        chunk=asked.chunk or _even(asked.directions, most.directions),
        lanes=most.swept,
        solo_lanes=_even(len(asked.solo.units), most.alone),
    )


def _even(count: int, most: int) -> int:
    """So many at once that all pieces are of about the same size."""
    pieces = max(1, -(-count // most))
    return max(1, -(-count // pieces))


def directions(settings: Settings, recipe: Recipe, explicit: Array | None) -> Directions:
    """The random directions of the sketch itself, or the explicit ones."""
    if explicit is not None:
        return Directions.explicit(explicit)
    salt = bytes.fromhex(settings.salt)
    return Directions.random(recipe.digest, salt, settings.directions, len(recipe.unit_names), settings.dtype)


def _swept_by_default(recipe: Recipe) -> list[str]:
    many = len(recipe.unit_names) >= MOST_SWEPT
    return [name for name in recipe.probes if not (many and name == recipe.own_loss)]


def _checkpoint(salt: bytes) -> str:
    try:
        text = salt.decode()
    except UnicodeDecodeError as err:
        raise ValueError(f"salt: expected the bytes of an audit log's checkpoint, which are text: {err}") from None
    if not text:
        raise ValueError("salt: got no bytes, expected those of an audit log's checkpoint")
    return text
