"""How audits are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .output import Document, columns, number

if TYPE_CHECKING:
    from unlearnkit.audit.comparison import Comparison
    from unlearnkit.audit.replay import Replay
    from unlearnkit.audit.spot_check import SpotCheck
    from unlearnkit.bundle import Bundle
    from unlearnkit.verifier.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """A comparison; ``worst`` says which number differs most, where they do not agree.

    scale: the largest of any element. share: the largest difference for the scale of its own element.
    """

    kind: str
    name: str
    degree: int
    rows: tuple[int, ...]
    scale: float
    difference: float
    share: float
    agrees: bool
    worst: str | None
    what: str

    @classmethod
    def of(cls, found: Comparison) -> _Compared:
        return cls(
            kind=found.kind,
            name=found.name,
            degree=found.degree,
            rows=tuple(found.rows),
            scale=float(found.scale.max(initial=0)),
            difference=found.difference,
            share=found.share,
            agrees=found.agrees,
            worst=None if found.agrees else found.worst(),
            what=str(found),
        )

    def __str__(self) -> str:
        same = "same" if self.agrees else "DIFFERENT"
        return f"  {same}  {self.what}: off by {self.share:.2g} of its scale, {self.scale:.3g} at most"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed(Document):
    """numeric_error: of each probe the largest rounding error: of its base, then of its coefficients by degree."""

    schema: ClassVar[str] = "unlearnkit/replay/v1"

    bundle: str
    signers: tuple[str, ...]
    agrees: bool
    seed: str | None
    directions: tuple[int, ...]
    dtype: str
    bundle_dtype: str
    names_units: bool
    tolerance: float
    comparisons: tuple[_Compared, ...]
    numeric_error: Mapping[str, tuple[float, ...]] | None
    path: Path | None

    @classmethod
    def of(cls, bundle: Bundle, found: Replay, seed: str | None, path: Path | None) -> Replayed:
        """What a replay found. seed: what its directions follow from, if they do. path: of the signed report."""
        return cls(
            bundle=bundle.digest,
            signers=bundle.signers,
            agrees=found.agrees,
            seed=seed,
            directions=found.indices,
            dtype=found.dtype,
            bundle_dtype=bundle.manifest.dtype,
            names_units=found.names_units,
            tolerance=found.comparisons[0].tolerance,
            comparisons=tuple(map(_Compared.of, found.comparisons)),
            numeric_error=_numeric_error(bundle, found) if found.dtype == "float64" else None,
            path=path,
        )


def _numeric_error(bundle: Bundle, found: Replay) -> dict[str, tuple[float, ...]]:
    errors = {name: found.numeric_error(name) for name in bundle.probe_names}
    return {name: tuple(float(degree.max(initial=0)) for degree in error) for name, error in errors.items()}


def render_replay(replayed: Replayed) -> Iterator[str]:
    """Each comparison, and the verdict last."""
    chosen = ", ".join(map(str, replayed.directions)) or "none: the bundle has none, only what needs none is compared"
    yield from columns(
        [
            ("directions", chosen),
            ("seed", replayed.seed),
            ("units", "those of the recipe" if replayed.names_units else "not compared, without the pseudonym key"),
            ("precision", f"{replayed.dtype}, the bundle's is {replayed.bundle_dtype}"),
            ("tolerance", f"{replayed.tolerance:.3g} of the largest number of the same kind, degree and element"),
        ]
    )
    yield from map(str, replayed.comparisons)
    for name, (base, *errors) in (replayed.numeric_error or {}).items():
        degrees = ", ".join(f"degree {degree} {error:.2g}" for degree, error in enumerate(errors, start=1))
        yield f"rounding of {name}: base {base:.2g}{', ' if degrees else ''}{degrees}"
    if replayed.path is not None:
        yield f"signed report: {replayed.path}"
    yield f"the bundle {'holds' if replayed.agrees else 'does NOT hold'} what its recipe gives"


@dataclass(frozen=True, slots=True)
class _Errors:
    """What deletions really changed, and how far predictions were off: root mean squares over sets and elements."""

    name: str
    change: float
    error: float

    @classmethod
    def of(cls, bundle: Bundle, evidence: Evidence, name: str) -> _Errors:
        sketch, truth = bundle.probe(name), evidence.audit.probes[name]
        predicted = sketch.predict(evidence.masks()).value
        change, error = (float((gap**2).mean() ** 0.5) for gap in (truth - sketch.base, truth - predicted))
        return cls(name, change, error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited(Document):
    """What a retraining audit found. least_delta: the least that bounds of an experiment can have."""

    schema: ClassVar[str] = "unlearnkit/retraining-audit/v1"

    path: Path
    sha256: str
    bundle: str
    signers: tuple[str, ...]
    distribution: Mapping[str, Any]
    deletions: str
    count: int
    least_delta: float | None
    probes: tuple[_Errors, ...]

    @classmethod
    def of(cls, bundle: Bundle, path: Path, evidence: Evidence) -> Audited:
        """What the evidence at ``path`` shows of a bundle."""
        from unlearnkit.records import to_json

        found = evidence.audit
        return cls(
            path=path,
            sha256=evidence.digest,
            bundle=found.bundle,
            signers=evidence.signers,
            distribution=to_json(found.distribution),
            deletions=str(found.distribution),
            count=len(found.deletions),
            least_delta=None if evidence.planned else 1 / (len(found.deletions) + 1),
            probes=tuple(_Errors.of(bundle, evidence, name) for name in evidence.probes),
        )


def render_evidence(audited: Audited) -> Iterable[str]:
    """Where it is, and how good predictions were."""
    rows: list[tuple[str, object]] = [
        ("evidence", audited.path),
        ("sha256", audited.sha256),
        ("retrainings", audited.count),
        ("deletions", audited.deletions),
        ("least delta", None if audited.least_delta is None else number(audited.least_delta)),
    ]
    for probe in audited.probes:
        error, change = number(probe.error), number(probe.change)
        rows.append((probe.name, f"predicted to {error} where deletions change it by {change} (root mean square)"))
    return columns(rows)


@dataclass(frozen=True, slots=True)
class _Checked:
    draw: int
    deleted: int
    probe: str
    difference: float
    scale: float
    agrees: bool
    what: str

    @classmethod
    def of(cls, check: SpotCheck) -> _Checked:
        made = (check.draw, check.deleted, check.probe, check.difference, check.scale, check.agrees)
        return cls(*made, str(check))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotChecked(Document):
    """What retraining some draws of evidence again gave. seed: what the choice follows from."""

    schema: ClassVar[str] = "unlearnkit/spot-check/v1"

    path: Path
    sha256: str
    seed: str
    agrees: bool
    checks: tuple[_Checked, ...]

    @classmethod
    def of(cls, path: Path, evidence: Evidence, found: Iterable[SpotCheck], seed: str) -> SpotChecked:
        """Of the evidence at ``path``."""
        checks = tuple(map(_Checked.of, found))
        agrees = all(check.agrees for check in checks)
        return cls(path=path, sha256=evidence.digest, seed=seed, agrees=agrees, checks=checks)


def render_spot_check(checked: SpotChecked) -> Iterator[str]:
    """Each comparison, and the verdict last."""
    yield from columns([("evidence", checked.path), ("sha256", checked.sha256), ("seed", checked.seed)])
    yield from (f"  {check.what}" for check in checked.checks)
    yield f"the evidence {'holds' if checked.agrees else 'does NOT hold'} what retraining gives"
