"""What came late: answers after their day, and steps that were recorded days after they happened.

The day of a step is what its entry says; the moment of recording is the entry's own, and no earlier than any before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, tzinfo

from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import Step

LATE_RECORD = 2
"""Days after which recording a step is late: over a night it may wait."""


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """An answer that came after its day."""

    request: str
    step: Step
    due: Due

    @property
    def days(self) -> int:
        """How many days late."""
        return (self.step.on - self.due.day).days

    def __str__(self) -> str:
        return f"{self.request} {self.step.event.state} on {self.step.on}, due {self.due.day}"


@dataclass(frozen=True, slots=True)
class LateRecord:
    """A step that was recorded days after it happened. recorded: the day of that."""

    request: str
    step: Step
    recorded: date

    @property
    def days(self) -> int:
        """How many days later."""
        return (self.recorded - self.step.on).days

    def __str__(self) -> str:
        return f"{self.request} {self.step.event.state} on {self.step.on}, recorded {self.recorded}"


def late_answers(requests: Iterable[Request]) -> Iterator[LateAnswer]:
    """The first late answer of each request that had one; duplicates have none of their own."""
    for request in requests:
        if request.late is not None and not request.duplicate_of:
            yield LateAnswer(request.id, *request.late)


def late_records(requests: Iterable[Request], timezone: tzinfo = UTC) -> Iterator[LateRecord]:
    """All steps that were recorded `LATE_RECORD` days or more after they happened, where days begin as given."""
    for request in requests:
        for step in request.steps:
            recorded = step.time.astimezone(timezone).date()
            if (recorded - step.on).days >= LATE_RECORD:
                yield LateRecord(request.id, step, recorded)
