"""The steps of a deletion request as entries of the log: what each must and may say.

There is no free text. Members are days, numbers, digests, pseudonyms, and words that look like ``web-form``, so that no
personal data can get into a log that forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.names import KeyFingerprint, RequestId, Sha256, Word
from unlearnkit.records import Count, Day, from_json
from unlearnkit.shapes import Items


class Event(StrEnum):
    """What can happen to a request; the values are types of entries."""

    RECEIVED = "request-received"
    ACKNOWLEDGED = "request-acknowledged"
    ASSIGNED = "request-assigned"
    CORRECTED = "request-corrected"
    IDENTITY_ASKED = "request-identity-asked"
    IDENTITY_FAILED = "request-identity-failed"
    IDENTITY_VERIFIED = "request-identity-verified"
    PAUSED = "request-paused"
    RESUMED = "request-resumed"
    EXTENDED = "request-extended"
    ASSESSED = "request-assessed"
    REFUSED = "request-refused"
    FULFILLED = "request-fulfilled"
    WITHDRAWN = "request-withdrawn"
    APPEALED = "request-appealed"
    APPEAL_EXTENDED = "request-appeal-extended"
    RECIPIENT_TOLD = "request-recipient-told"
    RECIPIENT_CONFIRMED = "request-recipient-confirmed"

    @property
    def state(self) -> str:
        """The state that it brings a request into, in words."""
        return self.value.removeprefix("request-").replace("-", " ")


CLOSING = frozenset({Event.REFUSED, Event.FULFILLED, Event.WITHDRAWN})
"""What closes a request."""
BESIDE = frozenset({Event.ASSIGNED, Event.CORRECTED, Event.RECIPIENT_TOLD, Event.RECIPIENT_CONFIRMED})
"""What leaves a request in the state that it was in."""


class Shown(StrEnum):
    """By what it was shown that a request was met: certificates that the log records; or some document."""

    CERTIFICATE = "certificate"
    ATTESTATION = "attestation"


class Assessment(StrEnum):
    """What an assessment can decide."""

    FULFIL = "fulfil"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request came in. subject, reference: pseudonyms. key: of the pseudonym key that made them.

    duplicate_of, follows: the open, or else the last closed, request of the same subject.
    """

    subject: Sha256
    key: KeyFingerprint
    nature: Literal["erasure"] = "erasure"
    source: Word
    received: Day
    by: Word
    policy: Word
    policy_digest: Sha256
    respond: Due
    acknowledge: Due | None = None
    reference: Sha256 | None = None
    jurisdiction: Word | None = None
    duplicate_of: RequestId | None = None
    follows: RequestId | None = None

    @property
    def on(self) -> date:
        """The day it happened."""
        return self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """Something was done about a request. by: who did it. on: the day it happened."""

    request: RequestId
    by: Word
    on: Day


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged(Acted):
    """Receipt was confirmed to the person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned(Acted):
    """Somebody works on it from now on."""

    to: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected(Acted):
    """It was received on another day, or in another way, than was recorded; what is due follows from that."""

    received: Day
    source: Word
    respond: Due
    acknowledge: Due | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityAsked(Acted):
    """The person was asked to show who they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFailed(Acted):
    """It was tried, and not shown, that the person is who they say they are."""

    method: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityVerified(Acted):
    """The person is who they say they are."""

    method: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Acted):
    """The clock stands still, from that day on."""

    reason: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Acted):
    """The clock runs on, from that day on: so many days later the answer is due."""

    respond: Due


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended(Acted):
    """The person was told that it takes longer."""

    reason: Word
    respond: Due


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed(Acted):
    """It was decided what will be done. records: how many examples. evidence: SHA-256 of documents."""

    decision: Assessment
    ground: Word | None = None
    records: Count | None = None
    evidence: tuple[Sha256, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Acted):
    """The person was told that the request is refused. retain_until: the last day this record is needed."""

    retain_until: Day
    reason: Word
    evidence: tuple[Sha256, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fulfilled(Acted):
    """It was done, and the person was told. shown: by what evidence. notified: who else was told.

    refused: why a part of the data is kept, where it was done for the rest only.
    """

    retain_until: Day
    method: Word
    shown: Shown = Shown.ATTESTATION
    evidence: Annotated[tuple[Sha256, ...], Items(least=1)]
    records: Count | None = None
    notified: tuple[Word, ...] | None = None
    refused: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Acted):
    """The person does not want it any more."""

    retain_until: Day
    reason: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Appealed(Acted):
    """The person does not accept the answer. kind: to whom they turned. respond: until when that is answered."""

    kind: Word
    respond: Due | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppealExtended(Acted):
    """The person was told that the answer to their appeal takes longer."""

    reason: Word
    respond: Due


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientTold(Acted):
    """Recipients of the data, of this kind, were told that it is to be erased."""

    recipient: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientConfirmed(RecipientTold):
    """They have confirmed that they did."""


PURGED = "requests-purged"
"""Type of the entry that says that people were forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """These are all requests of some people, needed no longer: the pseudonym key has forgotten who they are."""

    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    by: Word
    on: Day


Body: TypeAlias = Received | Acted

BODIES: Mapping[Event, type[Body]] = {
    Event.RECEIVED: Received,
    Event.ACKNOWLEDGED: Acknowledged,
    Event.ASSIGNED: Assigned,
    Event.CORRECTED: Corrected,
    Event.IDENTITY_ASKED: IdentityAsked,
    Event.IDENTITY_FAILED: IdentityFailed,
    Event.IDENTITY_VERIFIED: IdentityVerified,
    Event.PAUSED: Paused,
    Event.RESUMED: Resumed,
    Event.EXTENDED: Extended,
    Event.ASSESSED: Assessed,
    Event.REFUSED: Refused,
    Event.FULFILLED: Fulfilled,
    Event.WITHDRAWN: Withdrawn,
    Event.APPEALED: Appealed,
    Event.APPEAL_EXTENDED: AppealExtended,
    Event.RECIPIENT_TOLD: RecipientTold,
    Event.RECIPIENT_CONFIRMED: RecipientConfirmed,
}
"""What each kind of entry says."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened. index: its entry. time: when that was recorded."""

    event: Event
    index: int
    body: Body
    time: datetime

    @property
    def on(self) -> date:
        """The day it happened, which may be before it was recorded."""
        return self.body.on


def parse_body(event: Event, body: Mapping[str, Any], *, where: str) -> Body:
    """What an entry says; FormatError for anything that is not a day, number, digest or word."""
    return from_json(BODIES[event], body, where=where)
