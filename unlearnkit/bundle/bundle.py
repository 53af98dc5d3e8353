"""Reading a bundle: every byte is checked against the manifest before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import safetensors
import safetensors.numpy

from unlearnkit.bundle.directions import Directions, direction_key
from unlearnkit.bundle.manifest import FILE_NAME, File, Manifest, Shape
from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.bundle.writer import complex_numbers
from unlearnkit.canonical import file_sha256_hex, parse_canonical, sha256_hex
from unlearnkit.errors import DigestMismatchError, FormatError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.verifier import Projection, Sketch

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]

SIGNATURE = "model.sig"  # OpenSSF model signing; not listed in the manifest, because it signs the manifest


class _Recipe(Protocol):
    """What a bundle needs of a recipe; the bundle itself knows no torch."""

    @property
    def digest(self) -> str: ...

    def evaluate(self, bundle: Bundle, probe: Callable[[Any], Any]) -> Sketch: ...


class Bundle:
    """A sketch on disk. Opening it and predicting from pinned probes needs neither torch nor the data."""

    def __init__(
        self, path: Path, manifest: Manifest, digest: str, units: tuple[str, ...], key: PseudonymKey | None
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest  # SHA-256 of the manifest, and so of everything in the bundle
        self.units = units  # pseudonyms, in the order of the units
        self._key = key

    @classmethod
    def open(cls, path: str | Path, *, pseudonym_key: PseudonymKey | None = None) -> Bundle:
        """Check every file of a bundle, then open it. No signature is looked at.

        pseudonym_key: lets callers name units; None takes ``pseudonym.key`` beside the bundle, if there is one.
        Raises FileNotFoundError, FormatError for malformed contents, DigestMismatchError for altered ones.
        """
        path = Path(path)
        if not (path / FILE_NAME).is_file():
            raise FileNotFoundError(f"{path} is not a bundle: it has no {FILE_NAME}")
        raw = (path / FILE_NAME).read_bytes()
        manifest = Manifest.from_bytes(raw)
        _verify_files(path, manifest)
        units = _read_units(path / "units.json", manifest.units)
        bundle = cls(path, manifest, sha256_hex(raw), units, pseudonym_key or _key_beside(path))
        bundle._verify_tensors()
        return bundle

    def _verify_tensors(self) -> None:
        """Shapes, precision and finiteness of everything that predictions rest on, and the origin of the directions."""
        manifest = self.manifest
        if not manifest.is_explicit:
            expected = direction_key(manifest.recipe_digest, bytes.fromhex(manifest.salt)).hex()
            if manifest.key != expected:
                raise VerificationError(f"{FILE_NAME}: the directions' key does not follow from recipe and salt")
        model = {weight.name: weight.shape for weight in manifest.weights}
        _tensors(self.path / "model.safetensors", model, None)
        for probe in manifest.probes:
            self._probe_arrays(probe)
        if self.directions.array is not None and not np.isfinite(self.directions.array).all():
            raise FormatError("sketch/directions.safetensors: not all numbers are finite")

    def _probe_arrays(self, probe: Shape) -> dict[str, Array]:
        manifest = self.manifest
        file = self.path / "probes" / f"{probe.name}.safetensors"
        shape = (manifest.direction_count, manifest.degree, *probe.shape, 2)
        return _tensors(file, {"base": probe.shape, "coefficients": shape}, manifest.dtype)

    @cached_property
    def directions(self) -> Directions:
        """The directions of the sketch, made from the seed, or read when they are explicit."""
        manifest = self.manifest
        if not manifest.is_explicit:
            salt = bytes.fromhex(manifest.salt)
            return Directions.random(
                manifest.recipe_digest, salt, manifest.direction_count, manifest.units, manifest.dtype
            )
        shape = (manifest.direction_count, manifest.units, 2)
        tensors = _tensors(self.path / "sketch" / "directions.safetensors", {"directions": shape}, "float64")
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
                return self.new_sketch(name, arrays["base"], complex_numbers(arrays["coefficients"]))
        known = ", ".join(self.probe_names) or "none"
        hint = "pin it in the recipe, or use bundle.evaluate(recipe, fn) on a bundle that kept its weights"
        raise UnknownNameError(f"the bundle has no probe {name!r}; it has: {known}", hint=hint)

    def new_sketch(self, name: str, base: Array, coefficients: Array) -> Sketch:
        """A sketch along this bundle's directions: base ``[*P]``, coefficients ``[directions, degree, *P]``."""
        return Sketch(
            name=name,
            base=np.asarray(base, dtype=np.float64),
            coefficients=np.asarray(coefficients, dtype=np.complex128),
            projection=self._projection,
            resolve=self.unit_indices,
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
        """Positions of units, given by name (which takes the pseudonym key) or by pseudonym.

        Raises UnknownNameError with all units that are not there, ValueError for a unit named twice.
        """
        position = {pseudonym: i for i, pseudonym in enumerate(self.units)}
        found = [position.get(str(name), self._position_of(name, position)) for name in names]
        unknown = [name for name, i in zip(names, found, strict=True) if i is None]
        if unknown and self._key is None:
            hint = "pass pseudonym_key=, put pseudonym.key beside the bundle, or ask by pseudonym"
            raise RefusedError(f"asking by name takes the pseudonym key: {_listed(unknown)}", hint=hint)
        if unknown:
            raise UnknownNameError(
                f"the bundle has no unit {_listed(unknown)}", hint="deletable units only; see the recipe"
            )
        if len(set(found)) < len(found):
            twice = [name for name, i in zip(names, found, strict=True) if found.count(i) > 1]
            raise ValueError(f"units named more than once: {_listed(twice)}")
        return np.array(found, dtype=np.int64)

    def _position_of(self, name: str | int, position: dict[str, int]) -> int | None:
        return None if self._key is None else position.get(self._key.pseudonym(name))

    def model_state(self) -> dict[str, Array]:
        """The trained model: the constant term of the sketch, by state-dict name."""
        shapes = {weight.name: weight.shape for weight in self.manifest.weights}
        return _tensors(self.path / "model.safetensors", shapes, None)

    def load_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """Load the trained weights into a model of the recipe's class, in its own precision; returns it."""
        own, stored = model.state_dict(), self.model_state()
        if {n: tuple(t.shape) for n, t in own.items()} != {n: a.shape for n, a in stored.items()}:
            different = sorted(set(own) ^ set(stored)) or [
                n for n, a in stored.items() if tuple(own[n].shape) != a.shape
            ]
            raise ValueError(f"the model does not fit the bundle: names or shapes differ at {_listed(different)}")
        model.load_state_dict({name: own[name].new_tensor(array) for name, array in stored.items()})
        return model

    def weight_sketches(self) -> Iterator[tuple[int, int, dict[str, Array]]]:
        """Block by block: first and last direction, and each trained weight's complex ``[directions, degree, *S]``."""
        shapes = {weight.name: weight.shape for weight in self.manifest.weights}
        for entry in self.manifest.weight_sketches:
            loaded = _load(self.path / entry.path)
            leading = (entry.last - entry.first, self.manifest.degree)
            expected = {name: (*leading, *shapes[name], 2) for name in loaded if name in shapes}
            tensors = _checked(loaded, expected, self.manifest.dtype, entry.path)
            yield entry.first, entry.last, {name: complex_numbers(array) for name, array in tensors.items()}


def _listed(names: Sequence[object]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _key_beside(path: Path) -> PseudonymKey | None:
    file = PseudonymKey.path_beside(path)
    return PseudonymKey.load(file) if file.exists() else None


def _verify_files(path: Path, manifest: Manifest) -> None:
    """Every file that is listed, nothing that is not, no links, and the right bytes."""
    present = set()
    for entry in path.rglob("*"):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise FormatError(f"{name} is not a plain file or folder")
        if entry.is_file():
            present.add(name)
    expected = {file.path for file in manifest.files} | {FILE_NAME}
    if present - {SIGNATURE} != expected:
        different = sorted((present - {SIGNATURE}) ^ expected)
        raise FormatError(f"the bundle's files are not those of its manifest: {_listed(different)} missing or extra")
    for file in manifest.files:
        _verify_file(path / file.path, file)


def _verify_file(path: Path, file: File) -> None:
    size = path.stat().st_size
    if size != file.size:
        raise DigestMismatchError(f"{file.path} has {size} bytes, the manifest says {file.size}")
    digest = file_sha256_hex(path)
    if digest != file.sha256:
        raise DigestMismatchError(f"{file.path} has SHA-256 {digest}, the manifest says {file.sha256}")


def _read_units(path: Path, count: int) -> tuple[str, ...]:
    units = parse_canonical(path.read_bytes(), where="units.json")
    well_formed = isinstance(units, list) and all(isinstance(u, str) and len(u) == 64 for u in units)
    if not isinstance(units, list) or not well_formed or len(set(units)) != len(units) or len(units) != count:
        raise FormatError(f"units.json: expected {count} different pseudonyms")
    return tuple(units)


def _load(path: Path) -> dict[str, Array]:
    try:
        return dict(safetensors.numpy.load(path.read_bytes()))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"{path.name} is not a safetensors file: {error}") from error


def _tensors(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str | None) -> dict[str, Array]:
    """The tensors of a file, which must be exactly these, finite, and of this precision (None: any)."""
    return _checked(_load(path), shapes, dtype, path.name)


def _checked(
    tensors: dict[str, Array], shapes: dict[str, tuple[int, ...]], dtype: str | None, where: str
) -> dict[str, Array]:
    if set(tensors) != set(shapes):
        raise FormatError(f"{where}: holds {sorted(tensors)}, expected {sorted(shapes)}")
    for name, array in tensors.items():
        if array.shape != shapes[name]:
            raise FormatError(f"{where}: {name} has shape {array.shape}, expected {shapes[name]}")
        if dtype is not None and array.dtype != dtype:
            raise FormatError(f"{where}: {name} is {array.dtype}, expected {dtype}")
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise FormatError(f"{where}: {name} holds numbers that are not finite")
    return tensors
