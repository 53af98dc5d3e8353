"""Due dates against calendars read by hand, and against numpy."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.compliance.policy.deadlines import (
    Deadline,
    Due,
    WorkingDays,
    add_months,
    due,
)
from unlearnkit.errors import FormatError
from unlearnkit.records import from_json, from_toml, read_day, to_json

MONTH = Deadline(rule="GDPR Art. 12(3)", months=1, next_working_day=True)
THREE_MONTHS = Deadline(rule="GDPR Art. 12(3) extended", months=3, next_working_day=True)
TEN_DAYS = Deadline(rule="11 CCR 7021(a)", business_days=10)
FORTY_FIVE = Deadline(rule="11 CCR 7021(b)", days=45)
WEEK = WorkingDays()
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))


@pytest.mark.parametrize(
    ("deadline", "received", "expected"),
    [
        (MONTH, "2025-03-05", "2025-04-07"),  # 5 April 2025 is a Saturday
        (MONTH, "2024-03-05", "2024-04-05"),
        (MONTH, "2023-01-31", "2023-02-28"),
        (MONTH, "2024-01-31", "2024-02-29"),  # leap year
        (MONTH, "2024-01-30", "2024-02-29"),
        (MONTH, "2100-01-31", "2100-03-01"),  # 28 February 2100, no leap year, is a Sunday
        (MONTH, "2023-08-31", "2023-10-02"),  # 30 September 2023 is a Saturday
        (MONTH, "2024-12-31", "2025-01-31"),
        (THREE_MONTHS, "2025-01-31", "2025-04-30"),  # three months from receipt, not two from 28 February
        (THREE_MONTHS, "2024-11-30", "2025-02-28"),
        (THREE_MONTHS, "2023-11-30", "2024-02-29"),
        (TEN_DAYS, "2025-01-31", "2025-02-14"),  # a Friday
        (TEN_DAYS, "2025-02-01", "2025-02-14"),  # a Saturday: the count begins on Monday
        (TEN_DAYS, "2025-02-02", "2025-02-14"),
        (FORTY_FIVE, "2025-01-01", "2025-02-15"),  # calendar days, also when the last is a Saturday
        (FORTY_FIVE, "2024-01-31", "2024-03-16"),
    ],
)
def test_due_dates_are_those_of_the_calendar(deadline, received, expected):
    assert due(deadline, date.fromisoformat(received), WEEK) == Due(date.fromisoformat(expected), deadline.rule)


def test_a_holiday_moves_the_last_day_and_is_not_counted():
    easter = WorkingDays(holidays=frozenset({date(2025, 4, 18), date(2025, 4, 21)}))
    assert due(MONTH, date(2025, 3, 18), easter).day == date(2025, 4, 22)
    assert due(TEN_DAYS, date(2025, 4, 11), easter).day == date(2025, 4, 29)


def test_another_weekend_is_possible():
    assert due(TEN_DAYS, date(2025, 1, 31), WorkingDays(weekend=frozenset({4, 5}))).day == date(2025, 2, 13)


@given(day=DAYS, months=st.integers(1, 40))
def test_months_are_those_of_numpy_cut_to_the_length_of_the_month(day, months):
    month = np.datetime64(day, "M") + months
    last = (month + 1).astype("datetime64[D]") - 1
    same = month.astype("datetime64[D]") + (day.day - 1)
    assert add_months(day, months) == min(same, last).item()


@given(day=DAYS, count=st.integers(1, 60), holidays=st.frozensets(DAYS, max_size=5), weekend=st.frozensets(
    st.integers(0, 6), max_size=6))  # fmt: skip
def test_working_days_are_those_of_numpy(day, count, holidays, weekend):
    near = frozenset(day + timedelta(days=item.toordinal() % 90) for item in holidays)
    mask = [number not in weekend for number in range(7)]
    expected = np.busday_offset(np.datetime64(day), count, roll="backward", weekmask=mask, holidays=list(near))
    assert due(Deadline(rule="r", business_days=count), day, WorkingDays(weekend, near)).day == expected.item()


@given(day=DAYS, later=st.integers(0, 400), months=st.integers(1, 24))
def test_who_asks_later_is_never_answered_earlier(day, later, months):
    deadline = Deadline(rule="r", months=months, next_working_day=True)
    first, second = due(deadline, day, WEEK).day, due(deadline, day + timedelta(days=later), WEEK).day
    assert day < first <= second
    assert first.weekday() < 5


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"rule": "r"}, "x: a deadline must have one of months, days and business_days: got 0 of them"),
        ({"rule": "r", "days": 1, "months": 1}, "got 2 of them"),
        ({"rule": "r", "days": 0}, "x: days must be an integer, at least 1 and at most 3650: got 0"),
        ({"rule": "r", "months": 121}, "x: months must be an integer, at least 1 and at most 120: got 121"),
        ({"rule": "r", "days": 1.5}, "x: days must be an integer: got 1.5"),
        ({"rule": "r\n", "days": 1}, "x: rule must be a short name of a provision"),
        ({"days": 1}, "x lacks 'rule'"),
        ({"rule": "r", "days": 1, "roll": True}, "x has unknown fields: got 'roll'"),
    ],
)
def test_a_deadline_that_is_not_one_period_is_refused(record, message):
    with pytest.raises(FormatError, match=message):
        from_toml(Deadline, record, where="x")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"weekend": ["funday"]}, r"x: weekend\[0\] must be 'monday' or .* or 'sunday': got 'funday'"),
        ({"weekend": [6]}, r"x: weekend\[0\] must be 'monday' or .* or 'sunday': got 6"),
        (
            {"weekend": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]},
            "x: weekend: not all seven days can be a weekend",
        ),
        ({"weekend": [], "holidays": ["2025-01-01"]}, r"x: holidays\[0\] must be a date: got '2025-01-01'"),
    ],
)
def test_working_days_that_make_no_sense_are_refused(record, message):
    with pytest.raises(FormatError, match=message):
        from_toml(WorkingDays, record, where="x")


def test_tables_read_as_what_they_say():
    assert from_toml(Deadline, {"rule": "r", "months": 1, "next_working_day": True}, where="x") == Deadline(
        rule="r", months=1, next_working_day=True
    )
    found = from_toml(WorkingDays, {"weekend": ["friday", "saturday"], "holidays": [date(2025, 1, 1)]}, where="x")
    assert found == WorkingDays(frozenset({4, 5}), frozenset({date(2025, 1, 1)}))
    assert from_json(Due, to_json(Due(date(2025, 2, 28), "r")), where="x") == Due(date(2025, 2, 28), "r")


def test_a_due_date_without_a_rule_is_refused():
    with pytest.raises(FormatError, match="x: rule must be a short name of a provision: got ''"):
        from_json(Due, {"day": "2025-02-28", "rule": ""}, where="x")


@pytest.mark.parametrize("text", ["2025-1-31", "20250131", "2025-02-29", "2025-01-31T00:00", "", "2025-W05-5"])
def test_a_day_has_one_form(text):
    with pytest.raises(ValueError, match=rf"not a day: got '{text}', expected YYYY-MM-DD"):
        read_day(text)
