"""Evidence of a retraining audit: which deletions were drawn, and what real retrainings without them gave.

A DSSE envelope (P-256) around an in-toto Statement v1 about one artefact, the bundle's manifest. Deletions are the
positions of units in the bundle. Values of probes are float64, each the shortest decimal that reads as it. Predictions
are not in it: whoever verifies makes them again from the bundle, and the draws too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import FILE_NAME
from unlearnkit.canonical import sha256_hex, take_fields
from unlearnkit.errors import AssumptionError, DigestMismatchError, FormatError, UnknownNameError, VerificationError
from unlearnkit.estimation import Sketch
from unlearnkit.estimation.bound import Bound
from unlearnkit.estimation.conformal import audited_bound
from unlearnkit.signing.dsse import sign_envelope, verify_envelope
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement, require_sha256
from unlearnkit.verifier.plan import DOMAIN, Distribution, draw_deletions, parse_distribution, positions

Array = np.ndarray[Any, Any]

PREDICATE_TYPE = "https://unlearnkit.dev/retraining-audit/v1"
_PRECISION = "float64"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """What a retraining audit found. Digests are SHA-256 in hexadecimal.

    deletions: sorted positions of units, ``[sets]``. probes: what retraining without each set gave, float64
    ``[sets, *P]`` by name.
    """

    bundle: str
    recipe: str
    counterfactual: str
    distribution: Distribution
    deletions: tuple[tuple[int, ...], ...]
    probes: Mapping[str, Array]
    software: str

    @classmethod
    def of(cls, bundle: Bundle, distribution: Distribution, probes: Mapping[str, Array]) -> Audit:
        """The audit of a bundle, from the probes' values for the sets that its digest draws, in their order."""
        count = min(len(values) for values in probes.values())
        return cls(
            bundle=bundle.digest,
            recipe=bundle.manifest.recipe_digest,
            counterfactual=bundle.manifest.counterfactual,
            distribution=distribution,
            deletions=draw_deletions(bundle, distribution, count),
            probes=probes,
            software=f"unlearnkit {version('unlearnkit')}",
        )


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

        Raises AssumptionError for a deletion that the audit's distribution cannot draw, UnknownNameError for a probe
        that was not audited, EstimationError with the number of retrainings that this delta takes.
        """
        audit, names = self.audit, list(delete)
        if sketch.name not in audit.probes:
            raise UnknownNameError(f"the audit has no probe {sketch.name!r}; it has: {', '.join(audit.probes)}")
        if not audit.distribution.allows(sketch.resolve(names).tolist()):
            raise AssumptionError(
                f"the audit drew {audit.distribution}; a deletion of {len(names)} units like this one is never drawn",
                hint="audit deletions of this kind, or ask for a certified bound",
            )
        return audited_bound(
            sketch,
            names,
            masks=self.masks(),
            truth=audit.probes[sketch.name],
            delta=delta,
            element=element,
            distribution=str(audit.distribution),
            evidence=self.digest,
        )


def sign_evidence(audit: Audit, signers: Sequence[PrivateKey]) -> bytes:
    """The evidence as a file: a DSSE envelope, canonical JSON."""
    predicate = {
        "recipe": audit.recipe,
        "counterfactual": audit.counterfactual,
        "distribution": audit.distribution.to_json(),
        "draws": DOMAIN,
        "deletions": [list(deletion) for deletion in audit.deletions],
        "precision": _PRECISION,
        "probes": [
            {"name": name, "shape": list(values.shape[1:]), "values": _texts(values)}
            for name, values in sorted(audit.probes.items())
        ],
        "software": audit.software,
    }
    payload = encode_statement(Statement({FILE_NAME: audit.bundle}, PREDICATE_TYPE, predicate))
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
    for name, values in audit.probes.items():
        if shapes.get(name) != values.shape[1:]:
            found = f"shape {shapes[name]}" if name in shapes else "no such probe"
            raise VerificationError(f"{where}: probe {name!r} has shape {values.shape[1:]}, the bundle has {found}")
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
    fields = take_fields(dict(statement.predicate), where=where, required=_FIELDS)
    for name, expected in (("draws", DOMAIN), ("precision", _PRECISION)):
        if fields[name] != expected:
            raise FormatError(f"{where}: {name} is {fields[name]!r}, expected {expected!r}")
    deletions = tuple(positions(item, where=f"{where}: deletions") for item in fields["deletions"])
    probes = dict(_parse_probe(item, len(deletions), where) for item in fields["probes"])
    if not deletions or not probes or list(probes) != sorted(probes) or len(probes) != len(fields["probes"]):
        raise FormatError(f"{where}: expected deletions, and probes sorted by name, each once")
    return Audit(
        bundle=statement.subjects[FILE_NAME],
        recipe=require_sha256(fields["recipe"], where=f"{where}: recipe"),
        counterfactual=fields["counterfactual"],
        distribution=parse_distribution(fields["distribution"], where=f"{where}: distribution"),
        deletions=deletions,
        probes=MappingProxyType(probes),
        software=fields["software"],
    )


_FIELDS: dict[str, type] = {
    "recipe": str,
    "counterfactual": str,
    "distribution": dict,
    "draws": str,
    "deletions": list,
    "precision": str,
    "probes": list,
    "software": str,
}


def _parse_probe(record: object, sets: int, where: str) -> tuple[str, Array]:
    fields = take_fields(record, where=f"{where}: probe", required={"name": str, "shape": list, "values": list})
    name = f"{where}: probe {fields['name']!r}"
    shape = (sets, *positions(fields["shape"], where=f"{name}: shape"))
    # Whole numbers of any size, for a shape is anybody's claim; with at least one value no length exceeds their number.
    if not fields["values"] or len(fields["values"]) != np.prod(shape, dtype=object):
        raise FormatError(f"{name} has {len(fields['values'])} values, expected {' x '.join(map(str, shape))}")
    return fields["name"], np.array([_number(text, name) for text in fields["values"]]).reshape(shape)


def _texts(values: Array) -> list[str]:
    """The shortest decimal of each float64, in C order. ValueError for NaN and infinities."""
    if not np.isfinite(values).all():
        raise ValueError("a retraining gave numbers that are not finite")
    return [repr(value) for value in np.asarray(values, dtype=np.float64).ravel().tolist()]


def _number(text: object, where: str) -> float:
    """A finite float64 in the one spelling that `_texts` writes."""
    try:
        value = float(text) if isinstance(text, str) else float("nan")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value) or repr(value) != text:
        raise FormatError(f"{where}: got {text!r}, expected the shortest decimal of a finite number")
    return value
