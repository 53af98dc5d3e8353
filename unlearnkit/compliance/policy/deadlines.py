"""Legal clocks: when something that was received on a day is due, as data from a policy.

Days are calendar days where the request was received, and the day of receipt is not counted. A period of months ends on
the day with the same number, or on the last day of a shorter month (Regulation (EEC, Euratom) No 1182/71, Article 3).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from unlearnkit.canonical import take_fields
from unlearnkit.errors import FormatError

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_RULE = re.compile(r"[A-Za-z0-9(][A-Za-z0-9 ().,:/-]{0,63}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST = {"months": 120, "days": 3650, "business_days": 2600}


@dataclass(frozen=True, slots=True)
class WorkingDays:
    """Which days are worked. weekend: numbers of weekdays, Monday is 0."""

    weekend: frozenset[int] = frozenset({5, 6})
    holidays: frozenset[date] = field(default_factory=frozenset)

    def has(self, day: date) -> bool:
        """Whether ``day`` is worked."""
        return day.weekday() not in self.weekend and day not in self.holidays


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A period from the day of receipt; exactly one of the three numbers is not zero.

    rule: the name of the provision. next_working_day: if the last day is not worked, the next one that is counts.
    """

    rule: str
    months: int = 0
    days: int = 0
    business_days: int = 0
    next_working_day: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """The last day on which something may be done, and the rule that says so."""

    day: date
    rule: str

    def to_json(self) -> dict[str, str]:
        """As it stands in an entry of the log."""
        return {"day": self.day.isoformat(), "rule": self.rule}


def due(deadline: Deadline, received: date, working: WorkingDays) -> Due:
    """When the period that begins with ``received`` ends."""
    if deadline.business_days:
        day = _add_working_days(received, deadline.business_days, working)
    else:
        day = add_months(received, deadline.months) + timedelta(days=deadline.days)
    while deadline.next_working_day and not working.has(day):
        day += timedelta(days=1)
    return Due(day, deadline.rule)


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or the last day of that month if it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def parse_deadline(record: object, *, where: str) -> Deadline:
    """A deadline from a table of a policy; FormatError unless it says one period that is longer than nothing."""
    optional = {**dict.fromkeys(_MOST, int), "next_working_day": bool}
    fields = take_fields(record, where=where, required={"rule": str}, optional=optional)
    if not _RULE.fullmatch(fields["rule"]):
        raise FormatError(f"{where}: rule must be a short name of a provision: got {fields['rule']!r}")
    periods = [name for name in _MOST if name in fields]
    if len(periods) != 1:
        raise FormatError(f"{where} must have one of months, days and business_days: got {len(periods)} of them")
    (name,) = periods
    if not 0 < fields[name] <= _MOST[name]:
        raise FormatError(f"{where}: {name} must be from 1 to {_MOST[name]}: got {fields[name]}")
    return Deadline(**fields)


def parse_working_days(record: object, *, where: str) -> WorkingDays:
    """Working days from a table of a policy: names of weekdays, and dates."""
    fields = take_fields(record, where=where, required={"weekend": list}, optional={"holidays": list})
    unknown = [name for name in fields["weekend"] if name not in WEEKDAYS]
    if unknown or len(set(fields["weekend"])) not in range(7):
        raise FormatError(f"{where}: weekend must be names of weekdays, not of all seven: got {fields['weekend']}")
    holidays = fields.get("holidays", [])
    if any(type(day) is not date for day in holidays):
        raise FormatError(f"{where}: holidays must be dates: got {holidays}")
    return WorkingDays(frozenset(map(WEEKDAYS.index, fields["weekend"])), frozenset(holidays))


def parse_day(text: str, *, where: str) -> date:
    """``2025-01-31``, and no other form of a date."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise FormatError(f"{where} is not a day: got {text!r}, expected YYYY-MM-DD")


def parse_due(record: Mapping[str, Any], *, where: str) -> Due:
    """What `Due.to_json` writes."""
    fields = take_fields(record, where=where, required={"day": str, "rule": str})
    if not _RULE.fullmatch(fields["rule"]):
        raise FormatError(f"{where}: rule must be a short name of a provision: got {fields['rule']!r}")
    return Due(parse_day(fields["day"], where=f"{where}: day"), fields["rule"])


def _add_working_days(day: date, count: int, working: WorkingDays) -> date:
    while count:
        day += timedelta(days=1)
        count -= working.has(day)
    return day
