"""How the certificates of a log are listed, and what one still lacks is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from .output import Document, columns

if TYPE_CHECKING:
    from unlearnkit.compliance.log.entry import Entry
    from unlearnkit.office.certified import Certified
    from unlearnkit.office.recorded import RecordedCertificate
    from unlearnkit.verifier.certificate import Decision
    from unlearnkit.verifier.correction import CorrectionCertificate


@dataclass(frozen=True, slots=True)
class Decided:
    """What a policy made of a certificate, and why."""

    outcome: str
    rule: str
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """As it stands there."""
        return cls(decision.outcome, decision.rule, decision.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    entry: int
    kind: str
    requests: tuple[str, ...]
    sha256: str
    path: Path | None
    proved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates(Document):
    """The certificates that a log records. path: null where no file in ``certificates`` holds one."""

    schema: ClassVar[str] = "unlearnkit/certificates/v1"

    certificates: tuple[_Row, ...]

    @classmethod
    def of(cls, recorded: Sequence[RecordedCertificate]) -> Self:
        """What was found."""
        return cls(
            certificates=tuple(
                _Row(
                    entry=item.index,
                    kind=item.kind,
                    requests=item.requests,
                    sha256=item.digest,
                    path=item.path,
                    proved=item.is_proved,
                )
                for item in recorded
            )
        )


def render_certificates(found: Certificates) -> Iterable[str]:
    """One line each, and how to mend what is not whole."""
    if not found.certificates:
        yield "no certificates"
    for row in found.certificates:
        yield f"{row.entry}  {row.kind} of {' '.join(row.requests)}  {_place(row)}"


def _place(row: _Row) -> str:
    if row.path is None:
        return (
            f"NOT HERE: no file in certificates/ has the envelope {row.sha256}; "
            "`unlearnkit certify --resume COPY` gives any copy of it its proof"
        )
    return str(row.path) if row.proved else f"{row.path}  WITHOUT PROOF: `unlearnkit certify --resume {row.path}`"


def recorded(path: Path, entry: Entry | None, missing: int) -> str:
    """Which entry records a certificate, or what is missing until one does."""
    if entry is not None:
        return f"Recorded as entry {entry.index}; the proof is in {path}."
    more = "1 more signature is" if missing == 1 else f"{missing} more signatures are"
    return f"Not recorded: {more} missing; 'unlearnkit certify --countersign {path}' adds one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Correcting(Document):
    """A certificate of correction. sha256: of its envelope. model: SHA-256 of the weights that it is about."""

    schema: ClassVar[str] = "unlearnkit/certify-correction/v1"

    path: Path
    sha256: str
    model: str
    release: str
    requests: tuple[str, ...]
    people: int
    decision: str
    missing_signatures: int
    entry: int | None

    @classmethod
    def of(cls, issued: Certified[CorrectionCertificate]) -> Self:
        """What was picked up."""
        said = issued.certificate
        return cls(
            path=issued.path,
            sha256=issued.digest,
            model=said.model,
            release=said.release,
            requests=said.requests,
            people=len(said.without),
            decision=said.decision.outcome,
            missing_signatures=issued.missing,
            entry=None if issued.entry is None else issued.entry.index,
        )


def render_correcting(issued: Correcting) -> Iterable[str]:
    """The decision first."""
    yield issued.decision
    yield from columns(
        [
            ("corrected from", issued.release),
            ("requests", " ".join(issued.requests)),
            ("people", f"{issued.people}, with those answered without retraining before"),
            ("weights", f"sha256 {issued.model}"),
            ("certificate", issued.path),
            ("sha256", issued.sha256),
            ("log entry", "none yet" if issued.entry is None else issued.entry),
        ]
    )
