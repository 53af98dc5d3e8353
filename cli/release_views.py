"""How releases are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from unlearnkit.names import counted

from .output import UNSIGNED, Document, columns, number

if TYPE_CHECKING:
    from unlearnkit.compliance.releases.outlook import Strangers
    from unlearnkit.compliance.releases.registry import Release
    from unlearnkit.compliance.view import LogView
    from unlearnkit.office.releases import Standing


@dataclass(frozen=True, slots=True)
class _Artefacts:
    bundle: str
    model: str
    recipe: str
    units: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseView:
    """A release as the commands print it. asked, open: the requests received since, and those still open."""

    id: str
    in_force: bool
    registered: date
    retired: date | None
    replaces: str | None
    replaced_by: str | None
    artefacts: _Artefacts
    entry: int
    signed: bool
    asked: tuple[str, ...]
    open: tuple[str, ...]

    @classmethod
    def of(cls, release: Release, view: LogView) -> Self:
        """What the log says of a release."""
        from unlearnkit.office.releases import requests_since

        found, made = requests_since(view, release), release.artefacts
        return cls(
            id=release.id,
            in_force=release.is_in_force,
            registered=release.registered,
            retired=release.retired,
            replaces=release.replaces,
            replaced_by=release.replaced_by,
            artefacts=_Artefacts(made.bundle, made.model, made.recipe, made.units, made.key),
            entry=release.index,
            signed=view.covers(release.index),
            asked=tuple(request.id for request in found),
            open=tuple(request.id for request in found if not request.is_closed),
        )

    def __str__(self) -> str:
        mark = [] if self.signed else [f"({UNSIGNED})"]
        return "  ".join([self.life, f"{counted(len(self.asked), 'request')} since, {len(self.open)} open", *mark])

    @property
    def life(self) -> str:
        """Since when it is in use, or until when it was."""
        if self.in_force:
            return f"in force since {self.registered}"
        after = f", replaced by {self.replaced_by}" if self.replaced_by else ""
        return f"in use from {self.registered} to {self.retired}{after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases(Document):
    """Some releases."""

    schema: ClassVar[str] = "unlearnkit/releases/v1"

    releases: tuple[ReleaseView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardView(Document):
    """The section of a model card. path: where it was written, if anywhere."""

    schema: ClassVar[str] = "unlearnkit/model-card/v1"

    release: str
    path: Path | None
    markdown: str


def render_card(card: CardView) -> Iterator[str]:
    """The section itself, or where it is."""
    if card.path is None:
        yield from card.markdown.splitlines()
    else:
        yield f"card of {card.release}: {card.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """How far a probe moves without the standing set, by prediction."""

    probe: str
    largest: float
    tolerance: float
    convergence: str

    def __str__(self) -> str:
        used = abs(self.largest) / self.tolerance
        moved = f"{number(self.largest, signed=True)} without all of them, {used:.0%} of the tolerance"
        return moved if self.convergence == "converging" else f"{moved}; the series is {self.convergence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangersView:
    """Own losses of people as if the model had never seen them: quartiles; within: whom it does not remember."""

    low: float
    median: float
    high: float
    spread: float
    within: float | None

    @classmethod
    def of(cls, found: Strangers | None) -> Self | None:
        """What is known of them, if anything is."""
        if found is None:
            return None
        return cls(low=found.low, median=found.median, high=found.high, spread=found.spread, within=found.within)

    def __str__(self) -> str:
        told = f"half of strangers' are {number(self.low)} to {number(self.high)}, a spread of {number(self.spread)}"
        if self.within is None:
            return told
        return f"{told}; {self.within:.0%} of all people's own differ by no more than the tolerance"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Who was answered without retraining. people: pseudonyms. units: how many people the bundle holds."""

    people: tuple[str, ...]
    units: int
    changes: tuple[_Change, ...]
    strangers: StrangersView | None

    @classmethod
    def of(cls, standing: Standing) -> Self:
        changes = tuple(
            _Change(
                probe=change.probe,
                largest=change.largest,
                tolerance=float(change.tolerance),
                convergence=change.convergence,
            )
            for change in standing.changes
        )
        found = StrangersView.of(standing.strangers)
        return cls(people=standing.people, units=standing.units, changes=changes, strangers=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRelease(Document, ReleaseView):
    """A release alone. standing: None where no bundle was given."""

    schema: ClassVar[str] = "unlearnkit/release/v1"

    standing: _Standing | None

    @classmethod
    def of_release(cls, release: Release, view: LogView, standing: Standing | None) -> Self:
        """What the log says of a release, and the bundle of its standing set."""
        known = ReleaseView.of(release, view)
        members = {member.name: getattr(known, member.name) for member in fields(ReleaseView)}
        return cls(**members, standing=None if standing is None else _Standing.of(standing))


def render_release(release: OneRelease) -> Iterator[str]:
    """A release, what it is made of, and its standing set."""
    made = release.artefacts
    yield from columns(
        [
            (release.id, release.life),
            ("log entry", release.entry),
            ("replaces", release.replaces),
            ("bundle", made.bundle),
            ("model", made.model),
            ("recipe", made.recipe),
            ("units", made.units),
            ("asked since", f"{len(release.asked)}, {len(release.open)} of them open"),
            ("still open", " ".join(release.open) or None),
        ]
    )
    if release.standing is not None:
        standing = release.standing
        yield f"answered without retraining: {len(standing.people)} of {counted(standing.units, 'person')}"
        yield from columns([(f"  {change.probe}", change) for change in standing.changes])
        if standing.strangers is not None:
            yield f"own losses, by prediction: {standing.strangers}"


def render_releases(found: Releases) -> Iterable[str]:
    """A line for each release."""
    return columns([(item.id, item) for item in found.releases])


@dataclass(frozen=True, slots=True, kw_only=True)
class CutView(Document):
    """What was removed of a bundle, and where the rest of it is."""

    schema: ClassVar[str] = "unlearnkit/cut/v1"

    release: str
    path: Path
    files: tuple[str, ...]


def render_cut(made: CutView) -> Iterable[str]:
    """How much is gone, and what is left."""
    gone = counted(len(made.files), "file")
    yield f"{made.release}: gone from {made.path}: {gone}; the signed list of its people is left"
