"""Deletion requests: a state machine over entries of the log. Nothing is stored but the log; this is what it says.

A request is named after the entry that received it (R17). Every later step is an entry that names the request. The same
check decides whether a step may be recorded and whether a recorded one was legal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from unlearnkit.compliance.log.clock import format_time, latest_day
from unlearnkit.compliance.log.entry import START, Entry, advance
from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.requests.steps import (
    PURGED,
    Acted,
    Assessed,
    Assessment,
    Event,
    Extended,
    Fulfilled,
    Purged,
    Received,
    Refused,
    Shown,
    Step,
    Withdrawn,
    parse_body,
)
from unlearnkit.compliance.requests.trail import Trail
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.names import NAMES, KeyFingerprint, NamesVersion
from unlearnkit.records import from_json

KEY_CREATED, KEY_DESTROYED = "pseudonym-key-created", "pseudonym-key-destroyed"
CLOSING = frozenset({Event.REFUSED, Event.FULFILLED, Event.WITHDRAWN})
_ONCE = frozenset({Event.ACKNOWLEDGED, Event.IDENTITY_VERIFIED, Event.EXTENDED})
_NEEDS_IDENTITY = frozenset({Event.ASSESSED, Event.FULFILLED})
_DECISIONS = {Event.FULFILLED: Assessment.FULFIL, Event.REFUSED: Assessment.REFUSE}
_RESERVED = ("request-", "requests-", "pseudonym-key-")


@dataclass(frozen=True, slots=True)
class KeyBody:
    """That the pseudonym key of this fingerprint was destroyed."""

    key: KeyFingerprint


@dataclass(frozen=True, slots=True)
class KeyCreated(KeyBody):
    """That it was made. names: the form that names have before they become pseudonyms."""

    names: NamesVersion = NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the log tells it. subject: pseudonym. policy_digest: of the policy it was received under.

    duplicate_of: the open request of the same subject; whatever happens to that one happens to this one.
    follows: the last closed request of the same subject. duplicates: the other direction. latest: of each kind of step.
    """

    id: str
    subject: str
    policy_digest: str
    steps: Trail[Step]
    respond: Due
    acknowledge: Due | None = None
    reference: str | None = None
    duplicate_of: str | None = None
    follows: str | None = None
    duplicates: Trail[str] = field(default_factory=Trail)
    latest: Mapping[Event, Step] = field(default_factory=dict, repr=False)

    @property
    def received(self) -> date:
        """The day of receipt, from which the clocks run."""
        return self.steps[0].on

    @property
    def state(self) -> str:
        """What happened last, in words."""
        last = self.steps[-1]
        is_attested = isinstance(last.body, Fulfilled) and last.body.shown is Shown.ATTESTATION
        return "duplicate" if self.duplicate_of else last.event.state + (" (attested)" if is_attested else "")

    @property
    def is_closed(self) -> bool:
        """Whether it was refused, fulfilled or withdrawn."""
        return self.steps[-1].event in CLOSING

    def last(self, event: Event) -> Step | None:
        """The last step of this kind."""
        return self.latest.get(event)

    @property
    def needed_until(self) -> date:
        """The last day on which its record is needed; far away while it is open."""
        if not self.is_closed:
            return date.max
        bodies = (self.latest[event].body for event in CLOSING if event in self.latest)
        return max(body.retain_until for body in bodies if isinstance(body, Refused | Fulfilled | Withdrawn))

    def after(self, step: Step, respond: Due) -> Request:
        """The same request when one more thing has happened to it."""
        return replace(self, steps=self.steps.then(step), latest={**self.latest, step.event: step}, respond=respond)

    @property
    def next_due(self) -> Due | None:
        """What is due next: the confirmation of receipt, or the response; None for what needs nothing any more."""
        if self.is_closed or self.duplicate_of:
            return None
        if self.acknowledge is not None and self.last(Event.ACKNOWLEDGED) is None:
            return min(self.acknowledge, self.respond, key=lambda due: due.day)
        return self.respond


class Register:
    """All requests of a log, derived by applying its entries in order."""

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}
        self.key: str | None = None
        """Fingerprint of the pseudonym key in force; None before it was made and after it was destroyed."""
        self.request_key: str | None = None
        """Fingerprint of the pseudonym key that all requests are under, destroyed or not; None before it was made."""
        self.key_destroyed: int | None = None
        """The entry that says that the pseudonym key was destroyed."""
        self.forgotten: dict[str, int] = {}
        """Pseudonyms of people whom the pseudonym key has forgotten, in order, with the entries that say so."""
        self.end = START
        """The place after the last entry that was replayed."""
        self._latest: dict[str, str] = {}  # by subject, the last request that is no duplicate

    def replay(self, entries: Iterable[Entry]) -> Register:
        """`apply` entries that were recorded, and return this register.

        Raises VerificationError for the first that should not have been recorded, FormatError for a malformed one.
        """
        for entry in entries:
            try:
                self.apply(entry.index, entry.type, entry.body, time=entry.time)
            except (RefusedError, UnknownNameError) as err:
                raise VerificationError(f"log entry {entry.index} is not a legal step: {err}") from err
            self.end = advance(self.end, entry.line)
        return self

    def apply(self, index: int, kind: str, body: Mapping[str, Any], *, time: datetime) -> Request | None:
        """Take in the entry ``index``, and return the request that it changes; entries about other things are let by.

        time: when it was recorded, or would be. Raises FormatError for a malformed body, RefusedError and
        UnknownNameError for what may not happen now; the register is then as it was.
        """
        if kind in (KEY_CREATED, KEY_DESTROYED):
            self._apply_key(index, kind, body)
            return None
        if kind == PURGED:
            self._forget(index, body, time)
            return None
        if kind not in set(Event):
            if kind.startswith(_RESERVED):
                raise FormatError(f"entry {index} is of an unknown type: got {kind!r}")
            return None
        event = Event(kind)
        said = parse_body(event, body, where=f"entry {index}: {kind}")
        if said.on > latest_day(time):
            raise RefusedError(f"{event.state} on a day in the future: got {said.on}, recorded {format_time(time)}")
        request = self._receive(index, said) if isinstance(said, Received) else self._step(index, event, said)
        self.requests[request.id] = request
        return request

    def get(self, name: str) -> Request:
        """The request with this id; UnknownNameError if there is none."""
        if name not in self.requests:
            raise UnknownNameError(
                f"no request {name!r}: there are {len(self.requests)}", hint="`unlearnkit requests list`"
            )
        return self.requests[name]

    def original(self, request: Request) -> Request:
        """The request itself, or the one that it is a duplicate of."""
        return self.requests[request.duplicate_of] if request.duplicate_of else request

    def latest(self, subject: str) -> Request | None:
        """The last request of a subject that is no duplicate."""
        return self.requests[self._latest[subject]] if subject in self._latest else None

    def _receive(self, index: int, body: Received) -> Request:
        if self.key is None or body.key != self.key:
            destroyed = f": it was destroyed with entry {self.key_destroyed}" if self.key_destroyed is not None else ""
            raise RefusedError(
                f"requests cannot be recorded under pseudonym key {body.key}{destroyed}; in force: {self.key}",
                hint="pseudonyms under another key would hide duplicates; use the workspace's key, or a new workspace",
            )
        if body.subject in self.forgotten:
            raise RefusedError(
                f"entry {index} is about somebody who was forgotten with entry {self.forgotten[body.subject]}",
                hint="the pseudonym key is an older copy: use the one that the workspace has now",
            )
        links = self.links(body.subject)
        if links != {n: link for n in ("duplicate_of", "follows") if (link := getattr(body, n)) is not None}:
            raise RefusedError(f"entry {index} must be linked to the other requests of its subject: expected {links}")
        received = Step(Event.RECEIVED, index, body)
        request = Request(
            id=f"R{index}",
            subject=body.subject,
            policy_digest=body.policy_digest,
            steps=Trail([received]),
            latest={Event.RECEIVED: received},
            respond=body.respond,
            acknowledge=body.acknowledge,
            reference=body.reference,
            duplicate_of=body.duplicate_of,
            follows=body.follows,
        )
        if request.duplicate_of:
            original = self.requests[request.duplicate_of]
            self.requests[original.id] = replace(original, duplicates=original.duplicates.then(request.id))
        else:
            self._latest[request.subject] = request.id
        return request

    def links(self, subject: str) -> dict[str, str]:
        """The members that link a new request of ``subject`` to an open one, or else to the last closed one."""
        latest = self.latest(subject)
        if latest is None:
            return {}
        return {"follows" if latest.is_closed else "duplicate_of": latest.id}

    def needed_until(self) -> dict[str, date]:
        """By subject, the last day on which their requests are needed; far away while one of them is open."""
        found: dict[str, date] = {}
        for request in self.requests.values():
            if not request.duplicate_of:
                found[request.subject] = max(found.get(request.subject, date.min), request.needed_until)
        return found

    def _forget(self, index: int, body: Mapping[str, Any], time: datetime) -> None:
        said = from_json(Purged, body, where=f"entry {index}: {PURGED}")
        if said.on > latest_day(time):
            raise RefusedError(f"purged on a day in the future: got {said.on}, recorded {format_time(time)}")
        named = set(said.requests)
        subjects = {self.get(name).subject for name in said.requests}
        needed = self.needed_until()
        for request in self.requests.values():
            if request.subject in subjects and request.id not in named:
                raise RefusedError(f"entry {index} forgets a person, but not their request {request.id}")
        for name in said.requests:
            subject = self.requests[name].subject
            if subject in self.forgotten:
                raise RefusedError(f"{name} was purged before, with entry {self.forgotten[subject]}")
            if said.on <= needed[subject]:
                raise RefusedError(f"{name} cannot be purged: {_why_needed(needed[subject])}")
        self.forgotten |= dict.fromkeys(sorted(subjects), index)

    def _step(self, index: int, event: Event, body: Acted) -> Request:
        request = self.get(body.request)
        check_legal(request, event, body)
        respond = body.respond if isinstance(body, Extended) else request.respond
        return request.after(Step(event, index, body), respond)

    def _apply_key(self, index: int, kind: str, body: Mapping[str, Any]) -> None:
        where = f"entry {index}: {kind}"
        key = from_json(KeyCreated if kind == KEY_CREATED else KeyBody, body, where=where).key
        if kind == KEY_DESTROYED and self.key != key:
            raise RefusedError(f"{where}: the pseudonym key in force is {self.key}, got {key}")
        if kind == KEY_CREATED and (self.key is not None or self.key_destroyed is not None):
            raise RefusedError(f"{where}: there was a pseudonym key already")
        self.key = key if kind == KEY_CREATED else None
        self.request_key = key
        self.key_destroyed = index if kind == KEY_DESTROYED else None


def _why_needed(until: date) -> str:
    return "the person has an open request" if until == date.max else f"its record is needed until {until}"


def _needed(request: Request, event: Event) -> Iterator[Step]:
    """The steps that must have happened before this one can, in time as in order: of each kind the latest."""
    for step in request.latest.values():
        is_identity = step.event is Event.IDENTITY_VERIFIED and event in _NEEDS_IDENTITY
        if step.event is Event.RECEIVED or event in CLOSING or is_identity or step.event is event:
            yield step


def check_legal(request: Request, event: Event, body: Acted) -> None:
    """Raise RefusedError unless ``event`` may happen to ``request`` now."""

    def refuse(reason: str, hint: str | None = None) -> RefusedError:
        return RefusedError(f"{request.id} cannot become {event.state}: {reason}", hint=hint)

    if request.duplicate_of:
        raise refuse(f"it is a duplicate of {request.duplicate_of}", f"use {request.duplicate_of}")
    if request.is_closed:
        raise refuse(f"it is {request.state}", "a new request of the same person is linked to this one")
    if event in _ONCE and request.last(event):
        raise refuse("it is already")
    if event in _NEEDS_IDENTITY and not request.last(Event.IDENTITY_VERIFIED):
        raise refuse("the identity has not been verified", "`unlearnkit requests verify-identity`")
    wanted = _DECISIONS.get(event)
    assessed = request.last(Event.ASSESSED)
    if wanted and assessed and isinstance(assessed.body, Assessed) and assessed.body.decision is not wanted:
        raise refuse(f"entry {assessed.index} decided to {assessed.body.decision}", "assess it anew")
    _check_days(request, event, body, refuse)


def _check_days(request: Request, event: Event, body: Acted, refuse: Callable[[str], RefusedError]) -> None:
    """In time as in order: a step is not before those that it needs, and comes while there is time for it."""
    for step in _needed(request, event):
        if body.on < step.on:
            raise refuse(f"it was {step.event.state} on {step.on}, which is after {body.on}")
    if isinstance(body, Extended) and body.on > request.respond.day:
        raise refuse(f"the time for that ended on {request.respond.day} ({request.respond.rule})")
    if isinstance(body, Extended) and body.respond.day < request.respond.day:
        raise refuse(f"the new day {body.respond.day} is before the old one, {request.respond.day}")
