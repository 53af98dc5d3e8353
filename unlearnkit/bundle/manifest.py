"""The manifest of a bundle: what was computed, from what, and the digest of every other file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from unlearnkit.canonical import canonicalize, parse_canonical, take_fields
from unlearnkit.errors import FormatError, UnknownVersionError

SCHEMA = "unlearnkit/bundle/v1"
FILE_NAME = "manifest.json"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PROBE = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class File:
    """One file of the bundle, by its POSIX path inside it."""

    path: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Shape:
    """Name and shape of a probe or of a weight."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WeightSketch:
    """A file with the weights' coefficients along directions ``first`` up to but not including ``last``."""

    path: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle holds. Nothing in it depends on when or how fast it was made."""

    recipe_digest: str
    recipe: Mapping[str, Any]
    counterfactual: str
    units: int
    degree: int
    direction_count: int
    salt: str  # hex; "" for explicit directions
    key: str  # hex; "" for explicit directions
    dtype: str
    piecewise: tuple[Mapping[str, str], ...]
    versions: Mapping[str, str]
    probes: tuple[Shape, ...] = ()
    weights: tuple[Shape, ...] = ()
    weight_sketches: tuple[WeightSketch, ...] = ()
    files: tuple[File, ...] = ()

    @property
    def is_explicit(self) -> bool:
        """Whether the directions were given by somebody; such a bundle can never be certified."""
        return not self.salt

    def with_contents(self, **contents: object) -> Manifest:
        """The same manifest with its lists of contents filled in."""
        return replace(self, **contents)  # type: ignore[arg-type]

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        return canonicalize(
            {
                "schema": SCHEMA,
                "recipe": {"digest": self.recipe_digest, "description": self.recipe},
                "counterfactual": self.counterfactual,
                "units": self.units,
                "degree": self.degree,
                "directions": {
                    "kind": "explicit" if self.is_explicit else "random",
                    "count": self.direction_count,
                    "salt": self.salt,
                    "key": self.key,
                },
                "dtype": self.dtype,
                "piecewise": [dict(entry) for entry in self.piecewise],
                "versions": dict(self.versions),
                "probes": [{"name": p.name, "shape": list(p.shape)} for p in self.probes],
                "weights": [{"name": w.name, "shape": list(w.shape)} for w in self.weights],
                "weight_sketches": [{"path": s.path, "first": s.first, "last": s.last} for s in self.weight_sketches],
                "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.files],
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """Parse strictly. FormatError says what is wrong where; UnknownVersionError for another schema."""
        where = FILE_NAME
        record = parse_canonical(raw, where=where)
        if isinstance(record, dict) and record.get("schema") != SCHEMA:
            raise UnknownVersionError(f"{where}: schema is {record.get('schema')!r}, expected {SCHEMA!r}")
        fields = take_fields(record, where=where, required=_FIELDS)
        recipe = take_fields(fields["recipe"], where=f"{where}: recipe", required={"digest": str, "description": dict})
        directions = take_fields(
            fields["directions"],
            where=f"{where}: directions",
            required={"kind": str, "count": int, "salt": str, "key": str},
        )
        manifest = cls(
            recipe_digest=recipe["digest"],
            recipe=recipe["description"],
            counterfactual=fields["counterfactual"],
            units=fields["units"],
            degree=fields["degree"],
            direction_count=directions["count"],
            salt=directions["salt"],
            key=directions["key"],
            dtype=fields["dtype"],
            piecewise=_each(fields["piecewise"], "piecewise", lambda entry: entry, operation=str, where=str, kind=str),
            versions=_texts(fields["versions"], f"{where}: versions"),
            probes=_each(fields["probes"], "probes", _shape, name=str, shape=list),
            weights=_each(fields["weights"], "weights", _shape, name=str, shape=list),
            weight_sketches=_each(
                fields["weight_sketches"], "weight_sketches", lambda e: WeightSketch(**e), path=str, first=int, last=int
            ),
            files=_each(fields["files"], "files", lambda e: File(**e), path=str, size=int, sha256=str),
        )
        _verify(manifest, directions["kind"])
        return manifest


_FIELDS: dict[str, type] = {
    "schema": str,
    "recipe": dict,
    "counterfactual": str,
    "units": int,
    "degree": int,
    "directions": dict,
    "dtype": str,
    "piecewise": list,
    "versions": dict,
    "probes": list,
    "weights": list,
    "weight_sketches": list,
    "files": list,
}


def _each(entries: Sequence[object], name: str, make: Callable[[dict[str, Any]], T], /, **types: type) -> tuple[T, ...]:
    where = f"{FILE_NAME}: {name}"
    return tuple(make(take_fields(entry, where=f"{where}[{i}]", required=types)) for i, entry in enumerate(entries))


def _texts(record: Mapping[str, object], where: str) -> dict[str, str]:
    return take_fields(record, where=where, required=dict.fromkeys(record, str))


def _shape(entry: Mapping[str, Any]) -> Shape:
    sizes = entry["shape"]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        raise FormatError(f"{FILE_NAME}: shape of {entry['name']!r} is {sizes}, expected whole numbers >= 0")
    return Shape(entry["name"], tuple(sizes))


def _verify(manifest: Manifest, kind: str) -> None:
    """What must hold between the fields."""
    _expect(_DIGEST.fullmatch(manifest.recipe_digest), "recipe digest is not 64 hexadecimal digits")
    _expect(
        kind == ("explicit" if manifest.is_explicit else "random"), f"directions of kind {kind!r} do not fit their salt"
    )
    if not manifest.is_explicit:
        _expect(_DIGEST.fullmatch(manifest.salt), "the salt is not 64 hexadecimal digits")
        _expect(re.fullmatch(r"[0-9a-f]{32}", manifest.key), "the key is not 32 hexadecimal digits")
    for name in ("units", "degree", "direction_count"):
        _expect(getattr(manifest, name) >= 1, f"{name} is {getattr(manifest, name)}, expected at least 1")
    _expect(manifest.dtype in ("float32", "float64"), f"dtype is {manifest.dtype!r}, expected float32 or float64")
    for probe in manifest.probes:
        _expect(_PROBE.fullmatch(probe.name), f"probe name {probe.name!r} cannot be a file name")
    for file in manifest.files:
        _expect(_PATH.fullmatch(file.path), f"path {file.path!r} is not a plain path inside the bundle")
        _expect(_DIGEST.fullmatch(file.sha256) and file.size >= 0, f"digest or size of {file.path!r} is malformed")
    paths = [file.path for file in manifest.files]
    _expect(paths == sorted(set(paths)), "files are not sorted by path, each once")
    _expect(FILE_NAME not in paths, "the manifest lists itself")
    _verify_coverage(manifest)


def _verify_coverage(manifest: Manifest) -> None:
    """Weight sketches, where there are any, cover every direction once, in order."""
    position = 0
    for sketch in manifest.weight_sketches:
        _expect(
            sketch.first == position < sketch.last, f"weight sketch {sketch.path!r} does not continue the one before"
        )
        position = sketch.last
    covered = not manifest.weight_sketches or position == manifest.direction_count
    _expect(covered, f"weight sketches end at direction {position} of {manifest.direction_count}")
    listed = {file.path for file in manifest.files}
    expected = {"units.json", "model.safetensors"}
    expected |= {f"probes/{probe.name}.safetensors" for probe in manifest.probes}
    expected |= {sketch.path for sketch in manifest.weight_sketches}
    expected |= {"sketch/directions.safetensors"} if manifest.is_explicit else set()
    _expect(listed == expected, f"files do not fit the contents: {sorted(listed ^ expected)}")


def _expect(holds: object, message: str) -> None:
    if not holds:
        raise FormatError(f"{FILE_NAME}: {message}")
