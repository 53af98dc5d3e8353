"""Evidence of a retraining audit: which deletions were drawn, and what real retrainings without them gave.

A DSSE envelope (P-256) around an in-toto Statement v1 about one artefact, the bundle's manifest. Deletions are the
positions of units in the bundle. Values of probes are float64, each the shortest decimal that reads as it. Predictions
are not in it: whoever verifies makes them again from the bundle, and the draws too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import FILE_NAME
from unlearnkit.canonical import sha256_hex
from unlearnkit.errors import AssumptionError, DigestMismatchError, FormatError, UnknownNameError, VerificationError
from unlearnkit.estimation import Sketch
from unlearnkit.estimation.bound import Bound
from unlearnkit.estimation.conformal import audited_bound
from unlearnkit.estimation.question import once
from unlearnkit.names import ProbeName, Sha256, Software, counted
from unlearnkit.records import ELSEWHERE, Count, from_json, to_json
from unlearnkit.shapes import As, Items
from unlearnkit.signing.dsse import sign_envelope, verify_envelope
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement
from unlearnkit.verifier.plan import DOMAIN, Distribution, UnitDeletions, draw_deletions
from unlearnkit.verifier.planned import DOMAIN as PLANNED_DOMAIN
from unlearnkit.verifier.planned import PlannedDeletions

Array = np.ndarray[Any, Any]

PREDICATE_TYPE = "https://unlearnkit.dev/retraining-audit/v1"


def _number(text: str) -> float:
    """A finite float64 in its one spelling, the shortest decimal that reads as it."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or repr(value) != text:
        raise ValueError(f"got {text!r}, expected the shortest decimal of a finite number")
    return value


FloatText: TypeAlias = Annotated[float, As(str, _number, repr)]
"""A float64, stored as the shortest decimal that reads as it."""


@dataclass(frozen=True, slots=True)
class ProbeValues:
    """What retrainings gave for one probe: its shape, and its values for one set after another, flat in C order."""

    name: ProbeName
    shape: tuple[Count, ...]
    values: Annotated[tuple[FloatText, ...], Items(least=1)]

    def __post_init__(self) -> None:
        size = math.prod(self.shape)
        if not size or len(self.values) % size:
            shape = " x ".join(map(str, self.shape))
            raise ValueError(f"probe {self.name!r} has {len(self.values)} values, expected a multiple of {shape}")


Draws: TypeAlias = Literal["unlearnkit/deletions/v1", "unlearnkit/planned-deletions/v1"]


def _domain(distribution: Distribution) -> Draws:
    return PLANNED_DOMAIN if isinstance(distribution, PlannedDeletions) else DOMAIN


Losses = Annotated[tuple[FloatText, ...], Items(least=1)]
"""Own losses of a set's members, in the order of their positions."""


def _arrays(stored: Sequence[ProbeValues]) -> Mapping[str, Array]:
    names = [probe.name for probe in stored]
    if names != sorted(set(names)):
        raise ValueError(f"expected probes sorted by name, each once: got {', '.join(names)}")
    return MappingProxyType({probe.name: np.array(probe.values).reshape(-1, *probe.shape) for probe in stored})


def _stored(probes: Mapping[str, Array]) -> tuple[ProbeValues, ...]:
    if not all(np.isfinite(values).all() for values in probes.values()):
        raise ValueError("a retraining gave numbers that are not finite")
    return tuple(
        ProbeValues(name, values.shape[1:], tuple(np.asarray(values, dtype=np.float64).ravel().tolist()))
        for name, values in sorted(probes.items())
    )


Probes = Annotated[Mapping[str, Array], As(Annotated[tuple[ProbeValues, ...], Items(least=1)], _arrays, _stored)]
"""Values of probes for each set, float64 ``[sets, *P]``, by name."""


RetrainedIn: TypeAlias = Literal["float64", "as trained"]
"""In which precision was retrained: its own where the run lowers it by itself, as by autocast."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrected:
    """What the corrected model gave without each set, beside the retrained one.

    probes, own_losses: as in `Audit`. shares: of the distance of all weights to the retrained model's, how much is left
    of the kept model's. refused: the sets, by number, of which no correction is made; theirs are the kept model's.
    """

    probes: Probes
    own_losses: tuple[Losses, ...] = ()
    shares: tuple[FloatText, ...]
    refused: Annotated[tuple[Count, ...], Items(in_order=True)] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """What a retraining audit found. Digests are SHA-256 in hexadecimal.

    deletions: sorted positions of units, ``[sets]``. probes: what retraining without each set gave, float64
    ``[sets, *P]`` by name. own_losses: of each set, what its members' mean losses on their own examples were then, in
    the order of their positions; empty where the bundle has none. corrected: where the bundle corrects weights.
    """

    bundle: Annotated[str, ELSEWHERE]
    recipe: Sha256
    counterfactual: str
    distribution: Distribution
    draws: Draws
    deletions: Annotated[tuple[tuple[Count, ...], ...], Items(least=1)]
    precision: RetrainedIn = "float64"
    probes: Probes
    own_losses: tuple[Losses, ...] = ()
    corrected: Corrected | None = None
    software: Software

    def __post_init__(self) -> None:
        for found in (self, self.corrected):
            if found is not None:
                _require_whole(found.probes, found.own_losses, self.deletions)
        if (found := self.corrected) is not None:
            same = found.probes.keys() == self.probes.keys() and bool(found.own_losses) == bool(self.own_losses)
            if (
                not same
                or len(found.shares) != len(self.deletions)
                or max(found.refused, default=0) >= len(found.shares)
            ):
                raise ValueError("corrected: expected the same probes and own losses, and a share, for each set")
        if self.draws != _domain(self.distribution):
            raise ValueError(f"draws are {self.draws!r}, expected {_domain(self.distribution)!r}")

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        distribution: Distribution,
        probes: Mapping[str, Array],
        own_losses: Sequence[Sequence[float]] = (),
        corrected: Corrected | None = None,
        precision: RetrainedIn = "float64",
    ) -> Audit:
        """The audit of a bundle, from what was found for the sets that are drawn for it, in their order."""
        count = min(len(values) for values in probes.values())
        return cls(
            bundle=bundle.digest,
            recipe=bundle.manifest.recipe_digest,
            counterfactual=bundle.manifest.counterfactual,
            distribution=distribution,
            draws=_domain(distribution),
            deletions=draw_deletions(bundle, distribution, count),
            probes=probes,
            own_losses=tuple(tuple(map(float, losses)) for losses in own_losses),
            corrected=corrected,
            precision=precision,
            software=f"unlearnkit {version('unlearnkit')}",
        )


def _require_whole(
    probes: Mapping[str, Array], own_losses: Sequence[Sequence[float]], deletions: Sequence[Sequence[int]]
) -> None:
    """ValueError unless there is something of every set."""
    for name, values in probes.items():
        if len(values) != len(deletions):
            raise ValueError(f"probe {name!r} has values for {counted(len(values), 'set')}, expected {len(deletions)}")
    if own_losses and [len(losses) for losses in own_losses] != list(map(len, deletions)):
        raise ValueError("own losses: expected one for each member of each set")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """An audit of which everything that can be checked without retraining was checked. digest: of the file.

    units: how many the bundle has.
    """

    audit: Audit
    units: int
    digest: str
    signers: tuple[str, ...]

    @property
    def planned(self) -> PlannedDeletions | None:
        """The plan that it carries out; None for an experiment, on which no certificate rests."""
        drawn = self.audit.distribution
        return drawn if isinstance(drawn, PlannedDeletions) else None

    @property
    def probes(self) -> tuple[str, ...]:
        """The probes that it can bound."""
        return tuple(self.audit.probes)

    def masks(self) -> Array:
        """What was deleted, as `Sketch.predict` takes it: ``[sets, units]``."""
        masks = np.zeros((len(self.audit.deletions), self.units))
        for mask, deletion in zip(masks, self.audit.deletions, strict=True):
            mask[list(deletion)] = 1
        return masks

    def bound(self, sketch: Sketch, delete: Iterable[str | int], *, delta: float, element: int | None = None) -> Bound:
        """An audited bound on the error of the default prediction (`conformal.audited_bound`).

        Deletions of different sizes err by different amounts of their scales. So where sets of several sizes were drawn
        at random, those of the size asked for speak alone.

        Raises AssumptionError for a deletion that the audit's distribution cannot draw, UnknownNameError for a probe
        that was not audited, EstimationError with the number of retrainings that this delta takes.
        """
        audit, names = self.audit, list(delete)
        if sketch.name not in audit.probes:
            raise UnknownNameError(f"the audit has no probe {sketch.name!r}; it has: {', '.join(audit.probes)}")
        positions = once(names, sketch.resolve(names)).tolist()
        if not audit.distribution.allows(positions):
            raise AssumptionError(
                f"the audit drew {audit.distribution}; a deletion of {counted(len(names), 'unit')} like this one "
                "is never drawn",
                hint="audit deletions of this kind, or ask for a certified bound",
            )
        alike, distribution = self._alike(len(positions))
        return audited_bound(
            sketch,
            names,
            masks=self.masks()[alike],
            truth=audit.probes[sketch.name][alike],
            delta=delta,
            element=element,
            distribution=str(distribution),
            evidence=self.digest,
        )

    def _alike(self, size: int) -> tuple[Array, Distribution]:
        """Which sets were drawn as one of so many units is, ``[sets]``, and from what."""
        deletions, distribution = self.audit.deletions, self.audit.distribution
        if not isinstance(distribution, UnitDeletions):
            return np.ones(len(deletions), dtype=bool), distribution
        same = np.array([len(deletion) == size for deletion in deletions])
        return same, UnitDeletions(least=size, most=size)


def sign_evidence(audit: Audit, signers: Sequence[PrivateKey]) -> bytes:
    """The evidence as a file: a DSSE envelope, canonical JSON."""
    payload = encode_statement(Statement({FILE_NAME: audit.bundle}, PREDICATE_TYPE, to_json(audit)))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=signers)


def verify_evidence(
    raw: bytes, *, where: str, keys: Iterable[PublicKey], bundle: Bundle, threshold: int = 1
) -> Evidence:
    """Check signatures, that the evidence is about this bundle, and that its deletions are the ones to be drawn.

    Raises SignatureError, ThresholdError, FormatError, DigestMismatchError for another bundle, VerificationError for
    deletions that were picked and for probes that the bundle does not have. Whether the values are those of real
    retrainings only retraining tells: that is what the signature vouches for.
    """
    verified = verify_envelope(raw, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=threshold)
    audit = parse_audit(verified.payload, where=where)
    _verify_about(audit, bundle, where)
    signers = tuple(key.key_id for key in verified.keys)
    return Evidence(audit=audit, units=bundle.manifest.units, digest=sha256_hex(raw), signers=signers)


def _verify_about(audit: Audit, bundle: Bundle, where: str) -> None:
    manifest = bundle.manifest
    if audit.bundle != bundle.digest:
        raise DigestMismatchError(f"{where} is about bundle {audit.bundle}, this one is {bundle.digest}")
    if (audit.recipe, audit.counterfactual) != (manifest.recipe_digest, manifest.counterfactual):
        raise VerificationError(f"{where}: its recipe or its counterfactual is not the bundle's")
    shapes = {probe.name: probe.shape for probe in manifest.probes}
    corrected = {} if audit.corrected is None else audit.corrected.probes
    for name, values in (*audit.probes.items(), *corrected.items()):
        if shapes.get(name) != values.shape[1:]:
            found = f"shape {shapes[name]}" if name in shapes else "no such probe"
            raise VerificationError(f"{where}: probe {name!r} has shape {values.shape[1:]}, the bundle has {found}")
    if audit.own_losses and not manifest.own_loss:
        raise VerificationError(f"{where}: it has own losses, the bundle has none")
    try:
        drawn = draw_deletions(bundle, audit.distribution, len(audit.deletions))
    except ValueError as err:
        raise VerificationError(f"{where}: {err}") from err
    for number, (said, found_deletion) in enumerate(zip(audit.deletions, drawn, strict=True)):
        if said != found_deletion:
            raise VerificationError(f"{where}: deletion {number} is not the one that bundle and distribution draw")


def parse_audit(payload: bytes, *, where: str) -> Audit:
    """The audit in a payload that was verified; FormatError says what is wrong where."""
    statement = parse_statement(payload, where=where, predicate_type=PREDICATE_TYPE)
    if list(statement.subjects) != [FILE_NAME]:
        raise FormatError(f"{where} is about {list(statement.subjects)}, expected a bundle's manifest")
    return from_json(Audit, dict(statement.predicate), where=where, bundle=statement.subjects[FILE_NAME])
