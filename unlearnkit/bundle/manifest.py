"""The manifest of a bundle: what was computed, from what, and the digest of every other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from unlearnkit.errors import FormatError
from unlearnkit.names import PROBE_NAME, Pattern, ProbeName, Sha256
from unlearnkit.records import Count, read_json, write_json
from unlearnkit.shapes import Limits

FILE_NAME = "manifest.json"
UNITS = "units.json"
MODEL = "model.safetensors"
EXPLICIT_DIRECTIONS = "sketch/directions.safetensors"
INFORMED = "sketch/informed.safetensors"

DirectionKey = Annotated[str, Pattern("[0-9a-f]{32}", "32 lower-case hexadecimal digits")]
Positive = Annotated[int, Limits(least=1)]
Precision = Literal["float32", "float64"]


def probe_file(name: str) -> str:
    """Where a pinned probe lies in a bundle. ValueError for a name that is not a plain, portable file name."""
    if not PROBE_NAME.fits(name):
        raise ValueError(f"probe name {name!r}: expected {PROBE_NAME.what}")
    return f"probes/{name}.safetensors"


def weight_sketch_file(first: int, last: int) -> str:
    """Where the weights' coefficients along directions ``first`` up to but not including ``last`` lie."""
    return f"sketch/directions-{first:05d}-{last:05d}.safetensors"


@dataclass(frozen=True, slots=True)
class File:
    """One file of the bundle, by its POSIX path inside it."""

    path: str
    size: Count  # bytes
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Shape:
    """Name and shape of a weight."""

    name: str
    shape: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class PinnedProbe(Shape):
    """Name and shape of a pinned probe. The name is a plain, portable file name."""

    name: ProbeName


@dataclass(frozen=True, slots=True)
class WeightSketch:
    """A file with the weights' coefficients along directions ``first`` up to but not including ``last``."""

    path: str
    first: Count
    last: Count


def reverse_file(name: str) -> str:
    """Where the reverse sweeps of a pinned probe lie."""
    return f"reverse/{name}.safetensors"


@dataclass(frozen=True, slots=True)
class SweptProbe:
    """A pinned probe that was sketched by reverse sweeps.

    rank: columns of the basis that the second order was found with. residual: directions for what that leaves out.
    """

    name: ProbeName
    rank: Count
    residual: Count

    def eigenpairs(self, units: int) -> int:
        """How many eigenpairs of each Hessian are kept: two for each column of the basis."""
        return min(2 * self.rank, units)

    def shapes(self, elements: int, units: int) -> dict[str, tuple[int, ...]]:
        """Shapes of its arrays for a probe with so many elements; a complex number is a pair."""
        pairs = self.eigenpairs(units)
        return {
            "gradient": (elements, units),
            "vectors": (elements, units, pairs),
            "values": (elements, pairs),
            "residual": (self.residual, elements, units, 2),
        }


@dataclass(frozen=True, slots=True)
class InformedDirections:
    """How many directions were found from the data, which are therefore stored, and how often they were refined."""

    count: Count = 0
    power_iterations: Count = 0

    def shapes(self, units: int, weights: Sequence[Shape], probes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays in their file: the directions, and along each the slopes of weights and probes."""
        slopes = {f"weights/{weight.name}": weight.shape for weight in weights}
        slopes |= {f"probes/{probe.name}": probe.shape for probe in probes}
        return {"directions": (self.count, units)} | {name: (self.count, *shape) for name, shape in slopes.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDirections:
    """Directions that everybody draws again from the recipe's digest and a salt. key: what follows from these two."""

    kind: Literal["random"] = "random"
    count: Count
    salt: Sha256
    key: DirectionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplicitDirections:
    """Directions that somebody gave; they are stored, and such a bundle can never be certified."""

    kind: Literal["explicit"] = "explicit"
    count: Count
    salt: Literal[""] = ""
    key: Literal[""] = ""


@dataclass(frozen=True, slots=True)
class RecipeText:
    """The recipe's description of itself, and the digest of the recipe."""

    digest: Sha256
    description: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Piecewise:
    """An operation that is only piecewise analytic, and where training used it."""

    operation: str
    where: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle holds. Nothing in it depends on when or how fast it was made."""

    schema: Literal["unlearnkit/bundle/v1"] = "unlearnkit/bundle/v1"
    recipe: RecipeText
    counterfactual: str
    units: Positive
    degree: Positive
    directions: RandomDirections | ExplicitDirections
    dtype: Precision
    piecewise: tuple[Piecewise, ...]
    versions: Mapping[str, str]
    informed: InformedDirections = InformedDirections()
    probes: tuple[PinnedProbe, ...] = ()
    reverse: tuple[SweptProbe, ...] = ()
    weights: tuple[Shape, ...] = ()
    weight_sketches: tuple[WeightSketch, ...] = ()
    files: tuple[File, ...] = ()  # all but the manifest itself and the signature, sorted by path

    @property
    def recipe_digest(self) -> str:
        """Digest of the recipe."""
        return self.recipe.digest

    @property
    def direction_count(self) -> int:
        """How many directions, of those that were not found from the data."""
        return self.directions.count

    @property
    def salt(self) -> str:
        """What the directions follow from, beside the recipe's digest: hex; empty for explicit ones."""
        return self.directions.salt

    @property
    def is_explicit(self) -> bool:
        """Whether the directions were given by somebody; such a bundle can never be certified."""
        return isinstance(self.directions, ExplicitDirections)

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785). ValueError for a manifest that is not what its declaration allows."""
        return write_json(self)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Manifest:
        """Parse strictly. FormatError says what is wrong where; UnknownVersionError for another schema."""
        manifest = read_json(cls, raw, where=FILE_NAME)
        _verify_directions(manifest)
        _verify_names(manifest)
        _verify_contents(manifest)
        return manifest


def _verify_directions(manifest: Manifest) -> None:
    informed = manifest.informed
    _expect(informed.count or not informed.power_iterations, "power iterations of no directions")
    _expect(informed.count <= manifest.units, "there are more informed directions than units")
    _expect(not (informed.count and manifest.is_explicit), "informed directions beside explicit ones")
    for entry in manifest.reverse:
        _expect(not manifest.is_explicit, f"reverse sweeps of {entry.name!r} beside explicit directions")


def _verify_names(manifest: Manifest) -> None:
    for shapes in (manifest.probes, manifest.weights, manifest.reverse):
        names = [shape.name for shape in shapes]
        _expect(names == sorted(set(names)), f"names are not sorted, each once: {names}")


def _verify_contents(manifest: Manifest) -> None:
    """The files are those that the contents need; weight sketches cover every direction once, in order, or none."""
    position = 0
    for sketch in manifest.weight_sketches:
        continues = sketch.first == position < sketch.last
        _expect(continues, f"weight sketch {sketch.path!r} does not continue at direction {position}")
        _expect(sketch.path == weight_sketch_file(sketch.first, sketch.last), f"weight sketch at {sketch.path!r}")
        position = sketch.last
    complete = position == manifest.direction_count or not manifest.weight_sketches
    _expect(complete, f"weight sketches end at direction {position} of {manifest.direction_count}")
    expected = [UNITS, MODEL, *(probe_file(probe.name) for probe in manifest.probes)]
    expected += [sketch.path for sketch in manifest.weight_sketches]
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
