"""How a list of releases is printed: what is in force, and how much of each tolerance is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Self

from unlearnkit.names import counted

from .output import Document, columns, number
from .release_views import ReleaseView

if TYPE_CHECKING:
    from unlearnkit.compliance.view import LogView
    from unlearnkit.office.listing import Glance
    from unlearnkit.office.releases import JointChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """How far a probe moves without everybody who stands, and what is left of its tolerance."""

    probe: str
    largest: float
    tolerance: float
    left: float
    convergence: str

    @classmethod
    def of(cls, change: JointChange) -> Self:
        """By prediction."""
        return cls(
            probe=change.probe,
            largest=change.largest,
            tolerance=float(change.tolerance),
            left=change.left,
            convergence=change.convergence,
        )

    def __str__(self) -> str:
        moved = f"{number(self.largest, signed=True)}, {number(self.left)} of {number(self.tolerance)} is left"
        return moved if self.convergence == "converging" else f"{moved}; the series is {self.convergence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRelease(ReleaseView):
    """A release in a list. people: how many stand; None: it cannot be told. unknown: why something is not there."""

    people: int | None
    changes: tuple[Left, ...]
    unknown: str | None

    @classmethod
    def at_a_glance(cls, glance: Glance, view: LogView) -> Self:
        """What the log says of a release, and its bundle."""
        known = ReleaseView.of(glance.release, view)
        members = {member.name: getattr(known, member.name) for member in fields(ReleaseView)}
        changes = tuple(map(Left.of, glance.changes))
        return cls(**members, people=glance.people, changes=changes, unknown=glance.unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedReleases(Document):
    """A list of releases."""

    schema: ClassVar[str] = "unlearnkit/releases/v1"

    releases: tuple[ListedRelease, ...]


def render_listed(found: ListedReleases) -> Iterator[str]:
    """A line for each release, and below it what is left of each tolerance."""
    for item in found.releases:
        yield from columns([(item.id, item)])
        if item.people:
            yield f"  {counted(item.people, 'person', 'were')} answered without retraining"
        yield from columns([(f"  {change.probe}", change) for change in item.changes])
        if item.unknown:
            yield f"  not known: {item.unknown}"
