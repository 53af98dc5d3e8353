"""Deletion requests in a workspace: taken, found, and brought to the desk where they are worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.entry import Position
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.whereabouts import people_of
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.compliance.requests.intake import Intake, checked, in_order, read_intake
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import Fulfilled, Shown
from unlearnkit.compliance.view import LogView
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.errors import RefusedError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.verifier.gate import require_shown

Asked = Request | str
"""A request, or its id."""


@dataclass(frozen=True)
class RequestIntake(WorkspaceFiles):
    """The requests in one workspace, for one thread.

    Wherever they occur: ``on`` is the day something happened, None today; ``by`` is who did it, a word of the policy,
    None the workspace's actor; ``evidence`` are files, of which only SHA-256 digests are recorded. A step returns the
    request as it is then, and raises PolicyError for what the policy does not allow, RefusedError for what the state of
    the request does not, UnknownNameError for a request that is not there, ValueError for a day in the future.
    """

    _desks: dict[tuple[str, tuple[str, ...], bool], Desk] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _held: list[Desk] = field(default_factory=list, init=False, repr=False, compare=False)
    _views: list[LogView] = field(default_factory=list, init=False, repr=False, compare=False)

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
        jurisdiction: str | None = None,
        on: date | None = None,
        by: str | None = None,
    ) -> tuple[Request, ...]:
        """Record deletion requests of these people, all together or none. Their names are written nowhere.

        Args:
            subjects: Names, stored as pseudonyms.
            source: How they were made: a word of the policy; None: its first.
            reference: Their number in another system, stored as a pseudonym.
            jurisdiction: Whose law they are under: of one of the policies; None: that of the source, or the default.
            on: The day of receipt.
            by: Who received them.

        Example:
            request, = office.receive(["ann@example.org"])
        """
        desk = self._at_desk(by, with_key=True)
        policy, _ = self.policies().place(source=source, jurisdiction=jurisdiction)
        how = next(iter(policy.words.sources), "") if source is None else source
        return tuple(desk.receive(subjects, source=how, on=on, reference=reference, jurisdiction=jurisdiction))

    def read_intake(self, file: Path | str, *, identity: str = "email", jurisdiction: str | None = None) -> Intake:
        """The requests in a table or in a document of fides or OpenDSR, and which rows cannot be recorded, and why.

        Args:
            file: CSV with a header line, or JSON.
            identity: Which identity of a document names the person.
            jurisdiction: Of requests that do not say one; None: that of their source, or the default.

        Raises:
            FormatError: It is none of these.
        """
        found = read_intake(
            read_bounded(Path(file), MAX_DOCUMENT), where=str(file), timezone=self.timezone, identity=identity
        )
        return checked(found, self.policies(), today=self.today, jurisdiction=jurisdiction)

    def take_in(self, intake: Intake, *, by: str | None = None) -> tuple[Request, ...]:
        """Record the requests that `read_intake` found to be good, all together or none; a person's earliest first.

        Example:
            made = office.take_in(office.read_intake("requests.csv").require_whole("requests.csv"))
        """
        desk = self._at_desk(by, with_key=True)
        return tuple(desk.receive_all(in_order(intake.arrivals, today=self.today)))

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

    @contextmanager
    def together(self, *, by: str | None = None) -> Iterator[None]:
        """Steps in this block are decided under one lock, each on what those before it did; a refused one is left out.

        Args:
            by: Who takes them.
        """
        desk = self._at_desk(by)
        with desk.together():
            self._held.append(desk)
            try:
                yield
            finally:
                self._held.pop()

    def policy_of(self, requests: Sequence[Asked]) -> Policy:
        """The policy that some requests were received under, as its text was then.

        Raises:
            RefusedError: They were received under several: what is done with them together would be under none.
            UnknownNameError: There is no such request, or the text is not kept.
        """
        policies, found = self.policies(), self._by_policy(requests)
        if len(found) > 1:
            raise _several(policies, found)
        return policies.received_under(next(iter(found))) if found else policies.default

    def by_policy(self, requests: Sequence[Asked]) -> tuple[tuple[str, ...], ...]:
        """The ids of some requests, those together that were received under one policy, as its text was then.

        Raises:
            UnknownNameError: There is no such request.
        """
        return tuple(map(tuple, self._by_policy(requests).values()))

    def _by_policy(self, requests: Sequence[Asked]) -> dict[str, list[str]]:
        """By the digest of the policy, ids in the order given."""
        register = self.all_requests()
        found: dict[str, list[str]] = {}
        for request in requests:
            known = register.get(id_of(request))
            found.setdefault(known.policy_digest, []).append(known.id)
        return found

    def _at_desk(self, by: str | None = None, *, with_key: bool = False) -> Desk:
        """The same desk again, which reads only what is new in the log, unless a policy was edited meanwhile."""
        if self._held:
            return self._held[-1]
        policies = self.policies()
        known = by or self.actor, policies.digests, with_key
        if known not in self._desks:
            self._desks[known] = self.desk(actor=by, with_key=with_key, policies=policies, gate=self._gate)
        return self._desks[known]

    def _gate(self, request: Request, said: Fulfilled, end: Position, policy: Policy) -> Shown:
        """Refuse what fulfils a request unless it is shown: a writer holds the log's lock, and it ends at ``end``."""
        self._views[:] = [self._views[0].up_to(end) if self._views else LogView.read(self.log_path, end=end)]
        view = self._views[0]
        return require_shown(view, request, said, policy, lambda item: people_of(self.root, item, view.register))


def _several(policies: Policies, found: Mapping[str, Sequence[str]]) -> RefusedError:
    """What to do with requests under several policies."""
    named = {digest: policies.received_under(digest).name for digest in found}
    listed = "; ".join(f"{named[digest]} ({digest[:12]}): {', '.join(names)}" for digest, names in found.items())
    first = next(iter(found))
    return RefusedError(
        f"these requests were received under {len(found)} policies: {listed}",
        hint=f"a certificate is under one policy: name those of one, or --where policy={first[:12]}; fulfil them, then "
        "certify the others: together with everybody who was answered before. Of exclusion and absence, --each-policy",
    )


def id_of(request: Asked) -> str:
    """The id of a request."""
    return request.id if isinstance(request, Request) else request
