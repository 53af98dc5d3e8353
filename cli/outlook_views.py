"""How the outlook of a release is printed: what can be kept, what can be corrected, and whether that pays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Self

from unlearnkit.names import counted

from .output import Document, columns
from .release_views import StrangersView

if TYPE_CHECKING:
    from unlearnkit.compliance.releases.outlook import Reach
    from unlearnkit.office.outlook import CorrectionOutlook, Economics, Outlook


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """How many more people; None: everybody. until, until_few: the days, at the rate so far."""

    median: int | None
    few: int | None
    until: date | None
    until_few: date | None

    @classmethod
    def of(cls, reach: Reach, outlook: Outlook, today: date) -> Self:
        days = (outlook.until(more, today) for more in (reach.median, reach.few))
        return cls(median=reach.median, few=reach.few, until=next(days), until_few=next(days))

    def __str__(self) -> str:
        told = [_people(self.median, self.until), _people(self.few, self.until_few)]
        return told[0] if self.median == self.few else f"{told[0]}; in 5 % of all orders only {told[1]}"


def _people(more: int | None, until: date | None) -> str:
    count = "everybody" if more is None else counted(more, "more person")
    return count if until is None else f"{count}, until {until}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    probe: str
    tolerance: float
    tolerated: _Reach
    converges: _Reach


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corrections:
    """For how many more people weights can be corrected. series: until they diverge; unknown: without a series.

    informed: how many directions answer for those.
    """

    without: int
    more: int
    until: date | None
    ends: tuple[str, ...]
    series: _Reach | None
    unknown: int | None
    informed: int

    @classmethod
    def of(cls, found: CorrectionOutlook, outlook: Outlook, today: date) -> Self:
        series = found.series
        return cls(
            without=found.without,
            more=found.more,
            until=outlook.until(found.more, today),
            ends=found.ends,
            series=None if series is None else _Reach.of(series.converges, outlook, today),
            unknown=None if series is None else series.unknown,
            informed=found.informed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Economics:
    """In plain trainings, about. pays: whether as many people can be corrected as it takes occasions."""

    sketch: float
    audit: int
    occasions: int
    years: float | None
    pays: bool

    @classmethod
    def of(cls, found: Economics, people: int) -> Self:
        years = None if found.years is None else round(found.years, 1)
        return cls(
            sketch=round(found.sketch, 1),
            audit=found.audit,
            occasions=found.occasions,
            years=years,
            pays=found.pays(people),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookView(Document):
    """How long a release lasts, by prediction; see `unlearnkit.office.outlook.Outlook`."""

    schema: ClassVar[str] = "unlearnkit/outlook/v1"

    release: str
    people: int
    asked: int
    days: int
    audited: int | None
    probes: tuple[_Probe, ...]
    strangers: StrangersView | None
    corrections: _Corrections | None
    economics: _Economics

    @classmethod
    def of(cls, outlook: Outlook, today: date) -> Self:
        """As the command prints it."""
        made = outlook.corrections
        probes = tuple(
            _Probe(
                probe=item.probe,
                tolerance=float(item.tolerance),
                tolerated=_Reach.of(item.tolerated, outlook, today),
                converges=_Reach.of(item.converges, outlook, today),
            )
            for item in outlook.probes
        )
        return cls(
            release=outlook.release,
            people=outlook.people,
            asked=outlook.asked,
            days=outlook.days,
            audited=outlook.audited,
            probes=probes,
            strangers=StrangersView.of(outlook.strangers),
            corrections=None if made is None else _Corrections.of(made, outlook, today),
            economics=_Economics.of(outlook.economics, outlook.units if made is None else made.total),
        )


def render_outlook(outlook: OutlookView) -> Iterator[str]:
    """What is left, and until when."""
    answered = f"{counted(outlook.people, 'person', 'were')} answered"
    asked = f"asked in all: {outlook.asked} in {counted(outlook.days, 'day')}"
    yield f"{outlook.release}: {answered} without retraining; {asked}"
    yield "if others ask in random order, by prediction from the bundle alone:"
    for probe in outlook.probes:
        rows = [("within tolerance", probe.tolerated), ("series converges", probe.converges)]
        yield from columns([(f"  {probe.probe}, {what}", reach) for what, reach in rows])
    if outlook.audited is not None:
        yield f"the policy audits up to {counted(outlook.audited, 'person')} together"
    if outlook.strangers is not None:
        yield f"own losses: {outlook.strangers}"
    if outlook.corrections is not None:
        yield from _corrected(outlook.corrections)
    yield from _paid(outlook.economics, outlook.corrections)


def _corrected(found: _Corrections) -> Iterator[str]:
    now = counted(found.without, "person")
    yield f"corrected weights leave out {now}, and may leave out {_people(found.more, found.until)};"
    yield "then a training is due, by what audits have shown and the policy tolerates:"
    yield from (f"  {reason}" for reason in found.ends)
    if found.series is None:
        yield "  no series of anybody alone was kept: directions answer, and each correction says whether it converges"
    else:
        yield f"  their series converges for {found.series}"
    if found.unknown:
        instead = (
            "informed directions answer for them" if found.informed else "weights cannot be corrected without them"
        )
        yield f"  of {counted(found.unknown, 'person')} no series of the weights was kept: {instead}"


def _paid(found: _Economics, made: _Corrections | None) -> Iterator[str]:
    audit = f"about {found.sketch:.4g} plain trainings and its audit {found.audit}"
    yield f"the sketch costs {audit}: they pay after {found.occasions} separate occasions on"
    yield "which one would train again"
    if found.years is not None:
        yield f"  whoever answers everybody together when the first answer is due has so many in {found.years:g} years"
    if not found.pays:
        why = "all people in the bundle are fewer" if made is None else f"corrections reach {made.without + made.more}"
        yield f"  retraining is cheaper in computing: {why}; what the sketch buys is an answer in seconds, and evidence"
