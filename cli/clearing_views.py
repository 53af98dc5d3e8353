"""How certificates of absence and exclusion are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from .certificate_views import recorded
from .output import Document, Output, columns

if TYPE_CHECKING:
    from unlearnkit.office.certified import Certified
    from unlearnkit.verifier.absence import Absence


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared(Document):
    """A certificate of absence or exclusion. before, after: of an exclusion, the releases."""

    schema: ClassVar[str] = "unlearnkit/certify-absence/v1"

    kind: str
    path: Path
    sha256: str
    requests: tuple[str, ...]
    releases: tuple[str, ...]
    before: str | None
    after: str | None
    missing_signatures: int
    entry: int | None

    @classmethod
    def of(cls, issued: Certified[Absence]) -> Self:
        """What was issued."""
        from unlearnkit.verifier.absence import Exclusion

        made = issued.certificate
        left = (made.before.release, made.after.release) if isinstance(made, Exclusion) else (None, None)
        return cls(
            kind=issued.kind,
            path=issued.path,
            sha256=issued.digest,
            requests=made.requests,
            releases=tuple(item.release for item in made.releases),
            before=left[0],
            after=left[1],
            missing_signatures=issued.missing,
            entry=None if issued.entry is None else issued.entry.index,
        )


@dataclass(frozen=True, slots=True)
class SeveralCleared(Document):
    """Certificates of absence or exclusion, one for each policy."""

    schema: ClassVar[str] = "unlearnkit/certify-absence-several/v1"

    certificates: tuple[Cleared, ...]


def tell_several(output: Output, issued: Sequence[Certified[Absence]]) -> None:
    """Certificates that were made one after another."""
    for item in issued:
        output.say(recorded(item.path, item.entry, item.missing))
    output.emit(SeveralCleared(tuple(map(Cleared.of, issued))), _render_several)


def _render_several(found: SeveralCleared) -> Iterable[str]:
    for item in found.certificates:
        yield from render_cleared(item)


def render_cleared(issued: Cleared) -> Iterable[str]:
    """What is certified first."""
    yield f"{issued.kind}: none of the releases in force holds their data"
    yield from columns(
        [
            ("requests", " ".join(issued.requests)),
            ("in force", " ".join(issued.releases)),
            ("were in", issued.before),
            ("replaced by", issued.after),
            ("certificate", issued.path),
            ("sha256", issued.sha256),
            ("log entry", "none yet" if issued.entry is None else issued.entry),
        ]
    )
