"""What may happen to a deletion request, and when: the closed table of its steps.

The same check decides whether a step may be recorded and whether a recorded one was legal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import (
    BESIDE,
    CLOSING,
    Acted,
    AppealExtended,
    Assessed,
    Assessment,
    Corrected,
    Event,
    Extended,
    RecipientConfirmed,
    RecipientTold,
    Resumed,
    Step,
)
from unlearnkit.errors import RefusedError


class Phase(StrEnum):
    """Where a request is: worked on; with its clock standing still; answered; answered with yes; or taken back."""

    OPEN = "open"
    PAUSED = "paused"
    REFUSED = "refused"
    FULFILLED = "fulfilled"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a step may happen. once: only one time. needs: a step before it. never_after: a step that rules it out."""

    phases: frozenset[Phase]
    once: bool = False
    needs: Event | None = None
    never_after: Event | None = None


_OPEN = frozenset({Phase.OPEN})
_WAITING = frozenset({Phase.OPEN, Phase.PAUSED})
_TELLING = frozenset({Phase.OPEN, Phase.PAUSED, Phase.FULFILLED})

RULES: Mapping[Event, Rule] = {
    Event.ACKNOWLEDGED: Rule(phases=_WAITING, once=True),
    Event.ASSIGNED: Rule(phases=_WAITING),
    Event.CORRECTED: Rule(phases=_OPEN, never_after=Event.APPEALED),
    Event.IDENTITY_ASKED: Rule(phases=_WAITING, never_after=Event.IDENTITY_VERIFIED),
    Event.IDENTITY_FAILED: Rule(phases=_WAITING, never_after=Event.IDENTITY_VERIFIED),
    Event.IDENTITY_VERIFIED: Rule(phases=_WAITING, once=True),
    Event.PAUSED: Rule(phases=_OPEN, never_after=Event.APPEALED),
    Event.RESUMED: Rule(phases=frozenset({Phase.PAUSED})),
    Event.EXTENDED: Rule(phases=_OPEN, once=True, never_after=Event.APPEALED),
    Event.ASSESSED: Rule(phases=_OPEN, needs=Event.IDENTITY_VERIFIED),
    Event.REFUSED: Rule(phases=_OPEN),
    Event.FULFILLED: Rule(phases=_OPEN, needs=Event.IDENTITY_VERIFIED),
    Event.WITHDRAWN: Rule(phases=_WAITING),
    Event.APPEALED: Rule(phases=frozenset({Phase.REFUSED, Phase.FULFILLED})),
    Event.APPEAL_EXTENDED: Rule(phases=_OPEN),
    Event.RECIPIENT_TOLD: Rule(phases=_TELLING),
    Event.RECIPIENT_CONFIRMED: Rule(phases=_TELLING),
}
"""All steps but the receipt, with which every request begins."""

_ENDS = {Event.REFUSED: Phase.REFUSED, Event.FULFILLED: Phase.FULFILLED, Event.WITHDRAWN: Phase.WITHDRAWN}
_DECISIONS = {Event.FULFILLED: Assessment.FULFIL, Event.REFUSED: Assessment.REFUSE}
_CURES = {
    Event.IDENTITY_VERIFIED: "`unlearnkit requests verify-identity`",
    Phase.PAUSED: "`unlearnkit requests resume`",
    Phase.OPEN: "only an answer can be appealed, and only a clock that stands still runs on",
}

_FOLLOWS = {
    Event.PAUSED: Event.RESUMED,
    Event.RESUMED: Event.PAUSED,
    Event.RECIPIENT_CONFIRMED: Event.RECIPIENT_TOLD,
    Event.APPEAL_EXTENDED: Event.APPEALED,
}
"""What must not have happened on a later day."""

_Refuse = Callable[..., RefusedError]


def phase_of(request: Request) -> Phase:
    """Where a request is now."""
    if request.is_closed:
        return _ENDS[request.current.event]
    return Phase.PAUSED if request.is_paused else Phase.OPEN


def check_legal(request: Request, event: Event, body: Acted) -> None:
    """Raise RefusedError unless ``event`` may happen to ``request`` now."""

    def refuse(reason: str, hint: str | None = None) -> RefusedError:
        return RefusedError(f"{request.id} cannot become {event.state}: {reason}", hint=hint)

    if request.duplicate_of:
        raise refuse(f"it is a duplicate of {request.duplicate_of}", f"use {request.duplicate_of}")
    rule, phase = RULES[event], phase_of(request)
    if phase not in rule.phases:
        again = "a new request of the same person is linked to this one; an answer can be appealed"
        raise refuse(f"it is {request.state if request.is_closed else phase}", _CURES.get(phase, again))
    if rule.once and request.last(event):
        raise refuse("it is already")
    if rule.never_after is not None and (step := request.last(rule.never_after)):
        raise refuse(f"it was {step.event.state} with entry {step.index}")
    if rule.needs is not None and not request.last(rule.needs):
        raise refuse("the identity has not been verified", _CURES[rule.needs])
    _check_decision(request, event, refuse)
    _check_recipient(request, body, refuse)
    _check_appeal(request, body, refuse)
    _check_days(request, event, body, refuse)


def _check_decision(request: Request, event: Event, refuse: _Refuse) -> None:
    wanted, assessed = _DECISIONS.get(event), request.last(Event.ASSESSED)
    if wanted and assessed and isinstance(assessed.body, Assessed) and assessed.body.decision is not wanted:
        raise refuse(f"entry {assessed.index} decided to {assessed.body.decision}", "assess it anew")


def _check_recipient(request: Request, body: Acted, refuse: _Refuse) -> None:
    """Who confirms was told, and each only once."""
    if isinstance(body, RecipientConfirmed):
        if body.recipient not in request.told:
            raise refuse(f"{body.recipient} were not told", "`unlearnkit requests notify`")
        if body.recipient in request.confirmed:
            raise refuse(f"{body.recipient} have confirmed already")
    elif isinstance(body, RecipientTold) and body.recipient in request.told:
        raise refuse(f"{body.recipient} were told already")


def _check_appeal(request: Request, body: Acted, refuse: _Refuse) -> None:
    """The answer to an appeal is put off once, and in time, where it has a day."""
    if not isinstance(body, AppealExtended):
        return
    appealed, extended = request.last(Event.APPEALED), request.last(Event.APPEAL_EXTENDED)
    if appealed is None or request.appeal is None:
        raise refuse("no appeal is open that has to be answered by a day")
    if extended is not None and extended.index > appealed.index:
        raise refuse("it is already")
    if body.on > request.appeal.day:
        raise refuse(f"the time for that ended on {request.appeal.day} ({request.appeal.rule})")
    if body.respond.day < request.appeal.day:
        raise refuse(f"the new day {body.respond.day} is before the old one, {request.appeal.day}")


def _check_days(request: Request, event: Event, body: Acted, refuse: _Refuse) -> None:
    """In time as in order: a step is not before those that it needs, and comes while there is time for it."""
    for earlier, day in _needed(request, event):
        if body.on < day:
            raise refuse(f"it was {earlier.state} on {day}, which is after {body.on}")
    if event in (Event.EXTENDED, Event.PAUSED) and body.on > request.respond.day:
        raise refuse(f"the time for that ended on {request.respond.day} ({request.respond.rule})")
    if isinstance(body, Extended | Resumed) and body.respond.day < request.respond.day:
        raise refuse(f"the new day {body.respond.day} is before the old one, {request.respond.day}")
    if isinstance(body, Corrected):
        _check_corrected(request, body, refuse)


def _check_corrected(request: Request, body: Corrected, refuse: _Refuse) -> None:
    if (body.received, body.source) == (request.received, request.source):
        raise refuse("nothing of it is other than it was")
    for step in request.steps:
        if step.event is not Event.RECEIVED and step.on < body.received:
            raise refuse(f"it was {step.event.state} on {step.on}, before {body.received}")


def _needed(request: Request, event: Event) -> Iterator[tuple[Event, date]]:
    """The steps that must have happened before this one can, in time as in order: of each kind the latest."""
    yield Event.RECEIVED, request.received
    for step in request.latest.values():
        if step.event is not Event.RECEIVED and _must_precede(step, event):
            yield step.event, step.on


def _must_precede(step: Step, event: Event) -> bool:
    if event in CLOSING or event is Event.APPEALED or (step.event is event and event not in BESIDE):
        return True
    return step.event in (RULES[event].needs, _FOLLOWS.get(event))
