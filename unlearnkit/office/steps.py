"""Deletion requests in a workspace, from receipt to the answer: each step with the documents that show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.entry import Position
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.whereabouts import people_of
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.compliance.requests.intake import Intake, checked, read_intake
from unlearnkit.compliance.requests.register import Register, Request
from unlearnkit.compliance.requests.steps import Fulfilled, Shown
from unlearnkit.compliance.view import LogView
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.verifier.certificate_file import document_digest
from unlearnkit.verifier.gate import require_shown

Asked = Request | str
"""A request, or its id."""


@dataclass(frozen=True)
class RequestSteps(WorkspaceFiles):
    """The steps of requests in one workspace, for one thread.

    Wherever they occur: ``on`` is the day something happened, None today; ``by`` is who did it, a word of the policy,
    None the workspace's actor; ``evidence`` are files, of which only SHA-256 digests are recorded. A step returns the
    request as it is then, and raises PolicyError for what the policy does not allow, RefusedError for what the state of
    the request does not, UnknownNameError for a request that is not there, ValueError for a day in the future.
    """

    _desks: dict[tuple[str, str, bool], Desk] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def today(self) -> date:
        """The present day where requests are received."""
        return clock.utc_now().astimezone(self.timezone).date()

    def all_requests(self) -> Register:
        """The register: all requests, as the log tells them now."""
        desk = next(iter(self._desks.values()), None) or self._at_desk()
        return desk.register()

    def request(self, name: str) -> Request:
        """What the log says of one request now."""
        return self.all_requests().get(name)

    def requests(
        self,
        *,
        everything: bool = False,
        overdue: bool = False,
        subject: str | None = None,
        reference: str | None = None,
    ) -> tuple[Request, ...]:
        """Requests, the most urgent first.

        Args:
            everything: Closed ones too.
            overdue: Only those whose day has passed.
            subject: Only those of this person; asking by name needs the pseudonym key.
            reference: Only those with this number in another system; needs it too.

        Raises:
            UnknownNameError: The pseudonym key is needed and missing.
            RefusedError: It was destroyed.
        """
        if subject is None and reference is None:
            register = self.all_requests()
            found = list(register.requests.values())
        else:
            desk = self._at_desk(with_key=True)
            found, register = desk.requests_of(subject=subject, reference=reference), desk.register()
        chosen = [item for item in found if everything or not register.original(item).is_closed]
        if overdue:
            today = self.today
            chosen = [item for item in chosen if item.next_due and item.next_due.day < today]
        return tuple(
            sorted(chosen, key=lambda item: (item.next_due.day if item.next_due else date.max, item.steps[0].index))
        )

    def receive(
        self,
        subjects: Iterable[str],
        *,
        source: str | None = None,
        reference: str | None = None,
        on: date | None = None,
        by: str | None = None,
    ) -> tuple[Request, ...]:
        """Record deletion requests of these people, all together or none. Their names are written nowhere.

        Args:
            subjects: Names, stored as pseudonyms.
            source: How they were made: a word of the policy; None: its first.
            reference: Their number in another system, stored as a pseudonym.
            on: The day of receipt.
            by: Who received them.

        Example:
            request, = office.receive(["ann@example.org"])
        """
        policy = self.policy()
        desk = self._at_desk(by, with_key=True, policy=policy)
        how = next(iter(policy.words.sources), "") if source is None else source
        return tuple(desk.receive(subjects, source=how, on=on, reference=reference))

    def read_intake(self, file: Path | str, *, identity: str = "email") -> Intake:
        """The requests in a table or in a document of fides or OpenDSR, and which rows cannot be recorded, and why.

        Args:
            file: CSV with a header line, or JSON.
            identity: Which identity of a document names the person.

        Raises:
            FormatError: It is none of these.
        """
        found = read_intake(
            read_bounded(Path(file), MAX_DOCUMENT), where=str(file), timezone=self.timezone, identity=identity
        )
        return checked(found, self.policy(), today=self.today)

    def take_in(self, intake: Intake, *, by: str | None = None) -> tuple[Request, ...]:
        """Record the requests that `read_intake` found to be good, all together or none, in one pass.

        Example:
            made = office.take_in(office.read_intake("requests.csv").require_whole("requests.csv"))
        """
        desk = self._at_desk(by, with_key=True)
        return tuple(desk.receive_all(intake.arrivals))

    def strangers(self, subjects: Sequence[str]) -> tuple[int, ...]:
        """Which of these people are in no release in force, by their place in the list.

        Raises:
            UnknownNameError: The pseudonym key, or the bundle of a release, is missing.
            RefusedError: The key was destroyed, or a release is under another.
        """
        view = LogView.read(self.log_path)
        held = [people_of(self.root, release, view.register) for release in view.registry.in_force]
        names = self._at_desk(with_key=True).pseudonyms(subjects)
        return tuple(i for i, name in enumerate(names) if not any(name in people for people in held))

    def acknowledge(self, request: Asked, *, on: date | None = None, by: str | None = None) -> Request:
        """Receipt was confirmed to the person."""
        return self._at_desk(by).acknowledge(id_of(request), on=on)

    def verify_identity(self, request: Asked, *, method: str, on: date | None = None, by: str | None = None) -> Request:
        """The person is who they say they are. method: how that was seen, a word of the policy."""
        return self._at_desk(by).verify_identity(id_of(request), method=method, on=on)

    def extend(self, request: Asked, *, reason: str, on: date | None = None, by: str | None = None) -> Request:
        """The person was told, in time and with the reason, a word of the policy, that it takes longer."""
        return self._at_desk(by).extend(id_of(request), reason=reason, on=on)

    def assess(
        self,
        request: Asked,
        *,
        decision: str,
        ground: str | None = None,
        records: int | None = None,
        evidence: Sequence[Path | str] = (),
        on: date | None = None,
        by: str | None = None,
    ) -> Request:
        """It was decided what will be done; a later assessment replaces an earlier one.

        Args:
            request: Which.
            decision: "fulfil" or "refuse".
            ground: Why the data must go: a word of the policy.
            records: How many examples the person has in the data.
            evidence: Documents.
            on: The day.
            by: Who decided.
        """
        digests = _digests(evidence)
        return self._at_desk(by).assess(
            id_of(request), decision=decision, ground=ground, records=records, evidence=digests, on=on
        )

    def refuse(
        self,
        request: Asked,
        *,
        reason: str,
        evidence: Sequence[Path | str] = (),
        on: date | None = None,
        by: str | None = None,
    ) -> Request:
        """The person was told that the request is refused, and why: a word of the policy."""
        return self._at_desk(by).refuse(id_of(request), reason=reason, evidence=_digests(evidence), on=on)

    def fulfil(
        self,
        request: Asked,
        *,
        method: str,
        evidence: Sequence[Path | str],
        records: int | None = None,
        notified: Sequence[str] = (),
        on: date | None = None,
        by: str | None = None,
    ) -> Request:
        """It was done, and the person was told.

        Args:
            request: Which.
            method: How it was met: "negligible-effect", which a certificate of the effect shows, of each release in
                force that holds their data; "retrained", which one of exclusion shows; "corrected", one of correction,
                once the corrected model is in use; "no-data-held", one of absence.
            evidence: These certificates, as files; where the policy accepts an attestation, a document instead.
            records: How many examples were deleted.
            notified: Who else was told: words of the policy.
            on: The day.
            by: Who did it.
        """
        digests = _digests(evidence)
        return self._at_desk(by).fulfil(
            id_of(request), method=method, evidence=digests, records=records, notified=notified, on=on
        )

    def withdraw(self, request: Asked, *, reason: str, on: date | None = None, by: str | None = None) -> Request:
        """The person does not want it any more. reason: a word of the policy."""
        return self._at_desk(by).withdraw(id_of(request), reason=reason, on=on)

    def _at_desk(self, by: str | None = None, *, with_key: bool = False, policy: Policy | None = None) -> Desk:
        """The same desk again, which reads only what is new in the log, unless the policy was edited meanwhile."""
        policy = policy or self.policy()
        known = by or self.actor, policy.digest, with_key
        if known not in self._desks:
            self._desks[known] = self.desk(actor=by, with_key=with_key, policy=policy, gate=self._gate)
        return self._desks[known]

    def _gate(self, request: Request, said: Fulfilled, end: Position) -> Shown:
        """Refuse what fulfils a request unless it is shown: a writer holds the log's lock, and it ends at ``end``."""
        view = LogView.read(self.log_path, end=end)
        return require_shown(view, request, said, self.policy(), lambda item: people_of(self.root, item, view.register))


def id_of(request: Asked) -> str:
    """The id of a request."""
    return request.id if isinstance(request, Request) else request


def _digests(files: Sequence[Path | str]) -> list[str]:
    """Of a certificate, that of its envelope, by which the log knows it."""
    return [document_digest(Path(file).read_bytes(), where=str(file)) for file in files]
