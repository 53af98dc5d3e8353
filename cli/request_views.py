"""How deletion requests are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from unlearnkit.names import counted

from .output import UNSIGNED, Document, columns

if TYPE_CHECKING:
    from unlearnkit.compliance.requests.request import Request
    from unlearnkit.compliance.requests.steps import Step
    from unlearnkit.compliance.view import LogView
    from unlearnkit.office.cases import Case
    from unlearnkit.office.workspace import Workspace


@dataclass(frozen=True, slots=True)
class _Due:
    day: str
    rule: str
    days_left: int

    def __str__(self) -> str:
        left = self.days_left
        when = f"OVERDUE by {counted(-left, 'day')}" if left < 0 else f"in {counted(left, 'day')}" if left else "today"
        return f"due {self.day} ({self.rule}), {when}"


LATE = 2
"""Days after which a step that is recorded is marked as late: those of `punctuality`."""
_BESIDE = ("entry", "state", "on", "recorded", "days_later", "subject", "key")


@dataclass(frozen=True, slots=True)
class Look:
    """A log that is looked at on a day, in a place. office: whose it is; None: a copy of somebody's."""

    view: LogView
    today: date
    timezone: tzinfo
    origin: str
    office: Workspace | None = None

    @classmethod
    def at(cls, log: Path | None = None) -> Self:
        """At the workspace's log, held to what is signed; or at a copy, of which only the chain is checked."""
        import unlearnkit as uk
        from unlearnkit.compliance.log import clock
        from unlearnkit.compliance.view import LogView

        if log is not None:
            return cls(LogView.read(log), clock.utc_now().date(), UTC, str(log))
        office = uk.Workspace.find()
        return cls(office.view(), office.today, office.timezone, office.origin, office)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request as the commands print it; days are counted from today. signed: a checkpoint covers all of it.

    signed is None where no signature was looked at. answered_late: days after its day that it was answered.
    recorded_late: steps that were recorded days after they happened. unconfirmed: recipients who were told and have not
    confirmed. forgotten: the entry that says that nobody can tell any more whose it was.
    certificates: of every kind, the newest last: what was decided, or the kind, and the releases. certified: those of
    them that answered it, or the newest while it is open.
    """

    id: str
    state: str
    closed: bool
    received: date
    source: str
    jurisdiction: str | None
    subject: str
    reference: str | None
    due: _Due | None
    duplicate_of: str | None
    follows: str | None
    duplicates: tuple[str, ...]
    steps: tuple[Mapping[str, object], ...]
    signed: bool | None
    forgotten: int | None
    certificates: tuple[str, ...]
    certified: tuple[str, ...]
    assignee: str | None
    paused_since: date | None
    answered_late: int | None
    recorded_late: int
    unconfirmed: tuple[str, ...]

    @classmethod
    def of(cls, request: Request, look: Look, case: Case | None = None) -> Self:
        """What the log says of a request; one that is a duplicate is closed when the other is."""
        from unlearnkit.compliance.requests.punctuality import late_answers, late_records
        from unlearnkit.compliance.requests.steps import Event

        view, today = look.view, look.today
        due, paused = request.next_due, request.last(Event.PAUSED)
        return cls(
            id=request.id,
            state=request.state,
            closed=view.register.original(request).is_closed,
            received=request.received,
            source=request.source,
            jurisdiction=request.jurisdiction,
            subject=request.subject,
            reference=request.reference,
            due=None if due is None else _Due(due.day.isoformat(), due.rule, (due.day - today).days),
            duplicate_of=request.duplicate_of,
            follows=request.follows,
            duplicates=tuple(request.duplicates),
            steps=tuple(_step(step, look.timezone) for step in request.steps),
            signed=None if view.signed is None else view.covers(request.steps[-1].index),
            forgotten=view.register.forgotten.get(request.subject),
            certificates=() if case is None else tuple(map(str, case.certificates)),
            certified=() if case is None else tuple(map(str, case.standing)),
            assignee=request.assignee,
            paused_since=paused.on if paused is not None and request.is_paused else None,
            answered_late=next((late.days for late in late_answers([request])), None),
            recorded_late=len(list(late_records([request], look.timezone))),
            unconfirmed=request.unconfirmed,
        )

    def __str__(self) -> str:
        links = {"duplicate of": self.duplicate_of, "follows": self.follows, "duplicates": ", ".join(self.duplicates)}
        parts = [
            f"{self.state:<17}",
            f"received {self.received}",
            str(self.due or ""),
            f"since {self.paused_since}" if self.paused_since else "",
            f"ANSWERED {counted(self.answered_late, 'day').upper()} LATE" if self.answered_late else "",
            f"{counted(self.recorded_late, 'step')} recorded late" if self.recorded_late else "",
            f"with {self.assignee}" if self.assignee else "",
            f"unconfirmed: {', '.join(self.unconfirmed)}" if self.unconfirmed else "",
            *(f"{name} {other}" for name, other in links.items() if other),
            f"certified: {', '.join(self.certified)}" if self.certified else "",
            "" if self.forgotten is None else f"(forgotten with entry {self.forgotten})",
            f"({UNSIGNED})" if self.signed is False else "",
        ]
        return "  ".join(part for part in parts if part)


def _step(step: Step, timezone: tzinfo) -> Mapping[str, object]:
    """A step: its entry and state, its day and when it was recorded, and the members that its entry has."""
    from unlearnkit.compliance.log.clock import format_time
    from unlearnkit.records import to_json

    later = max(0, (step.time.astimezone(timezone).date() - step.on).days)

    members = {name: value for name, value in to_json(step.body).items() if name not in ("request", "on")}
    recorded = {"recorded": format_time(step.time), "days_later": later}
    return {"entry": step.index, "state": step.event.state, "on": step.on, **recorded, **members}


@dataclass(frozen=True, slots=True)
class FailedView:
    """A request for which a step was not taken, and why."""

    id: str
    error: str
    hint: str | None

    @classmethod
    def of(cls, name: str, err: Exception) -> Self:
        """What an error says."""
        return cls(name, str(err), getattr(err, "hint", None))

    def __str__(self) -> str:
        return f"NOT DONE: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(Document):
    """Some requests. failed: those for which a step was not taken, though it was for others."""

    schema: ClassVar[str] = "unlearnkit/requests/v1"

    today: date
    requests: tuple[RequestView, ...]
    failed: tuple[FailedView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRequest(Document, RequestView):
    """A request alone."""

    schema: ClassVar[str] = "unlearnkit/request/v1"


def render_list(found: Requests) -> Iterable[str]:
    """A line for each request."""
    failed = ((item.id, item) for item in found.failed)
    return columns([*((item.id, item) for item in found.requests), *failed])


def render_one(request: OneRequest) -> Iterator[str]:
    """A request and its steps."""
    yield from columns([(request.id, request), ("subject", request.subject), ("reference", request.reference)])
    for step in request.steps:
        said = {name: value for name, value in step.items() if name not in _BESIDE}
        members = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in said.items())
        later = step["days_later"]
        late = f", {counted(later, 'day').upper()} LATER" if isinstance(later, int) and later >= LATE else ""
        when = f"recorded {step['recorded']}{late}"
        yield f"  {step['on']}  {step['state']!s:<17}  {when}, entry {step['entry']}: {members}"


def _said(value: object) -> str:
    if isinstance(value, dict):
        return f"until {value['day']} ({value['rule']})"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)
