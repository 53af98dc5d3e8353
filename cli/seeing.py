"""``unlearnkit requests list`` and ``summary``: what is due, what is late, in words, as a table, for a calendar."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .errors import values_from_options
from .options import LOG
from .output import Document, Output, columns, pass_output
from .request_views import Look, Requests, RequestView, render_list

if TYPE_CHECKING:
    from unlearnkit.office.cases import Case

OVERDUE = 6
"""Exit code of ``--overdue`` when something is."""
_COLUMNS = (
    "id", "state", "closed", "received", "due", "rule", "days_left", "answered", "late", "jurisdiction", "source",
    "duplicate_of", "follows", "decision", "releases", "policy", "assignee", "unconfirmed", "recorded_late",
)  # fmt: skip
_MOST_OCTETS = 75  # in a line of a calendar, RFC 5545 section 3.1


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Closed requests too.")
@click.option("--overdue", is_flag=True, help=f"Only those whose day has passed; exits {OVERDUE} if there are any.")
@click.option("--where", multiple=True, help="Only those for which this holds; may be repeated.")
@click.option("--subject", help="Only those of this person; needs the pseudonym key.")
@click.option("--reference", help="Only those with this number in another system; needs the pseudonym key.")
@click.option("--sort", type=click.Choice(["due", "received", "state", "jurisdiction", "source"]), default="due")
@LOG
@click.option("--csv", "form", flag_value="csv", help="As a table.")
@click.option("--ics", "form", flag_value="ics", help="What is due, as a calendar.")
@pass_output
def list_requests(
    output: Output,
    *,
    everything: bool,
    overdue: bool,
    where: tuple[str, ...],
    subject: str | None,
    reference: str | None,
    sort: str,
    log: Path | None,
    form: str | None,
) -> None:
    """List open requests, the most urgent first, with what is due when and by which rule.

    --where takes state=received, jurisdiction=eu, source=email, release=digits@1, decision=keep (or what a certificate
    is of: exclusion, absence), due<2027-01-31, received>2026-12-31 (and the other way round), policy=gdpr,
    assignee=support, open, closed, overdue, late, recorded-late, uncertified, unconfirmed (recipients who were told);
    several with commas. Closed requests are listed where a term is about states or lateness, and with --all.

    \b
    Example:
      unlearnkit requests list --where 'jurisdiction=eu,due<2027-01-31'
      unlearnkit requests list --ics > due.ics
    """
    from unlearnkit.office.cases import SORTS, cases, pick

    look = Look.at(log)
    view, today = look.view, look.today
    with values_from_options():
        terms = [*where, "overdue"] if overdue else where
        found = pick(cases(view, today), terms, everything=everything)
        if subject is not None or reference is not None:
            office = look.office
            if office is None:
                raise click.UsageError("a copy of a log names nobody: --subject and --reference need the workspace")
            theirs = {item.id for item in office.requests(everything=True, subject=subject, reference=reference)}
            found = tuple(case for case in found if case.request.id in theirs)
    found = tuple(sorted(found, key=SORTS[sort]))
    if form is not None and not output.json:
        text = _table(found) if form == "csv" else _calendar(found, look.origin)
        click.echo(text.encode(), nl=False)
    else:
        views = tuple(RequestView.of(case.request, look, case) for case in found)
        output.emit(Requests(today=today, requests=views), render_list)
    late = sum(case.is_overdue for case in found)
    output.say(f"{counted(len(found), 'request')}, {late} overdue on {today}")
    if overdue and late:
        raise click.exceptions.Exit(OVERDUE)


@click.command()
@click.option("--overdue", is_flag=True, help=f"Exit {OVERDUE} if something is overdue, for cron.")
@LOG
@pass_output
def summary(output: Output, *, overdue: bool, log: Path | None) -> None:
    """Count requests: open, overdue, due soon, answered or recorded late, by state and jurisdiction.

    \b
    Example:
      unlearnkit requests summary --overdue
    """
    from unlearnkit.office.cases import cases, summarise

    look = Look.at(log)
    view, today = look.view, look.today
    found = summarise(cases(view, today), today)
    output.emit(_Summary(**asdict(found), unsigned=None if view.signed is None else view.unsigned), _render)
    if overdue and found.overdue:
        raise click.exceptions.Exit(OVERDUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary(Document):
    """How many there are; unsigned: entries that no checkpoint covers, None where no signature was looked at."""

    schema: ClassVar[str] = "unlearnkit/requests-summary/v1"

    today: date
    open: int
    closed: int
    duplicates: int
    overdue: int
    due_soon: int
    answered_late: int
    recorded_late: int
    by_state: Mapping[str, int]
    by_jurisdiction: Mapping[str, int]
    unsigned: int | None


def _render(found: _Summary) -> Iterable[str]:
    counts = [
        ("open", found.open),
        ("overdue", found.overdue),
        ("due within a week", found.due_soon),
        ("closed", found.closed),
        ("answered late", found.answered_late),
        ("recorded late", found.recorded_late),
        ("duplicates", found.duplicates),
        ("entries not signed", found.unsigned),
        *((f"state {name}", count) for name, count in found.by_state.items()),
        *((f"jurisdiction {name}", count) for name, count in found.by_jurisdiction.items()),
    ]
    return columns(counts)


def _table(found: Sequence[Case]) -> str:
    text = io.StringIO()
    rows = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    rows.writeheader()
    rows.writerows(_cells(case) for case in found)
    return text.getvalue()


def _cells(case: Case) -> dict[str, object]:
    request, due = case.request, case.due
    return {
        "id": request.id,
        "state": request.state,
        "closed": _yes(case.is_closed),
        "received": request.received,
        "due": due and due.day,
        "rule": due and due.rule,
        "days_left": due and (due.day - case.today).days,
        "answered": case.answered,
        "late": _yes(case.is_overdue or case.was_answered_late),
        "jurisdiction": case.request.jurisdiction,
        "source": case.request.source,
        "duplicate_of": request.duplicate_of,
        "follows": request.follows,
        "decision": " ".join(dict.fromkeys(item.word for item in case.standing)),
        "releases": " ".join(dict.fromkeys(name for item in case.certificates for name in item.releases)),
        "policy": case.request.receipt.policy,
        "assignee": request.assignee,
        "unconfirmed": " ".join(request.unconfirmed),
        "recorded_late": case.recorded_late,
    }


def _yes(holds: bool) -> str:  # noqa: FBT001 - a cell
    return "yes" if holds else "no"


def _calendar(found: Sequence[Case], origin: str) -> str:
    """An all-day event for each that something is due for (RFC 5545); no name of anybody is in it."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//unlearnkit//requests//EN"]
    for case in found:
        if case.due is not None:
            lines += _event(case, case.due.day, case.due.rule, origin)
    return "".join(f"{piece}\r\n" for line in [*lines, "END:VCALENDAR"] for piece in _folded(line))


def _event(case: Case, day: date, rule: str, origin: str) -> list[str]:
    escaped = rule.replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
    return [
        "BEGIN:VEVENT",
        f"UID:{case.request.id}.{origin}",
        f"DTSTAMP:{case.today:%Y%m%d}T000000Z",
        f"DTSTART;VALUE=DATE:{day:%Y%m%d}",
        f"DTEND;VALUE=DATE:{day + timedelta(days=1):%Y%m%d}",
        f"SUMMARY:Deletion request {case.request.id} is due ({escaped})",
        "END:VEVENT",
    ]


def _folded(line: str) -> Iterator[str]:
    """Lines of at most 75 octets, further ones beginning with a space; all that is written here is ASCII."""
    yield line[:_MOST_OCTETS]
    for begin in range(_MOST_OCTETS, len(line), _MOST_OCTETS - 1):
        yield " " + line[begin : begin + _MOST_OCTETS - 1]
