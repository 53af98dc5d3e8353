"""Requests as an office looks at them on a day: what is due, what is late, what certifies them; and picking some.

A pick is said in terms, all of which must hold::

    state=received   jurisdiction=eu   source=email   release=digits@1   decision=keep
    policy=gdpr   assignee=support   due<2027-01-31   received>2026-12-31
    open   closed   overdue   late   recorded-late   uncertified   unconfirmed
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.requests.punctuality import late_records
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import CLOSING, Event, Fulfilled
from unlearnkit.compliance.view import LogView
from unlearnkit.office.recorded import LoggedCertificate, certificates_in
from unlearnkit.records import read_day


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request on a day. is_closed: it, or what it is a duplicate of.

    certificates: of it, of every kind, the newest last.
    """

    request: Request
    is_closed: bool
    certificates: tuple[LoggedCertificate, ...]
    today: date

    @property
    def state(self) -> str:
        """What happened last, as a word."""
        return self.request.state.replace(" (attested)", "").replace(" ", "-")

    @property
    def due(self) -> Due | None:
        """What is due next; None for what needs nothing any more."""
        return self.request.next_due

    @property
    def is_overdue(self) -> bool:
        """Whether that day has passed."""
        return self.due is not None and self.due.day < self.today

    @property
    def answered(self) -> date | None:
        """The day of the answer; None for what is open, was withdrawn, or is a duplicate."""
        last = self.request.current
        return last.on if last.event in CLOSING - {Event.WITHDRAWN} and not self.request.duplicate_of else None

    @property
    def standing(self) -> tuple[LoggedCertificate, ...]:
        """The certificates that answered it; while none has, the newest alone; none if a document did instead."""
        last = self.request.current.body
        if isinstance(last, Fulfilled):
            return tuple(item for item in self.certificates if item.digest in last.evidence)
        return self.certificates[-1:]

    @property
    def recorded_late(self) -> int:
        """How many of its steps were recorded days after they happened, in UTC."""
        return len(list(late_records([self.request])))

    @property
    def was_answered_late(self) -> bool:
        """Whether the answer came after its day."""
        return self.request.late is not None and not self.request.duplicate_of


def cases(view: LogView, today: date) -> tuple[Case, ...]:
    """All requests of a log, in the order in which they came."""
    by_request: defaultdict[str, list[LoggedCertificate]] = defaultdict(list)
    for item in certificates_in(view):
        for name in item.requests:
            by_request[name].append(item)
    register = view.register
    return tuple(
        Case(
            request=request,
            is_closed=register.original(request).is_closed,
            certificates=tuple(by_request[request.id]),
            today=today,
        )
        for request in register.requests.values()
    )


_FLAGS: Mapping[str, Callable[[Case], bool]] = {
    "open": lambda case: not case.is_closed,
    "closed": lambda case: case.is_closed,
    "overdue": lambda case: case.is_overdue,
    "late": lambda case: case.is_overdue or case.was_answered_late,
    "uncertified": lambda case: not case.certificates,
    "recorded-late": lambda case: case.recorded_late > 0,
    "unconfirmed": lambda case: bool(case.request.unconfirmed),
}
_WORDS: Mapping[str, Callable[[Case], Iterable[str | None]]] = {
    "state": lambda case: (case.state,),
    "jurisdiction": lambda case: (case.request.jurisdiction,),
    "source": lambda case: (case.request.source,),
    "policy": lambda case: (case.request.receipt.policy, case.request.policy_digest[:12], case.request.policy_digest),
    "assignee": lambda case: (case.request.assignee,),
    "release": lambda case: (name for item in case.certificates for name in item.releases),
    "decision": lambda case: (item.word for item in case.standing),
}
_DAYS: Mapping[str, Callable[[Case], date | None]] = {
    "due": lambda case: case.due.day if case.due else None,
    "received": lambda case: case.request.received,
}
_OF_CLOSED = ("state", "closed", "late", "recorded-late", "unconfirmed")
_TERM = re.compile(r"([a-z-]+)(?:([=<>])(.+))?")
STATES = (*(event.state.replace(" ", "-") for event in Event), "duplicate")


def pick(found: Iterable[Case], terms: Sequence[str], *, everything: bool = False) -> tuple[Case, ...]:
    """The cases for which all terms hold; of closed ones only if asked for.

    Args:
        found: Cases.
        terms: As above, each one or several with commas between them.
        everything: Closed ones too, although no term is about states.

    Raises:
        ValueError: There is no such term.
    """
    split = [term.strip() for text in terms for term in text.split(",") if term.strip()]
    tests = [_test(term) for term in split]
    if not everything and not any(term.startswith(_OF_CLOSED) for term in split):
        tests.append(_FLAGS["open"])
    return tuple(case for case in found if all(test(case) for test in tests))


def _test(term: str) -> Callable[[Case], bool]:
    found = _TERM.fullmatch(term)
    name, sign, value = found.groups() if found else ("", None, "")
    if name in _FLAGS and sign is None:
        return _FLAGS[name]
    if name in _WORDS and sign == "=":
        return _word_test(name, value)
    if name in _DAYS and sign in ("<", ">"):
        return _day_test(name, sign, value)
    known = [*_FLAGS, *(f"{word}=..." for word in _WORDS), *(f"{day}<YYYY-MM-DD" for day in _DAYS)]
    raise ValueError(f"no such term: got {term!r}, expected {', '.join(known)}, or > instead of <")


def _word_test(name: str, value: str) -> Callable[[Case], bool]:
    wanted = value.replace(" ", "-")
    if name == "state" and wanted not in STATES:
        raise ValueError(f"no such state: got {value!r}, expected {', '.join(STATES)}")
    words = _WORDS[name]
    return lambda case: wanted in words(case)


def _day_test(name: str, sign: str, value: str) -> Callable[[Case], bool]:
    day = _DAYS[name]
    try:
        limit = read_day(value)
    except ValueError as err:
        raise ValueError(f"{name}{sign}: {err}") from None

    def holds(case: Case) -> bool:
        found = day(case)
        return found is not None and (found < limit if sign == "<" else found > limit)

    return holds


SORTS: Mapping[str, Callable[[Case], tuple[object, ...]]] = {
    "due": lambda case: (case.due.day if case.due else date.max,),
    "received": lambda case: (case.request.received,),
    "state": lambda case: (case.state,),
    "jurisdiction": lambda case: (case.request.receipt.jurisdiction or "",),
    "source": lambda case: (case.request.source,),
}
"""By what cases are sorted; within that, in the order in which they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How many requests there are. open, closed: without duplicates. due_soon: within a week, and not overdue.

    recorded_late: of which a step was recorded days after it happened.
    """

    today: date
    open: int
    closed: int
    duplicates: int
    overdue: int
    due_soon: int
    answered_late: int
    recorded_late: int
    by_state: Mapping[str, int]
    by_jurisdiction: Mapping[str, int]


SOON = 7
"""Days until what is due is due soon."""


def summarise(found: Sequence[Case], today: date) -> Summary:
    """Counts, by state and jurisdiction too."""
    own = [case for case in found if not case.request.duplicate_of]
    return Summary(
        today=today,
        open=sum(not case.is_closed for case in own),
        closed=sum(case.is_closed for case in own),
        duplicates=len(found) - len(own),
        overdue=sum(case.is_overdue for case in own),
        due_soon=sum(is_due_soon(case) for case in own),
        answered_late=sum(case.was_answered_late for case in own),
        recorded_late=sum(case.recorded_late > 0 for case in own),
        by_state=_counts(case.request.state for case in own),
        by_jurisdiction=_counts(case.request.receipt.jurisdiction or "not said" for case in own),
    )


def is_due_soon(case: Case) -> bool:
    """Whether something is due within a week, today included."""
    return case.due is not None and 0 <= (case.due.day - case.today).days <= SOON


def _counts(words: Iterable[str]) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    for word in words:
        counts[word] += 1
    return dict(sorted(counts.items()))
