"""A signed replay: how far a bundle's numbers are from those that training again in float64 gives.

A DSSE envelope (P-256) around an in-toto Statement v1 about one artefact, the bundle's manifest. Which directions were
replayed follows from the bundle and a text that the auditor chose when the bundle was there. Of each pinned probe it
holds `unlearnkit.estimation.Differences`, as the shortest decimals that read as these float64. `Sketch.bound` takes
those and propagates them to a claim (docs/theory.md section 4.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Literal

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import FILE_NAME
from unlearnkit.canonical import sha256_hex
from unlearnkit.errors import DigestMismatchError, FormatError, UnknownNameError, VerificationError
from unlearnkit.estimation import Differences
from unlearnkit.estimation.draws import Draw, draw_key
from unlearnkit.names import ProbeName, Sha256, Software, counted
from unlearnkit.records import ELSEWHERE, Count, from_json, to_json
from unlearnkit.shapes import Items
from unlearnkit.signing.dsse import sign_envelope, verify_envelope
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement
from unlearnkit.verifier.certificate import Claim, Kind
from unlearnkit.verifier.evidence import Array, FloatText

PREDICATE_TYPE = "https://unlearnkit.dev/replay/v1"

DOMAIN: Literal["unlearnkit/replay/v1"] = "unlearnkit/replay/v1"
"""Names how directions follow from an auditor's seed."""

NOT_REPLAYED = "whether the replay was a real one, which its signers vouch for"
"""What no verification of its file tells."""

Numbers = tuple[FloatText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeDifferences:
    """`Differences` of one probe, as they are stored; what was not replayed is left out."""

    name: ProbeName
    base: Numbers
    gradient: Numbers | None = None
    residual: Numbers | None = None
    slopes: Numbers | None = None
    coefficients: tuple[Numbers, ...] | None = None
    solo: tuple[Numbers, ...] | None = None

    def __post_init__(self) -> None:
        one = (self.base, self.gradient, self.residual, self.slopes, *(self.coefficients or ()), *(self.solo or ()))
        numbers = [part for part in one if part is not None]
        if any(len(part) != len(self.base) for part in numbers):
            raise ValueError(
                f"probe {self.name!r}: expected {counted(len(self.base), 'number')} of each kind, one an element"
            )
        if any(number < 0 for part in numbers for number in part):
            raise ValueError(f"probe {self.name!r}: a difference is negative, expected its size")

    @classmethod
    def of(cls, name: str, found: Differences) -> ProbeDifferences:
        """As stored."""
        return cls(
            name=name,
            base=_numbers(found.base),
            gradient=None if found.gradient is None else _numbers(found.gradient),
            residual=None if found.residual is None else _numbers(found.residual),
            slopes=None if found.slopes is None else _numbers(found.slopes),
            coefficients=None if found.coefficients is None else tuple(map(_numbers, found.coefficients)),
            solo=None if found.solo is None else tuple(map(_numbers, found.solo)),
        )

    def differences(self) -> Differences:
        """As arrays."""
        return Differences(
            base=np.array(self.base),
            gradient=None if self.gradient is None else np.array(self.gradient),
            residual=None if self.residual is None else np.array(self.residual),
            slopes=None if self.slopes is None else np.array(self.slopes),
            coefficients=None if self.coefficients is None else np.array(self.coefficients),
            solo=None if self.solo is None else np.array(self.solo),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a replay in float64 found. bundle, recipe: SHA-256 in hexadecimal.

    seed: what the auditor chose; directions: what follows from it (`directions_from_seed`). names_units: whether the
    pseudonyms were seen to be those of the recipe's units.
    """

    bundle: Annotated[str, ELSEWHERE]
    recipe: Sha256
    draws: Literal["unlearnkit/replay/v1"] = DOMAIN
    seed: str
    directions: tuple[Count, ...]
    names_units: bool
    precision: Literal["float64"] = "float64"
    probes: Annotated[tuple[ProbeDifferences, ...], Items(least=1)]
    software: Software

    def __post_init__(self) -> None:
        if "\0" in self.seed:
            raise ValueError("the seed has a zero byte, which separates what a draw is bound to")

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        seed: str,
        directions: Sequence[int],
        found: Mapping[str, Differences],
        *,
        names_units: bool,
    ) -> ReplayReport:
        """The report of a replay in which everything agreed. found: of every pinned probe."""
        return cls(
            bundle=bundle.digest,
            recipe=bundle.manifest.recipe_digest,
            seed=seed,
            directions=tuple(directions),
            names_units=names_units,
            probes=tuple(ProbeDifferences.of(name, found[name]) for name in bundle.probe_names),
            software=f"unlearnkit {version('unlearnkit')}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReplay:
    """A replay whose signature, bundle and directions were verified. digest: of the file."""

    report: ReplayReport
    digest: str
    signers: tuple[str, ...]

    def differences(self, probe: str) -> Differences:
        """What ``Sketch.bound(rounding=...)`` takes. UnknownNameError for a probe that was not replayed."""
        for found in self.report.probes:
            if found.name == probe:
                return found.differences()
        known = ", ".join(found.name for found in self.report.probes)
        raise UnknownNameError(f"the replay has no probe {probe!r}; it has: {known}")


def named_replay(claims: Iterable[Claim], given: Mapping[str, SignedReplay]) -> SignedReplay | None:
    """The replay that certified claims rest on; None where they name none. given: those at hand, by digest.

    Raises:
        UnknownNameError: It is not at hand.
        VerificationError: They name several: one certificate rests on one.
    """
    named = sorted({digest for claim in claims if claim.kind == Kind.CERTIFIED for digest in claim.evidence})
    if len(named) > 1:
        raise VerificationError(f"its certified claims name {len(named)} replays, expected one: {', '.join(named)}")
    if missing := [digest for digest in named if digest not in given]:
        raise UnknownNameError(
            f"its certified claims rest on the signed replay {missing[0]}, which is not there",
            hint="give its file: `verify --evidence FILE`, `certify --replay FILE`",
        )
    return given[named[0]] if named else None


def pickable(bundle: Bundle) -> int:
    """How many indices there are to pick from: as many as the bundle has of what it has most of."""
    manifest = bundle.manifest
    swept = (max(entry.residual, entry.cubic * (entry.cubic + 1) // 2) for entry in manifest.reverse)
    informed = manifest.informed
    points = (informed.points(degree) for degree in informed.degrees)
    return max(manifest.direction_count, informed.count, len(manifest.solo.units), *swept, *points)


def directions_from_seed(bundle: Bundle, seed: str, count: int) -> tuple[int, ...]:
    """``count`` indices that follow from an auditor's seed: ``Draw(key, 0).subset(pickable, count)``.

    key: `draw_key` of ``DOMAIN``, the bundle's digest and the seed. The auditor chooses the seed after the bundle is
    there, and tells it, so that others can repeat the choice. All of them where there are fewer.
    """
    total = pickable(bundle)
    return tuple(Draw(draw_key(DOMAIN, bundle.digest, seed), 0).subset(total, min(count, total)))


def sign_replay(report: ReplayReport, signers: Sequence[PrivateKey]) -> bytes:
    """The report as a file: a DSSE envelope, canonical JSON."""
    payload = encode_statement(Statement({FILE_NAME: report.bundle}, PREDICATE_TYPE, to_json(report)))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=signers)


def verify_signed_replay(
    raw: bytes, *, where: str, keys: Iterable[PublicKey], bundle: Bundle, threshold: int = 1
) -> SignedReplay:
    """Check signatures, that the replay is of this bundle, and that its directions follow from its seed.

    Raises SignatureError, ThresholdError, FormatError, DigestMismatchError for another bundle, VerificationError for
    directions that were picked and for probes that are not the bundle's. Whether the differences are those of a real
    replay only another one tells: that is what the signature vouches for.
    """
    verified = verify_envelope(raw, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=threshold)
    report = parse_replay(verified.payload, where=where)
    _verify_about(report, bundle, where)
    signers = tuple(key.key_id for key in verified.keys)
    return SignedReplay(report=report, digest=sha256_hex(raw), signers=signers)


def parse_replay(payload: bytes, *, where: str) -> ReplayReport:
    """The report in a payload that was verified; FormatError says what is wrong where."""
    statement = parse_statement(payload, where=where, predicate_type=PREDICATE_TYPE)
    if list(statement.subjects) != [FILE_NAME]:
        raise FormatError(f"{where} is about {list(statement.subjects)}, expected a bundle's manifest")
    return from_json(ReplayReport, dict(statement.predicate), where=where, bundle=statement.subjects[FILE_NAME])


def _verify_about(report: ReplayReport, bundle: Bundle, where: str) -> None:
    if report.bundle != bundle.digest:
        raise DigestMismatchError(f"{where} is about bundle {report.bundle}, this one is {bundle.digest}")
    if report.recipe != bundle.manifest.recipe_digest:
        raise VerificationError(f"{where}: its recipe is not the bundle's")
    expected = directions_from_seed(bundle, report.seed, len(report.directions))
    if report.directions != expected or (pickable(bundle) and not expected):
        raise VerificationError(f"{where}: it replayed the directions {report.directions}, its seed gives {expected}")
    sizes = {name: bundle.probe(name).base.size for name in bundle.probe_names}
    if (found := {probe.name: len(probe.base) for probe in report.probes}) != sizes:
        raise VerificationError(f"{where}: probes and their numbers of elements are {found}, the bundle has {sizes}")


def _numbers(values: Array) -> Numbers:
    return tuple(np.asarray(values, dtype=np.float64).ravel().tolist())
