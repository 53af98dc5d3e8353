"""The steps of a deletion request as entries of the log: what each must and may say.

There is no free text. Members are days, numbers, digests, pseudonyms, and words that look like ``web-form``, so that no
personal data can get into a log that forgets nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from unlearnkit.canonical import take_fields
from unlearnkit.compliance.policy.deadlines import Due, parse_day, parse_due
from unlearnkit.errors import FormatError

FULFIL, REFUSE = "fulfil", "refuse"
"""What an assessment can decide."""


class Event(StrEnum):
    """What can happen to a request; the values are types of entries."""

    RECEIVED = "request-received"
    ACKNOWLEDGED = "request-acknowledged"
    IDENTITY_VERIFIED = "request-identity-verified"
    EXTENDED = "request-extended"
    ASSESSED = "request-assessed"
    REFUSED = "request-refused"
    FULFILLED = "request-fulfilled"
    WITHDRAWN = "request-withdrawn"

    @property
    def state(self) -> str:
        """The state that it brings a request into, in words."""
        return self.value.removeprefix("request-").replace("-", " ")


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened. index: its entry. on: the day it happened, which may be before it was recorded."""

    event: Event
    index: int
    on: date
    body: Mapping[str, Any]


def parse_body(event: Event, body: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The members of an entry, days as dates; FormatError for anything that is not a day, number, digest or word."""
    required, optional = _BODIES[event]
    any_kind = (str, int, list, dict)  # the readers are stricter
    fields = take_fields(
        body,
        where=where,
        required=dict.fromkeys(required, any_kind),
        optional=dict.fromkeys(optional, any_kind),
    )
    readers = {**required, **optional}
    return {name: readers[name](value, f"{where}: {name}") for name, value in fields.items()}


_Reader = Callable[[object, str], Any]


def _pattern(pattern: str) -> _Reader:
    compiled = re.compile(pattern)

    def read(value: object, where: str) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise FormatError(f"{where} has a wrong form: got {value!r}, expected {pattern}")
        return value

    return read


def _list_of(reader: _Reader, *, least: int = 0) -> _Reader:
    def read(value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise FormatError(f"{where} must be an array of at least {least}: got {value!r}")
        return tuple(reader(item, where) for item in value)

    return read


def _count(value: object, where: str) -> int:
    if type(value) is not int or value < 0:
        raise FormatError(f"{where} must be a number of things: got {value!r}")
    return value


def _day(value: object, where: str) -> date:
    if not isinstance(value, str):
        raise FormatError(f"{where} must be a day: got {value!r}")
    return parse_day(value, where=where)


def _due(value: object, where: str) -> Due:
    if not isinstance(value, dict):
        raise FormatError(f"{where} must be an object: got {value!r}")
    return parse_due(value, where=where)


_WORD = _pattern(r"[a-z][a-z0-9-]{0,63}")
_DIGEST = _pattern(r"[0-9a-f]{64}")
_ID = _pattern(r"R(0|[1-9][0-9]{0,15})")
_STEP: dict[str, _Reader] = {"request": _ID, "by": _WORD, "on": _day}
_CLOSED: dict[str, _Reader] = {**_STEP, "retain_until": _day}

_BODIES: dict[Event, tuple[dict[str, _Reader], dict[str, _Reader]]] = {
    Event.RECEIVED: (
        {
            "subject": _DIGEST,
            "key": _pattern(r"[0-9a-f]{16}"),
            "nature": _pattern("erasure"),
            "source": _WORD,
            "received": _day,
            "by": _WORD,
            "policy": _WORD,
            "policy_digest": _DIGEST,
            "respond": _due,
        },
        {"acknowledge": _due, "reference": _DIGEST, "jurisdiction": _WORD, "duplicate_of": _ID, "follows": _ID},
    ),
    Event.ACKNOWLEDGED: (_STEP, {}),
    Event.IDENTITY_VERIFIED: ({**_STEP, "method": _WORD}, {}),
    Event.EXTENDED: ({**_STEP, "reason": _WORD, "respond": _due}, {}),
    Event.ASSESSED: (
        {**_STEP, "decision": _pattern(f"{FULFIL}|{REFUSE}")},
        {"ground": _WORD, "records": _count, "evidence": _list_of(_DIGEST)},
    ),
    Event.REFUSED: ({**_CLOSED, "reason": _WORD}, {"evidence": _list_of(_DIGEST)}),
    Event.FULFILLED: (
        {**_CLOSED, "method": _WORD, "evidence": _list_of(_DIGEST, least=1)},
        {"records": _count, "notified": _list_of(_WORD)},
    ),
    Event.WITHDRAWN: ({**_CLOSED, "reason": _WORD}, {}),
}
"""The required and the optional members of each kind of entry."""
