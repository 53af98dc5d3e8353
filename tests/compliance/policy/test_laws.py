"""The deadlines of each packaged law, against days that were counted by hand on a calendar."""

from __future__ import annotations

from datetime import date

import pytest

from unlearnkit.compliance.policy.deadlines import WorkingDays, due
from unlearnkit.compliance.policy.policy import Policy

MAY_DAY = date(2028, 5, 1)

# Policy, deadline, day of receipt, day on which it is due. 1 January 2027 is a Friday, 1 January 2028 a Saturday.
COUNTED = [
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


def test_every_rule_of_a_law_is_counted_here():
    rules = {(name, clock) for name, clock, _, _ in COUNTED}
    for name in {name for name, _ in rules}:
        deadlines = Policy.load(name).deadlines
        stated = {clock for clock in ("acknowledge", "respond", "extended") if getattr(deadlines, clock)}
        assert stated == {clock for known, clock in rules if known == name}


@pytest.mark.parametrize("name", ["uk-gdpr", "us-states", "lgpd", "quebec-25", "ch-fadp"])
def test_a_law_names_its_sources_and_a_certificate_counts_as_under_the_gdpr(name):
    policy, gdpr = Policy.load(name), Policy.load("gdpr")
    head = policy.text.partition("schema =")[0]
    assert any(word in head for word in ("Article", "sections", "Code"))
    assert policy.certificate == gdpr.certificate
    assert policy.signing == gdpr.signing
