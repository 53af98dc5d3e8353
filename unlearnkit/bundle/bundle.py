"""Reading a bundle: every byte is checked against the manifest before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from unlearnkit.bundle.directions import Directions, direction_key
from unlearnkit.bundle.integrity import listed, verify_digest, verify_files
from unlearnkit.bundle.manifest import (
    EXPLICIT_DIRECTIONS,
    FILE_NAME,
    MODEL,
    UNITS,
    Adjoint,
    Manifest,
    Shape,
    adjoint_file,
    probe_file,
)
from unlearnkit.bundle.pseudonym import PSEUDONYM, PseudonymKey
from unlearnkit.bundle.tensors import complex_numbers, misfit, parse_tensors, read_tensors
from unlearnkit.canonical import parse_canonical, sha256_hex
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.verifier import AdjointSketch, Projection, Sketch

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

# Purposes of the directions that belong to reverse sweeps (`directions.direction_key`).
RANGE, RESIDUAL = "range", "residual"


class _Recipe(Protocol):
    """What a bundle needs of a recipe; the bundle itself knows no torch."""

    @property
    def digest(self) -> str: ...

    def evaluate(self, bundle: Bundle, probe: Callable[[Any], Any]) -> Sketch: ...


class Bundle:
    """A sketch on disk. Opening it and predicting from pinned probes needs neither torch nor the data.

    path: its directory. manifest: what it holds. digest: SHA-256 of the manifest, and so of everything in the bundle.
    units: pseudonyms, in the order of the units.
    """

    def __init__(self, path: Path, raw_manifest: bytes, key: PseudonymKey | None) -> None:
        self.path = path
        self.manifest = Manifest.from_bytes(raw_manifest)
        self.digest = sha256_hex(raw_manifest)
        self._key = key
        verify_files(path, self.manifest)
        self.units = _parse_units(self._bytes(UNITS), self.manifest.units)

    @classmethod
    def open(cls, path: str | Path, *, pseudonym_key: PseudonymKey | None = None) -> Bundle:
        """Check every file of a bundle, then open it. No signature is looked at.

        pseudonym_key: lets callers name units; None takes the one of `PseudonymKey.path_for`, if that can be read.
        Raises FileNotFoundError, FormatError for malformed contents, DigestMismatchError for altered ones,
        VerificationError for directions that do not follow from recipe and salt.
        """
        path = Path(path)
        if not (path / FILE_NAME).is_file():
            raise FileNotFoundError(f"{path} is not a bundle: it has no {FILE_NAME}" if path.exists() else f"no {path}")
        key = pseudonym_key if pseudonym_key is not None else _key_beside(path)
        bundle = cls(path, (path / FILE_NAME).read_bytes(), key)
        bundle._verify_contents()
        return bundle

    def __repr__(self) -> str:
        count, units = self.manifest.direction_count, self.manifest.units
        return f"Bundle({str(self.path)!r}, {units=}, directions={count}, degree={self.manifest.degree})"

    def _verify_contents(self) -> None:
        """Shapes, precision and finiteness of everything that predictions rest on, and the origin of the directions."""
        manifest = self.manifest
        if not manifest.is_explicit:
            expected = direction_key(manifest.recipe_digest, bytes.fromhex(manifest.salt)).hex()
            if manifest.key != expected:
                raise VerificationError(
                    f"{FILE_NAME}: the directions' key is {manifest.key}, but recipe and salt give {expected}"
                )
        self.model_state()
        for probe in manifest.probes:
            self._probe_arrays(probe)
            self._adjoint(probe)
        _ = self.directions

    def _bytes(self, name: str) -> bytes:
        """A listed file, which still has the bytes that the manifest promises."""
        file = next(file for file in self.manifest.files if file.path == name)
        raw = (self.path / name).read_bytes()
        verify_digest(file, len(raw), sha256_hex(raw))
        return raw

    def _probe_arrays(self, probe: Shape) -> dict[str, Array]:
        manifest, name = self.manifest, probe_file(probe.name)
        shape = (manifest.direction_count, manifest.degree, *probe.shape, 2)
        shapes = {"base": probe.shape, "coefficients": shape}
        return read_tensors(self._bytes(name), shapes, manifest.dtype, where=name)

    def _adjoint(self, probe: Shape) -> AdjointSketch | None:
        """What reverse sweeps found out about a pinned probe, if there were any."""
        entry: Adjoint | None = next((a for a in self.manifest.adjoint if a.name == probe.name), None)
        if entry is None:
            return None
        manifest, name = self.manifest, adjoint_file(probe.name)
        shapes = entry.shapes(math.prod(probe.shape), manifest.units)
        arrays = read_tensors(self._bytes(name), shapes, manifest.dtype, where=name)
        salt, units, dtype = bytes.fromhex(manifest.salt), manifest.units, manifest.dtype
        return AdjointSketch(
            gradient=arrays["gradient"].astype(np.float64),
            basis=arrays["basis"].astype(np.float64),
            product=arrays["product"].astype(np.float64),
            residual=complex_numbers(arrays["residual"]).astype(np.complex128),
            directions=Directions.random(manifest.recipe_digest, salt, entry.directions, units, dtype, RESIDUAL),
        )

    @cached_property
    def directions(self) -> Directions:
        """The directions of the sketch, made from the seed, or read when they are explicit."""
        manifest = self.manifest
        if not manifest.is_explicit:
            salt = bytes.fromhex(manifest.salt)
            return Directions.random(
                manifest.recipe_digest, salt, manifest.direction_count, manifest.units, manifest.dtype
            )
        shapes = {"directions": (manifest.direction_count, manifest.units, 2)}
        tensors = read_tensors(self._bytes(EXPLICIT_DIRECTIONS), shapes, "float64", where=EXPLICIT_DIRECTIONS)
        return Directions.explicit(complex_numbers(tensors["directions"]))

    @cached_property
    def _projection(self) -> Projection:
        return Projection(self.directions)

    @property
    def probe_names(self) -> tuple[str, ...]:
        """The pinned probes."""
        return tuple(probe.name for probe in self.manifest.probes)

    def probe(self, name: str) -> Sketch:
        """The sketch of a pinned probe. UnknownNameError lists the ones there are."""
        for probe in self.manifest.probes:
            if probe.name == name:
                arrays = self._probe_arrays(probe)
                coefficients = complex_numbers(arrays["coefficients"])
                return self.new_sketch(name, arrays["base"], coefficients, self._adjoint(probe))
        known = ", ".join(self.probe_names) or "none"
        hint = "pin it in the recipe, or use bundle.evaluate(recipe, fn) on a bundle that kept its weights"
        raise UnknownNameError(f"the bundle has no probe {name!r}; it has: {known}", hint=hint)

    def new_sketch(self, name: str, base: Array, coefficients: Array, adjoint: AdjointSketch | None = None) -> Sketch:
        """A sketch along this bundle's directions: base ``[*P]``, coefficients ``[directions, degree, *P]``."""
        return Sketch(
            name=name,
            base=np.asarray(base, dtype=np.float64),
            coefficients=np.asarray(coefficients, dtype=np.complex128),
            projection=self._projection,
            resolve=self.unit_indices,
            adjoint=adjoint,
        )

    def evaluate(self, recipe: _Recipe, probe: Callable[[Any], Any]) -> Sketch:
        """Sketch ``probe(model) -> tensor``, which nobody pinned, from the stored weight sketches. Needs torch.

        Raises VerificationError when the recipe is not the one that was sketched, RefusedError without weight sketches.
        """
        if recipe.digest != self.manifest.recipe_digest:
            message = f"the recipe is not the one of the bundle: its digest is {recipe.digest}, the bundle's is "
            hint = "use the very recipe that was sketched: model, data, order, optimizer and probes all count"
            raise VerificationError(message + self.manifest.recipe_digest, hint=hint)
        return recipe.evaluate(self, probe)

    def unit_indices(self, names: Sequence[str | int]) -> Array:
        """Positions of units ``[len(names)]``, given by name (which takes the pseudonym key) or by pseudonym.

        Raises UnknownNameError with all units that are not there, RefusedError for names without the key, ValueError
        for none at all and for a unit named twice, TypeError for a text.
        """
        if isinstance(names, str):
            raise TypeError(f"units: got {names!r}, expected a list of names")
        if len(names) == 0:
            raise ValueError("no units were named")
        found = [self._position(name) for name in names]
        if unknown := [name for name, i in zip(names, found, strict=True) if i is None]:
            raise self._unknown(unknown)
        if len(set(found)) < len(found):
            twice = [name for name, i in zip(names, found, strict=True) if found.count(i) > 1]
            raise ValueError(f"units named more than once: {listed(twice)}")
        return np.array(found, dtype=np.int64)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {pseudonym: i for i, pseudonym in enumerate(self.units)}

    def _position(self, name: str | int) -> int | None:
        if str(name) in self._positions or self._key is None:
            return self._positions.get(str(name))
        return self._positions.get(self._key.pseudonym(name))

    def _unknown(self, names: Sequence[str | int]) -> UnknownNameError | RefusedError:
        plain = [name for name in names if not PSEUDONYM.fullmatch(str(name))]
        if plain and self._key is None:
            hint = f"pass pseudonym_key=, put {PseudonymKey.FILE_NAME} beside the bundle, or ask by pseudonym"
            return RefusedError(f"units can be named only with the pseudonym key: got {listed(plain)}", hint=hint)
        hint = "only units that own training examples, and are not None, can be deleted"
        return UnknownNameError(f"the bundle has no unit {listed(names)}", hint=hint)

    def model_state(self) -> dict[str, Array]:
        """The trained model: the constant term of the sketch, by state-dict name."""
        return read_tensors(self._bytes(MODEL), self._weight_shapes, None, where=MODEL)

    @property
    def _weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return {weight.name: weight.shape for weight in self.manifest.weights}

    def load_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """Load the trained weights into a model of the recipe's class, in its own precision; returns it.

        ValueError for a model with other weights, which then stays as it is.
        """
        own, stored = model.state_dict(), self.model_state()
        if wrong := _difference({name: tuple(tensor.shape) for name, tensor in own.items()}, self._weight_shapes):
            raise ValueError(f"the model does not fit the bundle: {wrong}")
        model.load_state_dict({name: own[name].new_tensor(array) for name, array in stored.items()})
        return model

    def weight_sketches(self) -> Iterator[tuple[int, int, dict[str, Array]]]:
        """Block by block: first and last direction, and each trained weight's complex ``[directions, degree, *S]``."""
        trained: set[str] | None = None
        for entry in self.manifest.weight_sketches:
            tensors = parse_tensors(self._bytes(entry.path), where=entry.path)
            trained = trained or set(tensors) & set(self._weight_shapes)
            leading = (entry.last - entry.first, self.manifest.degree)
            shapes = {name: (*leading, *self._weight_shapes[name], 2) for name in trained}
            if wrong := misfit(tensors, shapes, self.manifest.dtype):
                raise FormatError(f"{entry.path}: {wrong}")
            yield entry.first, entry.last, {name: complex_numbers(array) for name, array in tensors.items()}


def _difference(own: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]]) -> str:
    """How a model's weights differ from the stored ones; empty when they do not."""
    parts = []
    if missing := sorted(stored.keys() - own.keys()):
        parts.append(f"it lacks {listed(missing)}")
    if extra := sorted(own.keys() - stored.keys()):
        parts.append(f"the bundle lacks {listed(extra)}")
    reshaped = sorted(name for name in own.keys() & stored.keys() if own[name] != stored[name])
    parts.extend(f"{name!r} has shape {own[name]}, the bundle's {stored[name]}" for name in reshaped[:10])
    return "; ".join(parts)


def _key_beside(path: Path) -> PseudonymKey | None:
    file = PseudonymKey.path_for(path)
    try:
        return PseudonymKey.load(file) if file.exists() else None
    except PermissionError:  # somebody else's key: whoever may read the bundle still asks by pseudonym
        return None


def _parse_units(raw: bytes, count: int) -> tuple[str, ...]:
    units = parse_canonical(raw, where=UNITS)
    if not isinstance(units, list) or not all(isinstance(u, str) and PSEUDONYM.fullmatch(u) for u in units):
        raise FormatError(f"{UNITS}: expected a list of pseudonyms, 64 hexadecimal digits each")
    if len(set(units)) != len(units) or len(units) != count:
        raise FormatError(f"{UNITS}: got {len(set(units))} different pseudonyms in {len(units)}, expected {count}")
    return tuple(units)
