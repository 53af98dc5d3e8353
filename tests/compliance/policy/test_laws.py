"""The deadlines of each packaged law, against days that were counted by hand on a calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from tests.compliance.requests.desks import KEY, Clock, desk_of, new_log
from unlearnkit.compliance.policy.deadlines import WorkingDays, due
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import Policy, packaged_policies
from unlearnkit.compliance.requests.clocks import appeal_due, respond_due
from unlearnkit.compliance.requests.desk import Desk

MAY_DAY = date(2028, 5, 1)

# Policy, deadline, day of receipt, day on which it is due. 1 January 2027 is a Friday, 1 January 2028 a Saturday.
COUNTED = [
    ("gdpr", "respond", "2027-01-05", "2027-02-05"),
    ("gdpr", "respond", "2027-02-08", "2027-03-08"),  # a Monday; a holiday in Berlin, which this file does not have
    ("gdpr", "respond", "2027-01-31", "2027-03-01"),  # no 31 February; the 28th is a Sunday
    ("gdpr", "respond", "2026-10-31", "2026-11-30"),  # no 31 November; a Monday
    ("gdpr", "respond", "2024-01-29", "2024-02-29"),  # a leap day
    ("gdpr", "respond", "2024-02-29", "2024-03-29"),  # from a leap day; a Friday
    ("gdpr", "extended", "2027-05-31", "2027-08-31"),
    ("gdpr", "extended", "2026-11-30", "2027-03-01"),  # no 30 February; the 28th is a Sunday
    ("gdpr", "extended", "2026-12-31", "2027-03-31"),
    ("ccpa", "acknowledge", "2027-01-04", "2027-01-18"),  # two weeks of five days
    ("ccpa", "acknowledge", "2027-07-02", "2027-07-16"),
    ("ccpa", "acknowledge", "2027-12-23", "2028-01-06"),  # no holiday is in this file
    ("ccpa", "respond", "2027-01-01", "2027-02-15"),
    ("ccpa", "respond", "2028-02-01", "2028-03-17"),  # with 29 February
    ("ccpa", "extended", "2027-02-01", "2027-05-02"),  # a Sunday, which moves nothing
    ("research", "respond", "2027-01-31", "2027-03-02"),
    ("research", "extended", "2028-01-31", "2028-04-30"),
    ("uk-gdpr", "respond", "2027-09-03", "2027-10-04"),  # 3 October is a Sunday
    ("uk-gdpr", "respond", "2027-01-31", "2027-03-01"),  # no 31 February; the 28th is a Sunday
    ("uk-gdpr", "respond", "2028-01-31", "2028-02-29"),  # a leap year; a Tuesday
    ("uk-gdpr", "respond", "2027-11-30", "2027-12-30"),
    ("uk-gdpr", "respond", "2027-12-31", "2028-01-31"),  # over the end of a year; a Monday
    ("uk-gdpr", "extended", "2028-01-31", "2028-05-01"),  # 30 April is a Sunday
    ("uk-gdpr", "extended", "2027-11-30", "2028-02-29"),
    ("us-states", "respond", "2027-01-01", "2027-02-15"),
    ("us-states", "respond", "2027-01-07", "2027-02-21"),  # a Sunday, which moves nothing
    ("us-states", "respond", "2028-02-01", "2028-03-17"),  # with 29 February
    ("us-states", "respond", "2027-02-01", "2027-03-18"),  # without
    ("us-states", "extended", "2027-01-01", "2027-04-01"),
    ("us-states", "extended", "2028-02-01", "2028-05-01"),
    ("lgpd", "respond", "2027-01-01", "2027-01-16"),  # a Saturday, which moves nothing
    ("lgpd", "respond", "2028-02-20", "2028-03-06"),
    ("lgpd", "respond", "2027-12-25", "2028-01-09"),
    ("quebec-25", "respond", "2027-01-31", "2027-03-02"),
    ("quebec-25", "respond", "2028-01-31", "2028-03-01"),
    ("quebec-25", "respond", "2027-12-02", "2028-01-01"),  # a holiday, which moves nothing
    ("ch-fadp", "respond", "2027-06-01", "2027-07-01"),
    ("ch-fadp", "respond", "2028-02-28", "2028-03-29"),
]


@pytest.mark.parametrize(("name", "clock", "received", "expected"), COUNTED)
def test_the_days_are_those_that_were_counted_by_hand(name, clock, received, expected):
    policy = Policy.load(name)
    found = due(policy.require_deadline(clock), date.fromisoformat(received), policy.working_days)
    assert found.day == date.fromisoformat(expected)


def test_a_bank_holiday_moves_the_day_where_the_law_says_so_and_nowhere_else():
    closed = WorkingDays(holidays=frozenset({MAY_DAY, date(2027, 2, 15)}))
    uk, us = Policy.load("uk-gdpr"), Policy.load("us-states")
    assert due(uk.require_deadline("extended"), date(2028, 1, 31), closed).day == date(2028, 5, 2)
    assert due(us.require_deadline("respond"), date(2027, 1, 1), closed).day == date(2027, 2, 15)


def test_every_rule_of_every_law_is_counted_here():
    rules = {(name, clock) for name, clock, _, _ in COUNTED}
    assert {name for name, _ in rules} == set(packaged_policies())
    for name in packaged_policies():
        deadlines = Policy.load(name).deadlines
        stated = {clock for clock in ("acknowledge", "respond", "extended") if getattr(deadlines, clock)}
        assert stated == {clock for known, clock in rules if known == name}
        assert deadlines.appeal is None  # only states have one, below


# By state, the day on which the answer to an appeal of Tuesday, 15 June 2027 is due, counted on a calendar.
APPEALS = dict.fromkeys(["us-co", "us-mn", "us-nj", "us-or"], "2027-07-30") | dict.fromkeys(
    ["us-ct", "us-de", "us-in", "us-ky", "us-md", "us-mt", "us-ne", "us-nh", "us-ri", "us-tn", "us-tx", "us-va"],
    "2027-08-14",  # a Saturday, which moves nothing
)


def test_every_state_has_its_day_for_an_appeal_and_the_days_of_all_for_an_answer():
    policy = Policy.load("us-states")
    assert policy.places.keys() == APPEALS.keys() | {"us-ut"}
    for state, day in APPEALS.items():
        found = appeal_due(policy, state, "appeal", date(2027, 6, 15))
        assert found is not None
        assert found.day == date.fromisoformat(day), state
        assert respond_due(policy, state, date(2027, 1, 1)).day == date(2027, 2, 15)
        assert respond_due(policy, state, date(2027, 1, 1), extended=True).day == date(2027, 4, 1)
        assert appeal_due(policy, state, "complaint-to-attorney-general", date(2027, 6, 15)) is None
    assert appeal_due(policy, "us-ut", "appeal", date(2027, 6, 15)) is None
    over_the_year = [("us-tx", "2027-12-20", "2028-02-18"), ("us-ne", "2028-01-10", "2028-03-10")]  # with 29 February
    for state, on, day in [*over_the_year, ("us-nj", "2028-01-10", "2028-02-24")]:
        found = appeal_due(policy, state, "appeal", date.fromisoformat(on))
        assert found is not None
        assert found.day == date.fromisoformat(day)


# 45 days, and 60 more on notice: 105 from the appeal, counted on a calendar.
@pytest.mark.parametrize(
    ("appealed", "expected"),
    [
        ("2027-06-15", "2027-09-28"),  # 15 days of June, 31, 31, and 28 of September
        ("2028-01-10", "2028-04-24"),  # 21 of January, 29, 31, and 24 of April
        ("2027-11-18", "2028-03-02"),  # 12 of November, 31, 31, 29, and 2 of March
    ],
)
def test_two_states_let_the_answer_to_an_appeal_be_put_off(tmp_path, appealed, expected):
    policy, clock = Policy.load("us-states"), Clock()
    clock.time = datetime.combine(date.fromisoformat(appealed), time(12), tzinfo=UTC)
    for state in ("us-co", "us-mn"):
        desk = desk_of(new_log(tmp_path / state, clock), policy)
        (request,) = desk.receive(["ann"], source="email", jurisdiction=state)
        desk.refuse(request.id, reason="security")
        desk.appeal(request.id, kind="appeal")
        assert desk.extend(request.id, reason="complexity").next_due.day == date.fromisoformat(expected)
    others = {place for place in policy.places if policy.deadline("appeal_extended", place)}
    assert others == {"us-co", "us-mn"}


@pytest.mark.parametrize(
    ("received", "extended", "paused", "expected"),
    [
        ("2027-01-05", False, 10, "2027-02-15"),  # 5 February and ten days: a Monday
        ("2027-01-05", False, 8, "2027-02-15"),  # 13 February is a Saturday
        ("2027-01-31", False, 3, "2027-03-03"),  # 28 February and three days, whatever weekday that was
        ("2026-11-30", True, 5, "2027-03-05"),
        ("2028-01-31", False, 1, "2028-03-01"),  # 29 February and a day
    ],
)
def test_days_on_which_the_clock_stood_still_come_after_the_month_and_before_the_weekend(
    received, extended, paused, expected
):
    found = respond_due(Policy.load("gdpr"), "eu", date.fromisoformat(received), extended=extended, paused=paused)
    assert found.day == date.fromisoformat(expected)


@pytest.mark.parametrize("name", sorted(packaged_policies()))
def test_a_clock_stands_still_only_where_the_law_lets_it(name):
    assert bool(Policy.load(name).words.pause_reasons) == (name in ("gdpr", "uk-gdpr", "research"))


# At 22:30 UTC on Wednesday, 31 March 2027 it is 1 April in Berlin (summer time), and the afternoon in Los Angeles.
@pytest.mark.parametrize(
    ("name", "zone", "received", "expected"),
    [
        ("gdpr", "Europe/Berlin", "2027-04-01", "2027-05-03"),  # 1 May is a Saturday
        ("gdpr", "UTC", "2027-03-31", "2027-04-30"),  # no 31 April; a Friday
        ("ccpa", "America/Los_Angeles", "2027-03-31", "2027-05-15"),
        ("lgpd", "America/Sao_Paulo", "2027-03-31", "2027-04-15"),
    ],
)
def test_the_day_of_receipt_is_that_of_the_place(tmp_path, name, zone, received, expected):
    clock, policy = Clock(), Policy.load(name)
    clock.time = datetime(2027, 3, 31, 22, 30, tzinfo=UTC)
    desk = Desk(
        new_log(tmp_path / "log", clock),
        Policies(default=policy),
        actor="privacy-officer",
        timezone=ZoneInfo(zone),
        key=KEY,
    )
    (request,) = desk.receive(["ann"], source="email")
    assert (request.received, request.respond.day) == (date.fromisoformat(received), date.fromisoformat(expected))


@pytest.mark.parametrize("name", ["uk-gdpr", "us-states", "lgpd", "quebec-25", "ch-fadp"])
def test_a_law_names_its_sources_and_a_certificate_counts_as_under_the_gdpr(name):
    policy, gdpr = Policy.load(name), Policy.load("gdpr")
    head = policy.text.partition("schema =")[0]
    assert any(word in head for word in ("Article", "sections", "Code"))
    assert policy.certificate == gdpr.certificate
    assert policy.signing == gdpr.signing
