"""A deletion request as the log tells it: what happened to it, what is due, and who else asked with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.requests.steps import (
    BESIDE,
    CLOSING,
    Appealed,
    AppealExtended,
    Assigned,
    Corrected,
    Event,
    Extended,
    Fulfilled,
    Received,
    RecipientConfirmed,
    RecipientTold,
    Refused,
    Resumed,
    Shown,
    Step,
    Withdrawn,
)
from unlearnkit.compliance.requests.trail import Trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the log tells it. subject: pseudonym. policy_digest: of the policy it was received under.

    received, source: as corrected since. current: the step that it is in the state of. latest: of each kind of step.
    respond: until when it is to be answered. appeal: until when the open appeal is; None where nothing is said.
    paused: days on which the clock stood still, until it ran on last.
    duplicate_of: the open request of the same subject under the same law; whatever happens to that happens to this one.
    follows: the last closed request of theirs. duplicates: the other direction.
    late: the answer that came after its day, and that day; the first one.
    """

    id: str
    subject: str
    policy_digest: str
    jurisdiction: str | None
    received: date
    source: str
    steps: Trail[Step]
    current: Step
    respond: Due
    acknowledge: Due | None = None
    appeal: Due | None = None
    paused: int = 0
    reference: str | None = None
    duplicate_of: str | None = None
    follows: str | None = None
    duplicates: Trail[str] = field(default_factory=Trail)
    latest: Mapping[Event, Step] = field(default_factory=dict, repr=False)
    assignee: str | None = None
    told: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    late: tuple[Step, Due] | None = None

    @classmethod
    def received_with(cls, step: Step, body: Received) -> Request:
        """The request that begins with a step."""
        return cls(
            id=f"R{step.index}",
            subject=body.subject,
            policy_digest=body.policy_digest,
            jurisdiction=body.jurisdiction,
            received=body.received,
            source=body.source,
            steps=Trail([step]),
            current=step,
            latest={Event.RECEIVED: step},
            respond=body.respond,
            acknowledge=body.acknowledge,
            reference=body.reference,
            duplicate_of=body.duplicate_of,
            follows=body.follows,
        )

    @property
    def receipt(self) -> Received:
        """What was recorded when it was received."""
        body = self.steps[0].body
        assert isinstance(body, Received)  # noqa: S101 - no request begins otherwise
        return body

    @property
    def state(self) -> str:
        """What happened last, in words."""
        if self.duplicate_of:
            return "duplicate"
        body = self.current.body
        if not isinstance(body, Fulfilled):
            return self.current.event.state
        return (
            self.current.event.state
            + (" in part" if body.refused else "")
            + (" (attested)" if body.shown is Shown.ATTESTATION else "")
        )

    @property
    def is_closed(self) -> bool:
        """Whether it was refused, fulfilled or withdrawn, and not appealed since."""
        return self.current.event in CLOSING

    @property
    def is_paused(self) -> bool:
        """Whether the clock stands still."""
        paused, resumed = self.last(Event.PAUSED), self.last(Event.RESUMED)
        return paused is not None and (resumed is None or resumed.index < paused.index)

    @property
    def answer_due(self) -> Due | None:
        """Until when the person waits for an answer: to their request, or to their appeal, if that has a day."""
        return self.appeal if self.last(Event.APPEALED) else self.respond

    @property
    def next_due(self) -> Due | None:
        """What is due next: the confirmation of receipt, or the answer; None for what needs nothing now."""
        if self.is_closed or self.duplicate_of or self.is_paused:
            return None
        due = self.answer_due
        if due is not None and self.acknowledge is not None and self.last(Event.ACKNOWLEDGED) is None:
            return min(self.acknowledge, due, key=lambda item: item.day)
        return due

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The kinds of recipients that were told and have not confirmed."""
        return tuple(name for name in self.told if name not in self.confirmed)

    @property
    def needed_until(self) -> date:
        """The last day on which its record is needed; far away while it is open."""
        if not self.is_closed:
            return date.max
        bodies = (self.latest[event].body for event in CLOSING if event in self.latest)
        return max(body.retain_until for body in bodies if isinstance(body, Refused | Fulfilled | Withdrawn))

    def last(self, event: Event) -> Step | None:
        """The last step of this kind."""
        return self.latest.get(event)

    def closed_with(self, *, before: int) -> Step | None:
        """The step by which it was closed when the entry ``before`` was recorded; None if it was open."""
        turns = [step for step in self.steps if step.index < before and step.event in CLOSING | {Event.APPEALED}]
        return turns[-1] if turns and turns[-1].event in CLOSING else None

    def after(self, step: Step) -> Request:
        """The same request when one more thing has happened to it."""
        return replace(
            _changed(self, step),
            steps=self.steps.then(step),
            latest={**self.latest, step.event: step},
            current=self.current if step.event in BESIDE else step,
            late=self.late or self._late(step),
        )

    def _late(self, step: Step) -> tuple[Step, Due] | None:
        due = self.answer_due
        is_answer = step.event in CLOSING - {Event.WITHDRAWN}
        return (step, due) if is_answer and due is not None and step.on > due.day else None


def _changed(request: Request, step: Step) -> Request:
    """The request with what a step changes besides the state."""
    match step.body:
        case Extended(respond=respond):
            return replace(request, respond=respond)
        case Resumed(respond=respond):
            stood = (step.on - request.latest[Event.PAUSED].on).days
            return replace(request, respond=respond, paused=request.paused + stood)
        case Corrected(received=day, source=source, respond=respond, acknowledge=acknowledge):
            return replace(request, received=day, source=source, respond=respond, acknowledge=acknowledge)
        case Appealed(respond=appeal) | AppealExtended(respond=appeal):
            return replace(request, appeal=appeal)
        case Assigned(to=assignee):
            return replace(request, assignee=assignee)
    return _told(request, step)


def _told(request: Request, step: Step) -> Request:
    """The request with the recipients that a step says were told, or have confirmed."""
    body = step.body
    if isinstance(body, RecipientConfirmed):
        return replace(request, confirmed=(*request.confirmed, body.recipient))
    if isinstance(body, RecipientTold):
        return replace(request, told=(*request.told, body.recipient))
    new = [name for name in (body.notified or ()) if name not in request.told] if isinstance(body, Fulfilled) else []
    return replace(request, told=(*request.told, *new)) if new else request
