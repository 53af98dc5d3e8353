"""Deletion requests: a state machine over entries of the log. Nothing is stored but the log; this is what it says.

A request is named after the entry that received it (R17). Every later step is an entry that names the request. The same
check decides whether a step may be recorded and whether a recorded one was legal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from unlearnkit.canonical import take_fields
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.requests.steps import FULFIL, REFUSE, Event, Step, parse_body
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError

KEY_CREATED, KEY_DESTROYED = "pseudonym-key-created", "pseudonym-key-destroyed"
CLOSING = frozenset({Event.REFUSED, Event.FULFILLED, Event.WITHDRAWN})
_ONCE = frozenset({Event.ACKNOWLEDGED, Event.IDENTITY_VERIFIED, Event.EXTENDED})
_NEEDS_IDENTITY = frozenset({Event.ASSESSED, Event.FULFILLED})
_DECISIONS = {Event.FULFILLED: FULFIL, Event.REFUSED: REFUSE}
_RESERVED = ("request-", "pseudonym-key-")
_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the log tells it. subject: pseudonym.

    duplicate_of: the open request of the same subject; whatever happens to that one happens to this one.
    follows: the last closed request of the same subject. duplicates: the other direction.
    """

    id: str
    subject: str
    steps: tuple[Step, ...]
    respond: Due
    acknowledge: Due | None = None
    reference: str | None = None
    duplicate_of: str | None = None
    follows: str | None = None
    duplicates: tuple[str, ...] = ()

    @property
    def received(self) -> date:
        """The day of receipt, from which the clocks run."""
        return self.steps[0].on

    @property
    def state(self) -> str:
        """What happened last, in words."""
        return "duplicate" if self.duplicate_of else self.steps[-1].event.state

    @property
    def is_closed(self) -> bool:
        """Whether it was refused, fulfilled or withdrawn."""
        return self.steps[-1].event in CLOSING

    def last(self, event: Event) -> Step | None:
        """The last step of this kind."""
        return next((step for step in reversed(self.steps) if step.event is event), None)

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
        self.key_destroyed: int | None = None
        """The entry that says that the pseudonym key was destroyed."""
        self._latest: dict[str, str] = {}  # by subject, the last request that is no duplicate

    def replay(self, entry: Entry) -> None:
        """`apply` an entry that was recorded; VerificationError if it should not have been."""
        try:
            self.apply(entry.index, entry.type, entry.body)
        except (RefusedError, UnknownNameError) as err:
            raise VerificationError(f"log entry {entry.index} is not a legal step: {err}") from err

    def apply(self, index: int, kind: str, body: Mapping[str, Any]) -> Request | None:
        """Take in the entry ``index``, and return the request that it changes; entries about other things are let by.

        Raises FormatError for a malformed body, RefusedError and UnknownNameError for what may not happen now; the
        register is then as it was.
        """
        if kind in (KEY_CREATED, KEY_DESTROYED):
            self._apply_key(index, kind, body)
            return None
        if kind not in set(Event):
            if kind.startswith(_RESERVED):
                raise FormatError(f"entry {index} is of an unknown type: got {kind!r}")
            return None
        event = Event(kind)
        fields = parse_body(event, body, where=f"entry {index}: {kind}")
        request = self._receive(index, fields) if event is Event.RECEIVED else self._step(index, event, fields)
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

    def _receive(self, index: int, fields: Mapping[str, Any]) -> Request:
        if self.key is None or fields["key"] != self.key:
            destroyed = f": it was destroyed with entry {self.key_destroyed}" if self.key_destroyed is not None else ""
            raise RefusedError(
                f"requests cannot be recorded under pseudonym key {fields['key']}{destroyed}; in force: {self.key}",
                hint="pseudonyms under another key would hide duplicates; use the workspace's key, or a new workspace",
            )
        links = self.links(fields["subject"])
        if links != {name: fields[name] for name in ("duplicate_of", "follows") if name in fields}:
            raise RefusedError(f"entry {index} must be linked to the other requests of its subject: expected {links}")
        request = Request(
            id=f"R{index}",
            subject=fields["subject"],
            steps=(Step(Event.RECEIVED, index, fields["received"], fields),),
            respond=fields["respond"],
            acknowledge=fields.get("acknowledge"),
            reference=fields.get("reference"),
            duplicate_of=links.get("duplicate_of"),
            follows=links.get("follows"),
        )
        if request.duplicate_of:
            original = self.requests[request.duplicate_of]
            self.requests[original.id] = replace(original, duplicates=(*original.duplicates, request.id))
        else:
            self._latest[request.subject] = request.id
        return request

    def links(self, subject: str) -> dict[str, str]:
        """The members that link a new request of ``subject`` to an open one, or else to the last closed one."""
        latest = self.latest(subject)
        if latest is None:
            return {}
        return {"follows" if latest.is_closed else "duplicate_of": latest.id}

    def _step(self, index: int, event: Event, fields: Mapping[str, Any]) -> Request:
        request = self.get(fields["request"])
        check_legal(request, event, fields)
        step = Step(event, index, fields["on"], fields)
        return replace(request, steps=(*request.steps, step), respond=fields.get("respond", request.respond))

    def _apply_key(self, index: int, kind: str, body: Mapping[str, Any]) -> None:
        where = f"entry {index}: {kind}"
        fields = take_fields(body, where=where, required={"key": str})
        key = fields["key"]
        if not _KEY.fullmatch(key):
            raise FormatError(f"{where}: key must be 16 hexadecimal digits: got {key!r}")
        if kind == KEY_DESTROYED and self.key != key:
            raise RefusedError(f"{where}: the pseudonym key in force is {self.key}, got {key}")
        if kind == KEY_CREATED and (self.key is not None or self.key_destroyed is not None):
            raise RefusedError(f"{where}: there was a pseudonym key already")
        self.key = key if kind == KEY_CREATED else None
        self.key_destroyed = index if kind == KEY_DESTROYED else None


def check_legal(request: Request, event: Event, fields: Mapping[str, Any]) -> None:
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
    if fields["on"] < request.received:
        raise refuse(f"it was received on {request.received}, which is after {fields['on']}")
    if event is Event.EXTENDED and fields["on"] > request.respond.day:
        raise refuse(f"the time for that ended on {request.respond.day} ({request.respond.rule})")
    if event is Event.EXTENDED and fields["respond"].day < request.respond.day:
        raise refuse(f"the new day {fields['respond'].day} is before the old one, {request.respond.day}")
    if (conflict := _other_decision(request, event)) is not None:
        raise refuse(f"entry {conflict.index} decided to {conflict.body['decision']}", "assess it anew")


def _other_decision(request: Request, event: Event) -> Step | None:
    """The last assessment, if it decided otherwise than ``event`` would have it."""
    assessed, decision = request.last(Event.ASSESSED), _DECISIONS.get(event)
    is_other = assessed is not None and decision is not None and assessed.body["decision"] != decision
    return assessed if is_other else None
