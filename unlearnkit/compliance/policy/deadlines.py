"""Legal clocks: when something that was received on a day is due, as data from a policy.

Days are calendar days where the request was received, and the day of receipt is not counted. A period of months ends on
the day with the same number, or on the last day of a shorter month (Regulation (EEC, Euratom) No 1182/71, Article 3).
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Annotated, Literal, get_args

from unlearnkit.names import Pattern
from unlearnkit.records import Day
from unlearnkit.shapes import As, Items, Limits

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[str, ...] = get_args(Weekday)

Rule = Annotated[str, Pattern("[A-Za-z0-9(][A-Za-z0-9 ().,:/-]{0,63}", "a short name of a provision")]


def _weekend(names: Iterable[str]) -> frozenset[int]:
    found = frozenset(map(WEEKDAYS.index, names))
    if len(found) == len(WEEKDAYS):
        raise ValueError("not all seven days can be a weekend")
    return found


def _weekday_names(weekend: Iterable[int]) -> tuple[str, ...]:
    return tuple(WEEKDAYS[number] for number in sorted(weekend))


@dataclass(frozen=True, slots=True)
class WorkingDays:
    """Which days are worked. weekend: numbers of weekdays, Monday is 0; by name in a file."""

    weekend: Annotated[frozenset[int], As(tuple[Weekday, ...], _weekend, _weekday_names)] = frozenset({5, 6})
    holidays: Annotated[frozenset[date], As(Annotated[tuple[date, ...], Items(distinct=True)], frozenset, sorted)] = (
        field(default_factory=frozenset)
    )

    def has(self, day: date) -> bool:
        """Whether ``day`` is worked."""
        return day.weekday() not in self.weekend and day not in self.holidays


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A period from the day of receipt, in one of three units.

    rule: the name of the provision. next_working_day: if the last day is not worked, the next one that is counts.
    """

    rule: Rule
    months: Annotated[int, Limits(least=1, most=120)] | None = None
    days: Annotated[int, Limits(least=1, most=3650)] | None = None
    business_days: Annotated[int, Limits(least=1, most=2600)] | None = None
    next_working_day: bool = False

    def __post_init__(self) -> None:
        periods = 3 - (self.months, self.days, self.business_days).count(None)
        if periods != 1:
            raise ValueError(f"a deadline must have one of months, days and business_days: got {periods} of them")


@dataclass(frozen=True, slots=True)
class Due:
    """The last day on which something may be done, and the rule that says so."""

    day: Day
    rule: Rule


def due(deadline: Deadline, received: date, working: WorkingDays, *, paused: int = 0) -> Due:
    """When the period that begins with ``received`` ends. paused: days on which the clock stood still."""
    if deadline.business_days:
        day = _add_working_days(received, deadline.business_days, working)
    else:
        day = add_months(received, deadline.months or 0) + timedelta(days=deadline.days or 0)
    day += timedelta(days=paused)
    while deadline.next_working_day and not working.has(day):
        day += timedelta(days=1)
    return Due(day, deadline.rule)


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or the last day of that month if it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _add_working_days(day: date, count: int, working: WorkingDays) -> date:
    while count:
        day += timedelta(days=1)
        count -= working.has(day)
    return day
