"""The desk where deletion requests are worked on, each under the policy that it was received under."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, tzinfo

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.log.entry import Position
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.deadlines import add_months
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import FULFILMENTS, Ending, Policy
from unlearnkit.compliance.requests.clocks import (
    acknowledge_due,
    appeal_due,
    appeal_extended_due,
    corrected_due,
    respond_due,
    resumed_due,
)
from unlearnkit.compliance.requests.counter import Counter
from unlearnkit.compliance.requests.legal import check_legal
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import BODIES, PURGED, Body, Event, Fulfilled, Purged, Shown
from unlearnkit.errors import RefusedError
from unlearnkit.names import REQUEST_ID

Gate = Callable[[Request, Fulfilled, Position, Policy], Shown]
"""By what evidence it is shown that a request was met; raises if it is not. The log up to a place counts."""

_MOST_PURGED = 2000  # requests in one entry


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that something happens to on a day, and its policy."""

    request: Request
    policy: Policy
    on: date

    def word(self, kind: str, word: str) -> str:
        return self.policy.require_word(kind, word)


_Members = Callable[[_Asked], Mapping[str, object]]


class Desk(Counter):
    """Works on the requests in one log, as `Counter` takes them; every step is one of the policy of its request.

    gate: what has to be shown before a request is fulfilled; None: every document is an attestation.
    """

    def __init__(
        self,
        log: AuditLog,
        policies: Policies,
        *,
        actor: str,
        timezone: tzinfo,
        key: PseudonymKey | None,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(log, policies, actor=actor, timezone=timezone, key=key)
        self._gate = gate

    @contextmanager
    def together(self) -> Iterator[None]:
        """Steps in this block are decided under one lock, each on what those before it did; a refused one is left out.

        They are on disk when the block ends; those before a fulfilment, when that is decided.
        """
        with self.deciding():
            yield

    def acknowledge(self, request: str, *, on: date | None = None) -> Request:
        """Receipt was confirmed to the person."""
        return self._step(Event.ACKNOWLEDGED, request, on, lambda _: {})

    def assign(self, request: str, *, to: str, on: date | None = None) -> Request:
        """Somebody works on it from now on: a word of the policy's actors."""
        return self._step(Event.ASSIGNED, request, on, lambda asked: {"to": asked.word("actors", to)})

    def correct_receipt(
        self, request: str, *, received: date | None = None, source: str | None = None, on: date | None = None
    ) -> Request:
        """It was received on another day, or in another way, than was recorded. None: that was right."""

        def members(asked: _Asked) -> Mapping[str, object]:
            day, policy, place = received or asked.request.received, asked.policy, asked.request.jurisdiction
            return {
                "received": self._day(day),
                "source": asked.word("sources", source) if source else asked.request.source,
                "respond": corrected_due(policy, asked.request, day),
                "acknowledge": acknowledge_due(policy, place, day),
            }

        return self._step(Event.CORRECTED, request, on, members)

    def ask_identity(self, request: str, *, on: date | None = None) -> Request:
        """The person was asked to show who they are."""
        return self._step(Event.IDENTITY_ASKED, request, on, lambda _: {})

    def fail_identity(self, request: str, *, method: str, on: date | None = None) -> Request:
        """It was tried, and not shown, that the person is who they say they are."""
        return self._step(Event.IDENTITY_FAILED, request, on, lambda asked: _method(asked, method))

    def verify_identity(self, request: str, *, method: str, on: date | None = None) -> Request:
        """The person is who they say they are."""
        return self._step(Event.IDENTITY_VERIFIED, request, on, lambda asked: _method(asked, method))

    def pause(self, request: str, *, reason: str, on: date | None = None) -> Request:
        """The clock stands still from that day on, for a reason that the law knows."""
        return self._step(Event.PAUSED, request, on, lambda asked: {"reason": asked.word("pause_reasons", reason)})

    def resume_clock(self, request: str, *, on: date | None = None) -> Request:
        """The clock runs on from that day on."""
        return self._step(
            Event.RESUMED, request, on, lambda asked: {"respond": resumed_due(asked.policy, asked.request, asked.on)}
        )

    def extend(self, request: str, *, reason: str, on: date | None = None) -> Request:
        """The person was told, in time and with the reason, that it takes longer; the answer to their appeal, if open.

        That is put off where the law gives it a day, and a later one.
        """

        def members(asked: _Asked) -> Mapping[str, object]:
            said, policy = asked.request, asked.policy
            asked.word("extension_reasons", reason)
            respond = respond_due(policy, said.jurisdiction, said.received, extended=True, paused=said.paused)
            return {"reason": reason, "respond": respond}

        def of_appeal(asked: _Asked) -> Mapping[str, object]:
            asked.word("extension_reasons", reason)
            return {"reason": reason, "respond": appeal_extended_due(asked.policy, asked.request)}

        with self.deciding():
            if self._known(request).appeal is not None:
                return self._step(Event.APPEAL_EXTENDED, request, on, of_appeal)
            return self._step(Event.EXTENDED, request, on, members)

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

        def members(asked: _Asked) -> Mapping[str, object]:
            if ground is not None:
                asked.word("grounds", ground)
            return {"decision": decision, "ground": ground, "records": records, "evidence": tuple(evidence) or None}

        return self._step(Event.ASSESSED, request, on, members)

    def refuse(self, request: str, *, reason: str, evidence: Sequence[str] = (), on: date | None = None) -> Request:
        """The person was told that the request is refused, and why."""

        def members(asked: _Asked) -> Mapping[str, object]:
            asked.policy.require_accepted(Ending.REFUSED)
            asked.word("refusal_reasons", reason)
            return {"reason": reason, "evidence": tuple(evidence) or None, **_retained(asked)}

        return self._step(Event.REFUSED, request, on, members)

    def fulfil(
        self,
        request: str,
        *,
        method: str,
        evidence: Sequence[str],
        records: int | None = None,
        notified: Sequence[str] = (),
        refused: str | None = None,
        on: date | None = None,
    ) -> Request:
        """It was done, and the person was told. evidence: SHA-256 of at least one document that shows it.

        refused: why a part of the data is kept, where it was done for the rest only: a reason for a refusal.
        """
        if method not in FULFILMENTS:
            raise ValueError(f"no way to fulfil a request: got {method!r}, expected {' or '.join(FULFILMENTS)}")

        def members(asked: _Asked) -> Mapping[str, object]:
            asked.policy.require_accepted(method)
            if refused is not None:
                asked.policy.require_accepted(Ending.REFUSED)
                asked.word("refusal_reasons", refused)
            told = tuple(asked.word("recipients", name) for name in notified)
            said = {"method": method, "evidence": tuple(evidence), "records": records, "refused": refused}
            return {**said, "notified": told or None, **_retained(asked)}

        if not evidence:
            self._policy_of(self._known(request)).require_accepted(method)
            raise RefusedError(
                f"{request} cannot become fulfilled without evidence", hint="give a document: --evidence"
            )
        return self._step(Event.FULFILLED, request, on, members)

    def withdraw(self, request: str, *, reason: str, on: date | None = None) -> Request:
        """The person does not want it any more; or nobody ever made it, and its duplicates stand without it."""
        return self._step(
            Event.WITHDRAWN,
            request,
            on,
            lambda asked: {"reason": asked.word("withdrawal_reasons", reason), **_retained(asked)},
        )

    def appeal(self, request: str, *, kind: str, on: date | None = None) -> Request:
        """The person does not accept the answer, and turned to somebody: a word of the policy. It is open again."""

        def members(asked: _Asked) -> Mapping[str, object]:
            asked.word("appeals", kind)
            return {"kind": kind, "respond": appeal_due(asked.policy, asked.request.jurisdiction, kind, asked.on)}

        return self._step(Event.APPEALED, request, on, members)

    def notify(self, request: str, *, recipient: str, on: date | None = None) -> Request:
        """Recipients of the data, of a kind that the policy knows, were told to erase it."""
        return self._step(Event.RECIPIENT_TOLD, request, on, lambda asked: _recipient(asked, recipient))

    def confirm(self, request: str, *, recipient: str, on: date | None = None) -> Request:
        """They have confirmed that they did."""
        return self._step(Event.RECIPIENT_CONFIRMED, request, on, lambda asked: _recipient(asked, recipient))

    def forget(self, subjects: Collection[str]) -> tuple[Request, ...]:
        """Record that these people are forgotten, whose requests are needed no longer; then the key has to be replaced.

        Returns their requests. RefusedError if one of them is needed still.
        """
        by, today = self._policies.default.require_word("actors", self._actor), self.today
        with self.deciding() as record:
            theirs: dict[str, list[str]] = {name: [] for name in subjects}
            for request in self._register.requests.values():
                if request.subject in theirs:
                    theirs[request.subject].append(request.id)
            for some in _batches(theirs.values()):
                record(PURGED, Purged(requests=tuple(some), by=by, on=today))
        return tuple(self._register.get(name) for names in theirs.values() for name in names)

    def _step(self, event: Event, name: str, on: date | None, members: _Members) -> Request:
        make: Callable[..., Body] = BODIES[event]
        with self.deciding() as record:
            found = self._known(name)
            asked = _Asked(found, self._policy_of(found), self._day(on))
            body = make(request=name, by=asked.word("actors", self._actor), on=asked.on, **members(asked))
            if self._gate is not None and isinstance(body, Fulfilled):
                check_legal(found, event, body)
                body = replace(body, shown=self._gate(found, body, record.flush(), asked.policy))
            record(event, body)
        return self._register.get(name)

    def _known(self, name: str) -> Request:
        return self.register().get(REQUEST_ID.require(name, where="request"))

    def _policy_of(self, request: Request) -> Policy:
        return self._policies.received_under(request.policy_digest)


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


def _method(asked: _Asked, method: str) -> Mapping[str, object]:
    return {"method": asked.word("identity_methods", method)}


def _recipient(asked: _Asked, recipient: str) -> Mapping[str, object]:
    return {"recipient": asked.word("recipients", recipient)}


def _retained(asked: _Asked) -> Mapping[str, object]:
    return {"retain_until": add_months(asked.on, asked.policy.requests.retention_months)}
