"""How deletion requests are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, ClassVar, Self

from .output import UNSIGNED, Document, columns

if TYPE_CHECKING:
    from unlearnkit.compliance.requests.request import Request
    from unlearnkit.compliance.requests.steps import Received, Step
    from unlearnkit.compliance.view import LogView
    from unlearnkit.verifier.account import Issued
    from unlearnkit.verifier.correction import LoggedCorrection


@dataclass(frozen=True, slots=True)
class _Due:
    day: str
    rule: str
    days_left: int

    def __str__(self) -> str:
        left = self.days_left
        when = f"OVERDUE by {-left} days" if left < 0 else f"in {left} days" if left else "today"
        return f"due {self.day} ({self.rule}), {when}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request as the commands print it; days are counted from today. signed: a checkpoint covers all of it.

    forgotten: the entry that says that nobody can tell any more whose it was.

    certificates: of the effect and of correction, the newest last: what was decided, and the release.
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
    signed: bool
    forgotten: int | None
    certificates: tuple[str, ...]

    @classmethod
    def of(
        cls, request: Request, view: LogView, today: date, certificates: Sequence[Issued | LoggedCorrection] = ()
    ) -> Self:
        """What the log says of a request; one that is a duplicate is closed when the other is."""
        due, said = request.next_due, received_body(request)
        return cls(
            id=request.id,
            state=request.state,
            closed=view.register.original(request).is_closed,
            received=request.received,
            source=said.source,
            jurisdiction=said.jurisdiction,
            subject=request.subject,
            reference=request.reference,
            due=None if due is None else _Due(due.day.isoformat(), due.rule, (due.day - today).days),
            duplicate_of=request.duplicate_of,
            follows=request.follows,
            duplicates=tuple(request.duplicates),
            steps=tuple(_step(step) for step in request.steps),
            signed=view.covers(request.steps[-1].index),
            forgotten=view.register.forgotten.get(request.subject),
            certificates=tuple(f"{item.decision} {item.release}" for item in certificates),
        )

    def __str__(self) -> str:
        links = {"duplicate of": self.duplicate_of, "follows": self.follows, "duplicates": ", ".join(self.duplicates)}
        parts = [
            f"{self.state:<17}",
            f"received {self.received}",
            str(self.due or ""),
            *(f"{name} {other}" for name, other in links.items() if other),
            *(f"certified: {text}" for text in self.certificates[-1:]),
            "" if self.forgotten is None else f"(forgotten with entry {self.forgotten})",
            "" if self.signed else f"({UNSIGNED})",
        ]
        return "  ".join(part for part in parts if part)


def received_body(request: Request) -> Received:
    """What was recorded at receipt."""
    from unlearnkit.compliance.requests.steps import Received

    body = request.steps[0].body
    assert isinstance(body, Received)  # noqa: S101 - no request begins otherwise
    return body


def _step(step: Step) -> Mapping[str, object]:
    """A step: its entry and state, and the members that its entry has, whatever those are."""
    from unlearnkit.records import to_json

    members = {name: value for name, value in to_json(step.body).items() if name not in ("request", "on")}
    return {"entry": step.index, "state": step.event.state, "on": step.on, **members}


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
        said = {name: value for name, value in step.items() if name not in ("entry", "state", "on", "subject", "key")}
        members = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in said.items())
        yield f"  {step['on']}  {step['state']!s:<17}  entry {step['entry']}: {members}"


def _said(value: object) -> str:
    if isinstance(value, dict):
        return f"until {value['day']} ({value['rule']})"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value)
