"""How the certificates of a log are listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from .output import Document

if TYPE_CHECKING:
    from unlearnkit.office.recorded import RecordedCertificate


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
