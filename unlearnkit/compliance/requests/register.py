"""Deletion requests: a state machine over entries of the log. Nothing is stored but the log; this is what it says.

A request is named after the entry that received it (R17). Every later step is an entry that names the request; which
ones are legal says `legal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from unlearnkit.compliance.log.clock import format_time, latest_day
from unlearnkit.compliance.log.entry import START, Entry, Position
from unlearnkit.compliance.policy.policy import MISTAKE
from unlearnkit.compliance.requests.legal import check_legal
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import PURGED, Acted, Event, Purged, Received, Step, Withdrawn, parse_body
from unlearnkit.compliance.requests.trail import Trail
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.names import NAMES, KeyFingerprint, NamesVersion, counted
from unlearnkit.notebook import html_table
from unlearnkit.records import from_json

KEY_CREATED, KEY_DESTROYED = "pseudonym-key-created", "pseudonym-key-destroyed"
_EVENTS = {event.value: event for event in Event}
_RESERVED = ("request-", "requests-", "pseudonym-key-")


@dataclass(frozen=True, slots=True)
class KeyBody:
    """That the pseudonym key of this fingerprint was destroyed."""

    key: KeyFingerprint


@dataclass(frozen=True, slots=True)
class KeyCreated(KeyBody):
    """That it was made. names: the form that names have before they become pseudonyms."""

    names: NamesVersion = NAMES


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
        self._begin, self._at = START, 0
        self._last: Entry | None = None
        self._latest: dict[tuple[str, str | None], str] = {}  # by subject and law, the last that is no duplicate

    def _repr_html_(self) -> str:
        header = ("request", "state", "received", "next due", "policy")
        rows = [
            (
                request.id,
                request.state,
                request.received.isoformat(),
                "" if request.next_due is None else request.next_due.day.isoformat(),
                request.policy_digest[:16],
            )
            for request in self.requests.values()
        ]
        return html_table(f"{counted(len(rows), 'request')}", header, rows)

    def replay(self, entries: Iterable[Entry]) -> Register:
        """`apply` entries that were recorded, and return this register.

        Raises VerificationError for the first that should not have been recorded, FormatError for a malformed one.
        """
        for entry in entries:
            try:
                self.apply(entry.index, entry.type, entry.body, time=entry.time)
            except (RefusedError, UnknownNameError) as err:
                raise VerificationError(f"log entry {entry.index} is not a legal step: {err}") from err
            self._at, self._last = self._at + len(entry.line), entry
        return self

    @property
    def end(self) -> Position:
        """The place after the last entry that was replayed."""
        if self._last is None:
            return self._begin
        return Position(self._last.index + 1, self._at, self._last.digest)

    @end.setter
    def end(self, place: Position) -> None:
        self._begin, self._at, self._last = place, place.offset, None

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
        if kind not in _EVENTS:
            if kind.startswith(_RESERVED):
                raise FormatError(f"entry {index} is of an unknown type: got {kind!r}")
            return None
        event = _EVENTS[kind]
        said = parse_body(event, body, where=f"entry {index}: {kind}")
        if said.on > latest_day(time):
            raise RefusedError(f"{event.state} on a day in the future: got {said.on}, recorded {format_time(time)}")
        step = Step(event, index, said, time)
        request = self._receive(step, said) if isinstance(said, Received) else self._step(step, said)
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

    def links(self, subject: str, jurisdiction: str | None) -> dict[str, str]:
        """The members that link a new request of ``subject`` to an open one, or else to the last closed one.

        Under another law it is a request of its own, with its own clocks.
        """
        latest = self._latest.get((subject, jurisdiction))
        if latest is None:
            return {}
        return {"follows" if self.requests[latest].is_closed else "duplicate_of": latest}

    def _receive(self, step: Step, body: Received) -> Request:
        self._require_linked(step.index, body)
        request = Request.received_with(step, body)
        if request.duplicate_of:
            original = self.requests[request.duplicate_of]
            self.requests[original.id] = replace(original, duplicates=original.duplicates.then(request.id))
        else:
            self._latest[request.subject, request.jurisdiction] = request.id
        return request

    def _require_linked(self, index: int, body: Received) -> None:
        """Under the key in force, and linked to the other requests of its subject."""
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
        links = self.links(body.subject, body.jurisdiction)
        if links != {n: link for n in ("duplicate_of", "follows") if (link := getattr(body, n)) is not None}:
            raise RefusedError(f"entry {index} must be linked to the other requests of its subject: expected {links}")

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

    def _step(self, step: Step, body: Acted) -> Request:
        request = self.get(body.request)
        check_legal(request, step.event, body)
        changed = request.after(step)
        if isinstance(body, Withdrawn) and body.reason == MISTAKE and request.duplicates:
            self._release(request)
            return replace(changed, duplicates=Trail())
        return changed

    def _release(self, request: Request) -> None:
        """The duplicates of a request that nobody ever made stand without it: the first in its place."""
        first, *others = request.duplicates
        heir = replace(self.requests[first], duplicate_of=None, follows=request.follows, duplicates=Trail(others))
        self.requests[first] = heir
        for name in others:
            self.requests[name] = replace(self.requests[name], duplicate_of=first)
        self._latest[request.subject, request.jurisdiction] = first

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
