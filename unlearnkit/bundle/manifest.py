"""The manifest of a bundle: what was computed, from what, and the digest of every other file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from unlearnkit.errors import FormatError
from unlearnkit.estimation.lattice import lattice_size
from unlearnkit.names import NAMES, PROBE_NAME, KeyFingerprint, NamesVersion, Pattern, ProbeName, Sha256, counted
from unlearnkit.records import Count, read_json, write_json
from unlearnkit.shapes import Items, Limits

FILE_NAME = "manifest.json"
UNITS = "units.json"
MODEL = "model.safetensors"
EXPLICIT_DIRECTIONS = "sketch/directions.safetensors"
INFORMED = "sketch/informed.safetensors"
SOLO = "solo.safetensors"

DirectionKey = Annotated[str, Pattern("[0-9a-f]{32}", "32 lower-case hexadecimal digits")]
MAX_DEGREE, MAX_DIRECTIONS, MAX_UNITS = 64, 2**20, 2**22
"""Beyond what anybody sketches: what keeps a manifest from promising arrays that no machine could hold."""
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


def solo_weight_file(first: int, last: int) -> str:
    """Where the weights' series along the units ``first`` up to but not including ``last`` of `SoloUnits` lie."""
    return f"sketch/solo-{first:05d}-{last:05d}.safetensors"


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
    """A file with the weights' coefficients along directions, or units alone, ``first`` up to, without, ``last``."""

    path: str
    first: Count
    last: Count


def reverse_file(name: str) -> str:
    """Where the reverse sweeps of a pinned probe lie."""
    return f"reverse/{name}.safetensors"


def eigenpairs_kept(rank: int, units: int, *, beside_diagonal: bool) -> int:
    """How many of a Hessian's, for a basis of so many columns, as far as there are so many.

    Two for each; four beside a known diagonal, where the basis begins with as many leading directions of the gradients.
    """
    return min((4 if beside_diagonal else 2) * rank, units)


@dataclass(frozen=True, slots=True)
class SweptProbe:
    """A pinned probe that was sketched by reverse sweeps.

    rank: columns of the basis that the second order was found with. residual: directions for what that leaves out.
    cubic: leading directions of the second order that the third one was found with.
    """

    name: ProbeName
    rank: Count
    residual: Count
    cubic: Count = 0

    def eigenpairs(self, units: int, solo: SoloUnits) -> int:
        """How many eigenpairs of each Hessian are kept. solo: series along units make its diagonal known."""
        return eigenpairs_kept(self.rank, units, beside_diagonal=solo.makes_diagonals)

    def shapes(self, elements: int, units: int, solo: SoloUnits) -> dict[str, tuple[int, ...]]:
        """Shapes of its arrays for a probe with so many elements; a complex number is a pair."""
        pairs = self.eigenpairs(units, solo)
        shapes: dict[str, tuple[int, ...]] = {
            "gradient": (elements, units),
            "vectors": (elements, units, pairs),
            "values": (elements, pairs),
            "residual": (self.residual, elements, units, 2),
        }
        if self.cubic:
            shapes["basis"] = (self.cubic, units)
            shapes["cubic"] = (self.cubic * (self.cubic + 1) // 2, elements, units)
        return shapes


def forms_of(degree: int) -> str:
    """What the names of arrays begin with that tell the forms of a degree on the span of informed directions."""
    return f"degree-{degree}/"


@dataclass(frozen=True, slots=True)
class InformedDirections:
    """How many directions were found from the data, which are therefore stored, and how often they were refined.

    degree: 1, the slopes along each; above that, forms on the span of the ``leading`` ones, 0 for degree 1.
    """

    count: Count = 0
    degree: Count = 0
    leading: Count = 0
    power_iterations: Count = 0

    def points(self, degree: int) -> int:
        """How many points tell the form of a degree above one."""
        return lattice_size(self.leading, degree)

    @property
    def degrees(self) -> range:
        """Those above one."""
        return range(2, self.degree + 1)

    def __str__(self) -> str:
        """In words."""
        spanned = f" (degree {self.degree} on the span of {self.leading})" if self.leading else ""
        return counted(self.count, "informed direction") + spanned

    def shapes(self, units: int, weights: Sequence[Shape], probes: Sequence[Shape]) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays in their file: the directions, the slopes along each, and forms at points."""
        moved = {f"weights/{weight.name}": weight.shape for weight in weights}
        moved |= {f"probes/{probe.name}": probe.shape for probe in probes}
        shapes = {"directions": (self.count, units)} | {name: (self.count, *shape) for name, shape in moved.items()}
        for degree in self.degrees:
            count = self.points(degree)
            shapes |= {f"{forms_of(degree)}{name}": (count, *shape) for name, shape in moved.items()}
        return shapes


@dataclass(frozen=True, slots=True)
class SoloUnits:
    """Along which units alone training was sketched, by position, and to which degree; 0 and none: along none."""

    degree: Count = 0
    units: Annotated[tuple[Count, ...], Items(in_order=True)] = ()

    @property
    def makes_diagonals(self) -> bool:
        """Whether they have the second degree: diagonals of Hessians."""
        return self.degree > 1

    def shapes(self, probes: Sequence[Shape], own_loss: str) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays in their file. own_loss: the probe of which only each unit's own element is kept."""
        leading = (len(self.units), self.degree)
        return {f"probes/{p.name}": leading if p.name == own_loss else (*leading, *p.shape) for p in probes}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSalt:
    """A salt that somebody chose, and may have chosen from many: nothing is to be certified from it."""

    kind: Literal["chosen"] = "chosen"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaltFromLog:
    """A salt that follows from the recipe's digest and the text of a checkpoint of the log that commits to it."""

    kind: Literal["log"] = "log"
    checkpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomDirections:
    """Directions that everybody draws again from the recipe's digest and a salt. key: what follows from these two."""

    kind: Literal["random"] = "random"
    count: Count
    salt: Sha256
    salt_from: ChosenSalt | SaltFromLog = ChosenSalt()
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
    pseudonym_key: KeyFingerprint  # of the key that the pseudonyms in units.json were made with
    names: NamesVersion = NAMES  # the form of the names that they were made of
    degree: Positive
    directions: RandomDirections | ExplicitDirections
    dtype: Precision
    piecewise: tuple[Piecewise, ...]
    versions: Mapping[str, str]
    informed: InformedDirections = InformedDirections()
    solo: SoloUnits = SoloUnits()
    own_loss: str = ""  # the probe with one element a unit, the mean loss on its own examples; empty for none
    probes: tuple[PinnedProbe, ...] = ()
    reverse: tuple[SweptProbe, ...] = ()
    weights: tuple[Shape, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)  # further names of weights, and the first of each
    weight_sketches: tuple[WeightSketch, ...] = ()
    solo_weights: tuple[WeightSketch, ...] = ()
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
    def checkpoint(self) -> str:
        """Text of the log's checkpoint from which the salt follows; empty for a salt that somebody chose."""
        salt_from = self.directions.salt_from if isinstance(self.directions, RandomDirections) else ChosenSalt()
        return salt_from.checkpoint if isinstance(salt_from, SaltFromLog) else ""

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
        _verify_limits(manifest)
        _verify_directions(manifest)
        _verify_names(manifest)
        _verify_tied(manifest)
        _verify_solo(manifest)
        _verify_contents(manifest)
        return manifest


def _verify_limits(manifest: Manifest) -> None:
    """Nothing is beyond what a machine could hold, whatever arrays without elements would fit."""
    swept = [count for entry in manifest.reverse for count in (entry.rank, entry.residual)]
    informed = manifest.informed
    limits = (
        ("units", MAX_UNITS, [manifest.units]),
        ("degree", MAX_DEGREE, [manifest.degree, manifest.solo.degree, informed.degree]),
        ("directions", MAX_DIRECTIONS, [manifest.direction_count, informed.count, informed.leading, *swept]),
    )
    for what, most, found in limits:
        _expect(max(found) <= most, f"{what}: got {max(found)}, expected at most {most}")
    points = max((informed.points(degree) for degree in informed.degrees), default=0)
    _expect(points <= MAX_DIRECTIONS, f"points: got {points}, expected at most {MAX_DIRECTIONS}")


def _verify_directions(manifest: Manifest) -> None:
    informed = manifest.informed
    _expect(informed.count or not informed.power_iterations, "power iterations of no directions")
    _expect(informed.count <= manifest.units, "there are more informed directions than units")
    _expect(
        bool(informed.count) == bool(informed.degree),
        f"degree {informed.degree} of {counted(informed.count, 'direction')}",
    )
    _expect(bool(informed.leading) == (informed.degree > 1), f"degree {informed.degree} of {informed.leading} leading")
    _expect(informed.leading <= informed.count, "there are more leading directions than informed ones")
    _expect(not (informed.count and manifest.is_explicit), "informed directions beside explicit ones")
    for entry in manifest.reverse:
        _expect(not manifest.is_explicit, f"reverse sweeps of {entry.name!r} beside explicit directions")
        _expect(entry.cubic <= entry.rank, f"a cubic rank of {entry.name!r} above its rank: {entry.cubic}")


def _verify_names(manifest: Manifest) -> None:
    for shapes in (manifest.probes, manifest.weights, manifest.reverse):
        names = [shape.name for shape in shapes]
        _expect(names == sorted(set(names)), f"names are not sorted, each once: {names}")


def _verify_tied(manifest: Manifest) -> None:
    shapes = {weight.name: weight.shape for weight in manifest.weights}
    for name, source in manifest.tied.items():
        fits = name != source and source not in manifest.tied and name in shapes and shapes[name] == shapes.get(source)
        _expect(fits, f"tied: {name!r} cannot share the tensor of {source!r}")


def _verify_solo(manifest: Manifest) -> None:
    """What must hold for series along units alone, and for own losses."""
    solo, own = manifest.solo, manifest.own_loss
    _expect(
        bool(solo.units) == (solo.degree > 0), f"solo: degree {solo.degree} along {counted(len(solo.units), 'unit')}"
    )
    _expect(max(solo.units, default=0) < manifest.units, f"solo: a position is not below {manifest.units}")
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
