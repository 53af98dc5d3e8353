"""The counter where deletion requests are taken: policies, pseudonyms and clock, over the log.

Each call reads what others have recorded meanwhile, decides, and records, while no other writer does: what was decided
on is what the log says. All entries of one call are decided before any is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, tzinfo
from typing import Any

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.log.entry import Draft, Position, draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.writer import Writer
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.requests.clocks import acknowledge_due, respond_due
from unlearnkit.compliance.requests.intake import Arrival
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import Event, Received
from unlearnkit.errors import ChainError, FormatError, RefusedError, UnknownNameError
from unlearnkit.names import checked_name
from unlearnkit.records import to_json


class Recording:
    """Entries that are decided one after another while no other writer records; called with a type and a body.

    That returns the request that it changes, and raises FormatError for what cannot be written. What was decided is on
    disk after ``flush``, or when the block ends in which other writers are kept out.
    """

    def __init__(self, writer: Writer, register: Register) -> None:
        self._writer, self._register = writer, register
        self._drafts: list[Draft] = []

    def __call__(self, kind: str, body: object) -> Request | None:
        """Decide on an entry."""
        item = draft(kind, _written(body))
        index = self._writer.end.index + len(self._drafts)
        request = self._register.apply(index, kind, item.body, time=self._writer.now())
        self._drafts.append(item)
        return request

    @property
    def is_pending(self) -> bool:
        """Whether something was decided that is not on disk."""
        return bool(self._drafts)

    def flush(self) -> Position:
        """Bring what was decided to disk; returns where the log ends then."""
        self._writer.record_many(self._drafts)
        self._drafts = []
        self._register.end = self._writer.end
        return self._writer.end


class Counter:
    """Takes requests into one log, under the policies of an office, for one thread.

    actor: who works here, a word of the policies.
    A day that is not given is today, by the log's clock in ``timezone``, where the requests are received.
    Every method raises PolicyError for what the policy does not allow, RefusedError for what the state of the request
    does not, ValueError for a day in the future, VerificationError if the log has a step that was not legal.
    """

    def __init__(
        self, log: AuditLog, policies: Policies, *, actor: str, timezone: tzinfo, key: PseudonymKey | None
    ) -> None:
        self._log = log
        self._policies = policies
        self._actor = actor
        self._timezone = timezone
        self._key = key
        self._register = Register()
        self._recording: Recording | None = None

    @property
    def today(self) -> date:
        """The present day where the requests are received."""
        return self._log.now().astimezone(self._timezone).date()

    def register(self) -> Register:
        """What the log says now."""
        if self._recording is not None:
            return self._register
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
        self,
        subjects: Iterable[str],
        *,
        source: str,
        on: date | None = None,
        reference: str | None = None,
        jurisdiction: str | None = None,
    ) -> list[Request]:
        """Record deletion requests of these people, received on one day. Their names are written nowhere.

        A request of somebody who has an open one under the same law is linked to it. reference: their number in another
        system; it is stored as a pseudonym too. jurisdiction: whose law it is under; None: that of the source, or of
        the first policy. ValueError for a name that is empty, too long, or has control characters.
        """
        members = {"source": source, "received": on, "reference": reference, "jurisdiction": jurisdiction}
        return self.receive_all(Arrival(subject=name, **members) for name in subjects)  # type: ignore[arg-type]

    def receive_all(self, arrivals: Iterable[Arrival]) -> list[Request]:
        """`receive` for requests that each have their own day, source and reference; all are recorded, or none is."""
        key = self._required_key()
        received, used = [], []
        for item in arrivals:
            policy, jurisdiction = self._policies.place(source=item.source, jurisdiction=item.jurisdiction)
            used.append(policy)
            members = self._received(policy, jurisdiction, item)
            received.append((key.pseudonym(checked_name(item.subject)), jurisdiction, members))
        self._policies.keep(used)
        with self.deciding() as record:
            self._require_present(key)
            ids = []
            for subject, jurisdiction, members in received:
                linked = {**members, **self._register.links(subject, jurisdiction)}
                request = record(Event.RECEIVED, Received(subject=subject, **linked))
                ids.append(request.id if request else "")
        return [self._register.get(name) for name in ids]

    def pseudonyms(self, subjects: Iterable[str]) -> list[str]:
        """Of these people, as requests carry them; raises as `receive` does."""
        key = self._required_key()
        return [key.pseudonym(checked_name(name)) for name in subjects]

    @contextmanager
    def deciding(self) -> Iterator[Recording]:
        """Keep other writers out, and record everything that was given to the yielded `Recording`, or nothing.

        In the block of another one, what is decided becomes a part of that.
        """
        if self._recording is not None:
            yield self._recording
            return
        with self._log.exclusive() as writer:
            self._catch_up(writer.end)
            self._recording = recording = Recording(writer, self._register)
            try:
                yield recording
                recording.flush()
            finally:
                self._recording = None
                if recording.is_pending:  # the register holds what the log may not
                    self._register = Register()

    def _catch_up(self, end: Position) -> None:
        """Bring the register to the end of the log. What was read without the lock may have been taken back since."""
        with suppress(ChainError, FormatError):
            self.register()
        if self._register.end != end:
            self._register = Register()
            self.register()

    def _received(self, policy: Policy, jurisdiction: str | None, arrival: Arrival) -> dict[str, Any]:
        """The members of an entry that do not depend on who asks."""
        key, day = self._required_key(), self._day(arrival.received)
        return {
            "acknowledge": acknowledge_due(policy, jurisdiction, day),
            "by": policy.require_word("actors", self._actor),
            "jurisdiction": jurisdiction,
            "key": key.fingerprint,
            "policy": policy.name,
            "policy_digest": policy.digest,
            "received": day,
            "reference": _reference(key, arrival.reference) if arrival.reference is not None else None,
            "respond": respond_due(policy, jurisdiction, day),
            "source": policy.require_word("sources", arrival.source or ""),
        }

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


def _reference(key: PseudonymKey, number: str) -> str:
    return key.pseudonym(f"\0reference\0{checked_name(number)}")


def _written(body: object) -> Mapping[str, Any]:
    """The body of an entry. Its words are from outside, so that one that does not fit is malformed input."""
    try:
        written: Mapping[str, Any] = to_json(body)
    except ValueError as err:
        raise FormatError(str(err)) from None
    return written
