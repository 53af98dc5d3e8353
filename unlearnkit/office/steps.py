"""The steps of deletion requests in a workspace, to the answer and after it, each with the documents that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from unlearnkit.compliance.requests.request import Request
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.office.intake import Asked, RequestIntake, id_of
from unlearnkit.verifier.certificate_file import document_digest


@dataclass(frozen=True)
class RequestSteps(RequestIntake):
    """The steps of requests, each under the policy that its request was received under; words mean what they do there.

    Example:
        with office.together():
            for request in office.requests():
                office.acknowledge(request)
    """

    def acknowledge(self, request: Asked, *, on: date | None = None, by: str | None = None) -> Request:
        """Receipt was confirmed to the person."""
        return self._at_desk(by).acknowledge(id_of(request), on=on)

    def assign(self, request: Asked, *, to: str, on: date | None = None, by: str | None = None) -> Request:
        """Somebody works on it from now on: a word of the policy's actors."""
        return self._at_desk(by).assign(id_of(request), to=to, on=on)

    def correct_receipt(
        self,
        request: Asked,
        *,
        received: date | None = None,
        source: str | None = None,
        on: date | None = None,
        by: str | None = None,
    ) -> Request:
        """It was received on another day, or in another way, than was recorded; what is due follows from that.

        Args:
            request: Which; whom it is of cannot be corrected: withdraw it as recorded by mistake, which leaves its
                duplicates standing, and record it anew.
            received: The day of receipt; None: that was right.
            source: How it was made: a word of the policy; None: that was right.
            on: The day.
            by: Who corrected it.
        """
        return self._at_desk(by).correct_receipt(id_of(request), received=received, source=source, on=on)

    def ask_identity(self, request: Asked, *, on: date | None = None, by: str | None = None) -> Request:
        """The person was asked to show who they are."""
        return self._at_desk(by).ask_identity(id_of(request), on=on)

    def fail_identity(self, request: Asked, *, method: str, on: date | None = None, by: str | None = None) -> Request:
        """It was tried, and not shown, who the person is. method: how, a word of the policy."""
        return self._at_desk(by).fail_identity(id_of(request), method=method, on=on)

    def verify_identity(self, request: Asked, *, method: str, on: date | None = None, by: str | None = None) -> Request:
        """The person is who they say they are. method: how that was seen, a word of the policy."""
        return self._at_desk(by).verify_identity(id_of(request), method=method, on=on)

    def pause(self, request: Asked, *, reason: str, on: date | None = None, by: str | None = None) -> Request:
        """The clock stands still from that day on. reason: a word of the policy, which lists some if the law does."""
        return self._at_desk(by).pause(id_of(request), reason=reason, on=on)

    def resume_clock(self, request: Asked, *, on: date | None = None, by: str | None = None) -> Request:
        """The clock runs on from that day on: so many days later the answer is due."""
        return self._at_desk(by).resume_clock(id_of(request), on=on)

    def extend(self, request: Asked, *, reason: str, on: date | None = None, by: str | None = None) -> Request:
        """The person was told, in time and with the reason, a word of the policy, that it takes longer.

        While their appeal is open, it is the answer to that.
        """
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
        refused: str | None = None,
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
            refused: Why a part of the data is kept, where it was done for the rest only: a reason for a refusal.
            on: The day.
            by: Who did it.
        """
        digests = _digests(evidence)
        return self._at_desk(by).fulfil(
            id_of(request),
            method=method,
            evidence=digests,
            records=records,
            notified=notified,
            refused=refused,
            on=on,
        )

    def withdraw(self, request: Asked, *, reason: str, on: date | None = None, by: str | None = None) -> Request:
        """The person does not want it any more. reason: a word of the policy."""
        return self._at_desk(by).withdraw(id_of(request), reason=reason, on=on)

    def appeal(self, request: Asked, *, kind: str, on: date | None = None, by: str | None = None) -> Request:
        """The person does not accept the answer: the request is open again, and answered anew.

        Args:
            request: Which was refused or fulfilled.
            kind: To whom they turned: a word of the policy; "appeal" is to the controller, and may have its own day.
            on: The day of the appeal.
            by: Who recorded it.
        """
        return self._at_desk(by).appeal(id_of(request), kind=kind, on=on)

    def notify(self, request: Asked, *, recipient: str, on: date | None = None, by: str | None = None) -> Request:
        """Recipients of the data were told to erase it. recipient: which kind of them, a word of the policy."""
        return self._at_desk(by).notify(id_of(request), recipient=recipient, on=on)

    def confirm(self, request: Asked, *, recipient: str, on: date | None = None, by: str | None = None) -> Request:
        """Recipients who were told have confirmed that they erased it."""
        return self._at_desk(by).confirm(id_of(request), recipient=recipient, on=on)


def _digests(files: Sequence[Path | str]) -> list[str]:
    """Of a certificate, that of its envelope, by which the log knows it."""
    return [document_digest(read_bounded(Path(file), MAX_DOCUMENT), where=str(file)) for file in files]
