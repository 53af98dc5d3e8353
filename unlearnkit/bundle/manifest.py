"""The manifest of a bundle: what was computed, from what, and the digest of every other file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from unlearnkit.canonical import canonicalize, parse_canonical, take_fields
from unlearnkit.errors import FormatError, UnknownVersionError

SCHEMA = "unlearnkit/bundle/v1"

FILE_NAME = "manifest.json"
UNITS = "units.json"
MODEL = "model.safetensors"
EXPLICIT_DIRECTIONS = "sketch/directions.safetensors"
INFORMED = "sketch/informed.safetensors"
SOLO = "solo.safetensors"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-f]{32}")
_PROBE = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
T = TypeVar("T")


def probe_file(name: str) -> str:
    """Where a pinned probe lies in a bundle. ValueError for a name that is not a plain, portable file name."""
    if not _PROBE.fullmatch(name):
        raise ValueError(f"probe name {name!r}: expected 1 to 64 of a-z, 0-9, '_', '.' and '-', the last two not first")
    return f"probes/{name}.safetensors"


def weight_sketch_file(first: int, last: int) -> str:
    """Where the weights' coefficients along directions ``first`` up to but not including ``last`` lie."""
    return f"sketch/directions-{first:05d}-{last:05d}.safetensors"


def solo_weight_file(first: int, last: int) -> str:
    """Where the weights' series along the units ``first`` up to but not including ``last`` of `SoloUnits` lie."""
    return f"sketch/solo-{first:05d}-{last:05d}.safetensors"


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
    """A file with the weights' coefficients along directions, or units alone, ``first`` up to, without, ``last``."""

    path: str
    first: int
    last: int


def reverse_file(name: str) -> str:
    """Where the reverse sweeps of a pinned probe lie."""
    return f"reverse/{name}.safetensors"


@dataclass(frozen=True, slots=True)
class SweptProbe:
    """A pinned probe that was sketched by reverse sweeps.

    rank: columns of the basis that the second order was found with. residual: directions for what that leaves out.
    cubic: leading columns of the basis that the third order was found with.
    """

    name: str
    rank: int
    residual: int
    cubic: int = 0

    def eigenpairs(self, units: int) -> int:
        """How many eigenpairs of each Hessian are kept: two for each column of the basis."""
        return min(2 * self.rank, units)

    def shapes(self, elements: int, units: int) -> dict[str, tuple[int, ...]]:
        """Shapes of its arrays for a probe with so many elements; a complex number is a pair."""
        pairs = self.eigenpairs(units)
        shapes = {
            "gradient": (elements, units),
            "vectors": (elements, units, pairs),
            "values": (elements, pairs),
            "residual": (self.residual, elements, units, 2),
        }
        if self.cubic:
            shapes["basis"] = (self.cubic, units)
            shapes["cubic"] = (self.cubic * (self.cubic + 1) // 2, elements, units)
        return shapes


@dataclass(frozen=True, slots=True)
class InformedDirections:
    """How many directions were found from the data, which are therefore stored, and how often they were refined."""

    count: int = 0
    power_iterations: int = 0

    def shapes(self, units: int, weights: Sequence[Shape], probes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays in their file: the directions, and along each the slopes of weights and probes."""
        slopes = {f"weights/{weight.name}": weight.shape for weight in weights}
        slopes |= {f"probes/{probe.name}": probe.shape for probe in probes}
        return {"directions": (self.count, units)} | {name: (self.count, *shape) for name, shape in slopes.items()}


@dataclass(frozen=True, slots=True)
class SoloUnits:
    """Along which units alone training was sketched, by position, and to which degree; 0 and none: along none."""

    degree: int = 0
    units: tuple[int, ...] = ()

    def shapes(self, probes: Sequence[Shape], own_loss: str) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays in their file. own_loss: the probe of which only each unit's own element is kept."""
        leading = (len(self.units), self.degree)
        return {f"probes/{p.name}": leading if p.name == own_loss else (*leading, *p.shape) for p in probes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle holds. Nothing in it depends on when or how fast it was made."""

    recipe_digest: str
    recipe: Mapping[str, Any]  # the recipe's description of itself
    counterfactual: str
    units: int
    degree: int
    direction_count: int
    salt: str  # hex; "" for explicit directions
    key: str  # hex; "" for explicit directions
    dtype: str
    piecewise: tuple[Mapping[str, str], ...]  # operation, where, kind
    versions: Mapping[str, str]
    checkpoint: str = ""  # of an audit log, from which the salt follows; "" for a salt that somebody chose
    informed: InformedDirections = InformedDirections()
    solo: SoloUnits = SoloUnits()
    own_loss: str = ""  # the probe with one element a unit, the mean loss on its own examples; "" for none
    probes: tuple[Shape, ...] = ()
    reverse: tuple[SweptProbe, ...] = ()
    weights: tuple[Shape, ...] = ()
    weight_sketches: tuple[WeightSketch, ...] = ()
    solo_weights: tuple[WeightSketch, ...] = ()
    files: tuple[File, ...] = ()  # all but the manifest itself and the signature, sorted by path

    @property
    def is_explicit(self) -> bool:
        """Whether the directions were given by somebody; such a bundle can never be certified."""
        return not self.salt

    @property
    def salt_from(self) -> str:
        """Where the salt came from: "log", later than its commitment to the recipe, or "chosen" by somebody."""
        return "log" if self.checkpoint else "chosen"

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
                    "salt_from": self.salt_from,
                    "checkpoint": self.checkpoint,
                },
                "informed": asdict(self.informed),
                "solo": {"degree": self.solo.degree, "units": list(self.solo.units)},
                "own_loss": self.own_loss,
                "dtype": self.dtype,
                "piecewise": [dict(entry) for entry in self.piecewise],
                "versions": dict(self.versions),
                **{name: [asdict(entry) for entry in getattr(self, name)] for name in _CONTENTS},
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """Parse strictly. FormatError says what is wrong where; UnknownVersionError for another schema."""
        record = parse_canonical(raw, where=FILE_NAME)
        if isinstance(record, dict) and record.get("schema") != SCHEMA:
            raise UnknownVersionError(f"{FILE_NAME}: schema is {record.get('schema')!r}, expected {SCHEMA!r}")
        fields = take_fields(record, where=FILE_NAME, required=_FIELDS)
        recipe = take_fields(fields["recipe"], where=f"{FILE_NAME}: recipe", required=_RECIPE)
        directions = take_fields(fields["directions"], where=f"{FILE_NAME}: directions", required=_DIRECTIONS)
        informed = take_fields(fields["informed"], where=f"{FILE_NAME}: informed", required=_INFORMED)
        solo = take_fields(fields["solo"], where=f"{FILE_NAME}: solo", required=_SOLO)
        versions = fields["versions"]
        manifest = cls(
            recipe_digest=recipe["digest"],
            recipe=recipe["description"],
            direction_count=directions["count"],
            salt=directions["salt"],
            key=directions["key"],
            checkpoint=directions["checkpoint"],
            solo=SoloUnits(solo["degree"], _positions(solo["units"])),
            informed=InformedDirections(**informed),
            versions=take_fields(versions, where=f"{FILE_NAME}: versions", required=dict.fromkeys(versions, str)),
            piecewise=_each(fields["piecewise"], "piecewise", dict, operation=str, where=str, kind=str),
            probes=_each(fields["probes"], "probes", _shape, name=str, shape=list),
            reverse=_each(fields["reverse"], "reverse", SweptProbe, name=str, rank=int, residual=int, cubic=int),
            weights=_each(fields["weights"], "weights", _shape, name=str, shape=list),
            weight_sketches=_each(
                fields["weight_sketches"], "weight_sketches", WeightSketch, path=str, first=int, last=int
            ),
            solo_weights=_each(fields["solo_weights"], "solo_weights", WeightSketch, path=str, first=int, last=int),
            files=_each(fields["files"], "files", File, path=str, size=int, sha256=str),
            **{name: fields[name] for name in ("counterfactual", "units", "degree", "dtype", "own_loss")},
        )
        _verify_values(manifest, directions["kind"])
        _expect(
            directions["salt_from"] == manifest.salt_from, f"a salt from {directions['salt_from']!r}: see checkpoint"
        )
        _verify_solo(manifest)
        _verify_contents(manifest)
        return manifest


_CONTENTS = ("probes", "reverse", "weights", "weight_sketches", "solo_weights", "files")
_FIELDS: dict[str, type] = {
    "schema": str,
    "recipe": dict,
    "counterfactual": str,
    "units": int,
    "degree": int,
    "directions": dict,
    "informed": dict,
    "solo": dict,
    "own_loss": str,
    "dtype": str,
    "piecewise": list,
    "versions": dict,
    **dict.fromkeys(_CONTENTS, list),
}
_RECIPE: dict[str, type] = {"digest": str, "description": dict}
_DIRECTIONS: dict[str, type] = {"kind": str, "count": int, "salt": str, "key": str, "salt_from": str, "checkpoint": str}
_INFORMED: dict[str, type] = {"count": int, "power_iterations": int}
_SOLO: dict[str, type] = {"degree": int, "units": list}


def _each(entries: Sequence[object], name: str, make: Callable[..., T], /, **types: type) -> tuple[T, ...]:
    where = f"{FILE_NAME}: {name}"
    return tuple(make(**take_fields(entry, where=f"{where}[{i}]", required=types)) for i, entry in enumerate(entries))


def _shape(*, name: str, shape: list[object]) -> Shape:
    sizes = tuple(size for size in shape if type(size) is int and size >= 0)
    _expect(len(sizes) == len(shape), f"the shape of {name!r} is {shape}, expected whole numbers >= 0")
    return Shape(name, sizes)


def _positions(units: list[object]) -> tuple[int, ...]:
    positions = tuple(unit for unit in units if type(unit) is int)
    _expect(len(positions) == len(units), "solo: the units are not all whole numbers")
    return positions


def _verify_values(manifest: Manifest, kind: str) -> None:
    """What must hold for single fields."""
    _expect(_DIGEST.fullmatch(manifest.recipe_digest), "the recipe's digest is not 64 hexadecimal digits")
    if kind == "random":
        _expect(_DIGEST.fullmatch(manifest.salt), "the salt of random directions is not 64 hexadecimal digits")
        _expect(_KEY.fullmatch(manifest.key), "the key of random directions is not 32 hexadecimal digits")
    else:
        _expect(kind == "explicit", f"directions are of kind {kind!r}, expected random or explicit")
        _expect(not manifest.salt + manifest.key, "explicit directions have a salt or a key")
    for name, least in (("units", 1), ("degree", 1), ("direction_count", 0)):
        _expect(getattr(manifest, name) >= least, f"{name} is {getattr(manifest, name)}, expected at least {least}")
    _expect(min(manifest.informed.count, manifest.informed.power_iterations) >= 0, "informed has negative numbers")
    _expect(manifest.informed.count or not manifest.informed.power_iterations, "power iterations of no directions")
    _expect(manifest.informed.count <= manifest.units, "there are more informed directions than units")
    _expect(not (manifest.informed.count and manifest.is_explicit), "informed directions beside explicit ones")
    _expect(manifest.dtype in ("float32", "float64"), f"dtype is {manifest.dtype!r}, expected float32 or float64")
    for probe in manifest.probes:
        _expect(_PROBE.fullmatch(probe.name), f"probe name {probe.name!r} cannot be a file name")
    for file in manifest.files:
        _expect(_DIGEST.fullmatch(file.sha256), f"the digest of {file.path!r} is not 64 hexadecimal digits")
        _expect(file.size >= 0, f"the size of {file.path!r} is {file.size}")
    for entry in manifest.reverse:
        _expect(min(entry.rank, entry.residual) >= 0, f"the rank or the residual of {entry.name!r} are negative")
        _expect(0 <= entry.cubic <= entry.rank, f"the cubic rank of {entry.name!r} is {entry.cubic}, above its rank")
        _expect(not manifest.is_explicit, f"reverse sweeps of {entry.name!r} beside explicit directions")
    for shapes in (manifest.probes, manifest.weights, manifest.reverse):
        names = [shape.name for shape in shapes]
        _expect(names == sorted(set(names)), f"names are not sorted, each once: {names}")


def _verify_solo(manifest: Manifest) -> None:
    """What must hold for series along units alone, and for own losses."""
    solo, own = manifest.solo, manifest.own_loss
    _expect(bool(solo.units) == (solo.degree > 0), f"solo: degree {solo.degree} along {len(solo.units)} units")
    rising = all(a < b for a, b in zip((-1, *solo.units), (*solo.units, manifest.units), strict=True))
    _expect(rising, "solo: the units are not increasing positions")
    shape = next((probe.shape for probe in manifest.probes if probe.name == own), None)
    _expect(not own or shape == (manifest.units,), f"own_loss: {own!r} is no probe with one element a unit")


def _verify_blocks(sketches: Sequence[WeightSketch], count: int, file: Callable[[int, int], str]) -> None:
    """Weight sketches cover every direction, or unit, once, in order, or none."""
    position = 0
    for sketch in sketches:
        continues = sketch.first == position < sketch.last
        _expect(continues, f"weight sketch {sketch.path!r} does not continue at direction {position}")
        _expect(sketch.path == file(sketch.first, sketch.last), f"weight sketch at {sketch.path!r}")
        position = sketch.last
    _expect(position == count or not sketches, f"weight sketches end at direction {position} of {count}")


def _verify_contents(manifest: Manifest) -> None:
    """The files are those that the contents need."""
    _verify_blocks(manifest.weight_sketches, manifest.direction_count, weight_sketch_file)
    _verify_blocks(manifest.solo_weights, len(manifest.solo.units), solo_weight_file)
    expected = [UNITS, MODEL, *(probe_file(probe.name) for probe in manifest.probes)]
    expected += [sketch.path for sketch in (*manifest.weight_sketches, *manifest.solo_weights)]
    expected += [SOLO] if manifest.solo.units else []
    pinned = {probe.name for probe in manifest.probes}
    for entry in manifest.reverse:
        _expect(entry.name in pinned, f"reverse sweeps of {entry.name!r}, which is not a pinned probe")
        expected.append(reverse_file(entry.name))
    expected += [EXPLICIT_DIRECTIONS] if manifest.is_explicit else []
    expected += [INFORMED] if manifest.informed.count else []
    paths = [file.path for file in manifest.files]
    _expect(paths == sorted(expected), f"files are {paths}, expected {sorted(expected)}")


def _expect(holds: object, message: str) -> None:
    if not holds:
        raise FormatError(f"{FILE_NAME}: {message}")
