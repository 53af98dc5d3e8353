"""The desk where deletion requests are taken and worked on: policy, pseudonyms and clock, over the log.

Each call reads what others have recorded meanwhile, decides, and records, while no other writer does: what was decided
on is what the log says. All entries of one call are decided before any is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, tzinfo
from typing import Any

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.log.entry import Draft, Position, draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.deadlines import add_months, due
from unlearnkit.compliance.policy.policy import FULFILMENTS, Ending, Policy
from unlearnkit.compliance.requests.intake import Arrival
from unlearnkit.compliance.requests.register import Register, Request, check_legal
from unlearnkit.compliance.requests.steps import BODIES, PURGED, Body, Event, Fulfilled, Purged, Received, Shown
from unlearnkit.errors import ChainError, FormatError, RefusedError, UnknownNameError
from unlearnkit.names import checked_name
from unlearnkit.records import to_json

Gate = Callable[[Request, Fulfilled, Position], Shown]
"""By what evidence it is shown that a request was met; raises if it is not. The log up to a place counts."""

_MOST_PURGED = 2000  # requests in one entry

_Record = Callable[[str, object], Request | None]


class Desk:
    """Works on the requests in one log, under one policy, for one thread. actor: who works here, a word of the policy.

    gate: what has to be shown before a request is fulfilled; None: every document is an attestation.
    A day that is not given is today, by the log's clock in ``timezone``, where the requests are received.
    Every method raises PolicyError for what the policy does not allow, RefusedError for what the state of the request
    does not, ValueError for a day in the future, VerificationError if the log has a step that was not legal.
    """

    def __init__(
        self,
        log: AuditLog,
        policy: Policy,
        *,
        actor: str,
        timezone: tzinfo,
        key: PseudonymKey | None,
        gate: Gate | None = None,
    ) -> None:
        self._log = log
        self._policy = policy
        self._actor = actor
        self._timezone = timezone
        self._key = key
        self._gate = gate
        self._register = Register()

    @property
    def today(self) -> date:
        """The present day where the requests are received."""
        return self._log.now().astimezone(self._timezone).date()

    def register(self) -> Register:
        """What the log says now."""
        return self._register.replay(self._log.entries(self._register.end))

    def requests_of(self, *, subject: str | None = None, reference: str | None = None) -> list[Request]:
        """The requests of a person, or with somebody else's number; asking by name needs the pseudonym key."""
        key = self._required_key()
        wanted = key.pseudonym(checked_name(subject)) if subject is not None else None
        number = _reference(key, reference) if reference is not None else None
        return [
            request
            for request in self.register().requests.values()
            if wanted in (None, request.subject) and number in (None, request.reference)
        ]

    def receive(
        self, subjects: Iterable[str], *, source: str, on: date | None = None, reference: str | None = None
    ) -> list[Request]:
        """Record deletion requests of these people, received on one day. Their names are written nowhere.

        A request of somebody who has an open one is linked to it. reference: their number in another system; it is
        stored as a pseudonym too. ValueError for a name that is empty, too long, or has control characters.
        """
        arrivals = (Arrival(subject=name, source=source, received=on, reference=reference) for name in subjects)
        return self.receive_all(arrivals)

    def receive_all(self, arrivals: Iterable[Arrival]) -> list[Request]:
        """`receive` for requests that each have their own day, source and reference; all are recorded, or none is."""
        key = self._required_key()
        received = [
            (
                key.pseudonym(checked_name(item.subject)),
                self._received(item.source or "", self._day(item.received), item),
            )
            for item in arrivals
        ]
        with self.deciding() as record:
            self._require_present(key)
            ids = []
            for subject, members in received:
                linked = {**members, **self._register.links(subject)}
                request = record(Event.RECEIVED, Received(subject=subject, **linked))
                ids.append(request.id if request else "")
        return [self._register.get(name) for name in ids]

    def pseudonyms(self, subjects: Iterable[str]) -> list[str]:
        """Of these people, as requests carry them; raises as `receive` does."""
        key = self._required_key()
        return [key.pseudonym(checked_name(name)) for name in subjects]

    def acknowledge(self, request: str, *, on: date | None = None) -> Request:
        """Receipt was confirmed to the person."""
        return self._step(Event.ACKNOWLEDGED, request, on)

    def verify_identity(self, request: str, *, method: str, on: date | None = None) -> Request:
        """The person is who they say they are."""
        return self._step(
            Event.IDENTITY_VERIFIED, request, on, method=self._policy.require_word("identity_methods", method)
        )

    def extend(self, request: str, *, reason: str, on: date | None = None) -> Request:
        """The person was told, in time and with the reason, that it takes longer."""
        self._policy.require_word("extension_reasons", reason)
        deadline = self._policy.require_deadline("extended")
        received = self.register().get(request).received
        respond = due(deadline, received, self._policy.working_days)
        return self._step(Event.EXTENDED, request, on, reason=reason, respond=respond)

    def assess(
        self,
        request: str,
        *,
        decision: str,
        ground: str | None = None,
        records: int | None = None,
        evidence: Sequence[str] = (),
        on: date | None = None,
    ) -> Request:
        """It was decided what will be done. records: how many examples. evidence: SHA-256 of documents."""
        if ground is not None:
            self._policy.require_word("grounds", ground)
        members = {"decision": decision, "ground": ground, "records": records, "evidence": tuple(evidence) or None}
        return self._step(Event.ASSESSED, request, on, **members)

    def refuse(self, request: str, *, reason: str, evidence: Sequence[str] = (), on: date | None = None) -> Request:
        """The person was told that the request is refused, and why."""
        self._policy.require_accepted(Ending.REFUSED)
        self._policy.require_word("refusal_reasons", reason)
        return self._close(Event.REFUSED, request, on, reason=reason, evidence=tuple(evidence) or None)

    def fulfil(
        self,
        request: str,
        *,
        method: str,
        evidence: Sequence[str],
        records: int | None = None,
        notified: Sequence[str] = (),
        on: date | None = None,
    ) -> Request:
        """It was done, and the person was told. evidence: SHA-256 of at least one document that shows it."""
        if method not in FULFILMENTS:
            raise ValueError(f"no way to fulfil a request: got {method!r}, expected {' or '.join(FULFILMENTS)}")
        self._policy.require_accepted(method)
        if not evidence:
            raise RefusedError(
                f"{request} cannot become fulfilled without evidence", hint="give a document: --evidence"
            )
        told = tuple(self._policy.require_word("recipients", name) for name in notified)
        members = {"method": method, "evidence": tuple(evidence), "records": records, "notified": told or None}
        return self._close(Event.FULFILLED, request, on, **members)

    def withdraw(self, request: str, *, reason: str, on: date | None = None) -> Request:
        """The person does not want it any more."""
        self._policy.require_word("withdrawal_reasons", reason)
        return self._close(Event.WITHDRAWN, request, on, reason=reason)

    def forget(self, subjects: Collection[str]) -> tuple[Request, ...]:
        """Record that these people are forgotten, whose requests are needed no longer; then the key has to be replaced.

        Returns their requests. RefusedError if one of them is needed still.
        """
        by, today = self._policy.require_word("actors", self._actor), self.today
        with self.deciding() as record:
            theirs: dict[str, list[str]] = {name: [] for name in subjects}
            for request in self._register.requests.values():
                if request.subject in theirs:
                    theirs[request.subject].append(request.id)
            for some in _batches(theirs.values()):
                record(PURGED, Purged(requests=tuple(some), by=by, on=today))
        return tuple(self._register.get(name) for names in theirs.values() for name in names)

    @contextmanager
    def deciding(self) -> Iterator[_Record]:
        """Keep other writers out, and record everything that was given to the yielded function, or nothing.

        That takes the type of an entry, and the record that is its body; FormatError for one that cannot be written.
        """
        with self._log.exclusive() as writer:
            self._catch_up(writer.end)
            drafts: list[Draft] = []

            def record(kind: str, body: object) -> Request | None:
                item = draft(kind, _written(body))
                request = self._register.apply(writer.end.index + len(drafts), kind, item.body, time=writer.now())
                drafts.append(item)
                return request

            try:
                yield record
                writer.record_many(drafts)
            except BaseException:
                if drafts:  # the register holds what the log may not
                    self._forget()
                raise
            self._register.end = writer.end

    def _catch_up(self, end: Position) -> None:
        """Bring the register to the end of the log. What was read without the lock may have been taken back since."""
        with suppress(ChainError, FormatError):
            self.register()
        if self._register.end != end:
            self._forget()
            self.register()

    def _received(self, source: str, day: date, arrival: Arrival) -> dict[str, Any]:
        """The members of an entry that do not depend on who asks."""
        policy, key = self._policy, self._required_key()
        respond, acknowledge = policy.require_deadline("respond"), policy.deadlines.acknowledge
        return {
            "acknowledge": due(acknowledge, day, policy.working_days) if acknowledge else None,
            "by": policy.require_word("actors", self._actor),
            "jurisdiction": policy.jurisdiction,
            "key": key.fingerprint,
            "policy": policy.name,
            "policy_digest": policy.digest,
            "received": day,
            "reference": _reference(key, arrival.reference) if arrival.reference is not None else None,
            "respond": due(respond, day, policy.working_days),
            "source": policy.require_word("sources", source),
        }

    def _close(self, event: Event, request: str, on: date | None, **members: object) -> Request:
        until = add_months(self._day(on), self._policy.requests.retention_months)
        return self._step(event, request, on, retain_until=until, **members)

    def _step(self, event: Event, request: str, on: date | None, **members: object) -> Request:
        by = self._policy.require_word("actors", self._actor)
        make: Callable[..., Body] = BODIES[event]
        body = make(request=request, by=by, on=self._day(on), **members)
        with self.deciding() as record:
            if self._gate is not None and isinstance(body, Fulfilled):
                asked = self._register.get(request)
                check_legal(asked, event, body)
                body = replace(body, shown=self._gate(asked, body, self._register.end))
            record(event, body)
        return self._register.get(request)

    def _day(self, day: date | None) -> date:
        if day is not None and day > self.today:
            raise ValueError(f"a day in the future: got {day}, today is {self.today}")
        return day or self.today

    def _required_key(self) -> PseudonymKey:
        if self._key is not None:
            return self._key
        destroyed = self.register().key_destroyed
        if destroyed is None:
            raise UnknownNameError("the pseudonym key is missing", hint="restore it from a copy")
        raise RefusedError(
            f"the pseudonym key was destroyed, as entry {destroyed} of the log says: nobody can be named any more",
            hint="make a new workspace for new requests; those in this log can be worked on by their ids",
        )

    def _require_present(self, key: PseudonymKey) -> None:
        """Refuse a key that knows people who were forgotten: it would name newer people otherwise than others do."""
        last = next(reversed(self._register.forgotten), None)
        if last is not None and not key.unknown([last]):
            raise RefusedError(
                f"the pseudonym key still knows people who were forgotten with entry {self._register.forgotten[last]}",
                hint="`unlearnkit requests purge --due` finishes what was interrupted",
            )

    def _forget(self) -> None:
        self._register = Register()


def _batches(groups: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    """Groups, whole, in lists that are short enough for an entry each."""
    batch: list[str] = []
    for group in groups:
        if batch and len(batch) + len(group) > _MOST_PURGED:
            yield batch
            batch = []
        batch = [*batch, *group]
    if batch:
        yield batch


def _reference(key: PseudonymKey, number: str) -> str:
    return key.pseudonym(f"\0reference\0{checked_name(number)}")


def _written(body: object) -> Mapping[str, Any]:
    """The body of an entry. Its words are from outside, so that one that does not fit is malformed input."""
    try:
        written: Mapping[str, Any] = to_json(body)
    except ValueError as err:
        raise FormatError(str(err)) from None
    return written
