"""Policies say what they say, and nothing that they do not say is allowed."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from datetime import date
from decimal import Decimal

import pytest

from unlearnkit.compliance.policy.deadlines import Deadline
from unlearnkit.compliance.policy.policy import Policy, Words, packaged_policies, parse_policy, read_policy
from unlearnkit.errors import FormatError, PolicyError, UnknownNameError, UnknownVersionError

EMPTY = b'schema = "unlearnkit/policy/v1"\nname = "nothing"\n'


PACKAGED = ["ccpa", "ch-fadp", "gdpr", "lgpd", "quebec-25", "research", "uk-gdpr", "us-states"]
WITHOUT_EXTENSION = {"ch-fadp", "lgpd", "quebec-25"}  # laws that have none


@pytest.mark.parametrize("name", PACKAGED)
def test_the_packaged_policies_are_valid_commented_and_no_legal_advice(name):
    raw = packaged_policies()[name]
    policy = parse_policy(raw, where=name)
    assert policy.name == name
    assert b"A STARTING POINT, NOT LEGAL ADVICE" in raw
    assert "a starting point, not legal advice" in policy.title
    assert raw.count(b"#") > 8
    missing = {"extension_reasons"} if name in WITHOUT_EXTENSION else set()
    missing |= set() if name in {"gdpr", "uk-gdpr", "research"} else {"pause_reasons"}
    assert {field.name for field in fields(Words) if not getattr(policy.words, field.name)} == missing
    corrected = {"corrected"} if policy.correction.tolerances else set()
    assert set(policy.requests.accepted) == {"retrained", "negligible-effect", "no-data-held", "refused"} | corrected
    assert corrected or name not in {"gdpr", "ccpa", "research"}
    assert policy.deadlines.respond
    assert (policy.deadlines.extended is None) == (name in WITHOUT_EXTENSION)
    assert policy.certificate.delta_budget
    assert policy.signing.roles


def test_these_are_the_packaged_policies():
    assert list(packaged_policies()) == PACKAGED


def test_gdpr_and_ccpa_have_their_clocks():
    gdpr, ccpa = Policy.load("gdpr"), Policy.load("ccpa")
    assert gdpr.deadlines.acknowledge is None
    assert gdpr.deadlines.respond == Deadline(rule="GDPR Art. 12(3)", months=1, next_working_day=True)
    assert gdpr.deadlines.extended == Deadline(rule="GDPR Art. 12(3), extended", months=3, next_working_day=True)
    assert ccpa.deadlines.acknowledge == Deadline(rule="11 CCR 7021(a)", business_days=10)
    assert ccpa.deadlines.respond == Deadline(rule="11 CCR 7021(b)", days=45)
    assert ccpa.deadlines.extended == Deadline(rule="11 CCR 7021(b), extended", days=90)
    assert ccpa.requests.retention_months == 24
    assert (gdpr.certificate.largest_delta, gdpr.certificate.tolerances) == (
        Decimal("0.05"),
        {"test_loss": Decimal("0.01"), "own_loss": Decimal("0.05")},
    )


def test_an_empty_policy_refuses_everything():
    policy = parse_policy(EMPTY, where="x")
    for field in fields(Words):
        with pytest.raises(PolicyError, match=f"does not list 'other' among its {field.name}: expected nothing"):
            policy.require_word(field.name, "other")
    for fulfilment in ("retrained", "negligible-effect", "no-data-held", "refused"):
        with pytest.raises(PolicyError, match=f"does not accept '{fulfilment}': it accepts nothing"):
            policy.require_accepted(fulfilment)
    for deadline in ("respond", "extended"):
        with pytest.raises(PolicyError, match=f"has no deadline '{deadline}'"):
            policy.require_deadline(deadline)
    assert policy.certificate.bound_methods == policy.certificate.probes == policy.signing.roles == ()
    assert policy.certificate.largest_ratio is policy.certificate.largest_delta is None
    assert policy.certificate.delta_budget is policy.certificate.minimum_directions is None
    with pytest.raises(FormatError, match="lacks 'name', 'schema'"):
        parse_policy(b"", where="x")


def test_a_word_is_one_of_the_list_and_the_error_says_which():
    policy = Policy.load("gdpr")
    assert policy.require_word("sources", "email") == "email"
    with pytest.raises(
        PolicyError, match="does not list 'Jane asked me' among its sources: expected web-form"
    ) as caught:
        policy.require_word("sources", "Jane asked me")
    assert "no free text" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "x has unknown fields: got 'x'"),
        ("[words]\nfriends = []", r"x: words has unknown fields: got 'friends', expected 'actors', "),
        ('[words]\nactors = "me"', "x: words.actors must be an array: got 'me'"),
        ("[words]\nactors = [1]", r"x: words.actors\[0\] must be a word of lower-case letters, .*: got 1"),
        ('[words]\nactors = ["me", "me"]', "x: words.actors must be an array of different values: got 'me' twice"),
        (
            '[words]\nactors = ["Jane Doe"]',
            r"x: words.actors\[0\] must be a word of lower-case letters, .*: got 'Jane Doe'",
        ),
        (
            '[requests]\naccepted = ["ignored"]',
            r"requests.accepted\[0\] must be 'retrained' or 'negligible-effect' or 'corrected' or 'no-data-held' or",
        ),
        (
            "[requests]\nretention_months = -1",
            "retention_months must be an integer, at least 0 and at most 1200: got -1",
        ),
        ('[deadlines.respond]\nrule = "r"', "x: deadlines.respond: a deadline must have one of months"),
        ('[deadlines.reply]\nrule = "r"\ndays = 1', "has unknown fields: got 'reply'"),
        ('[deadlines.extended]\nrule = "r"\ndays = 1', r"extends nothing: \[deadlines.respond\] is missing"),
        (
            "[certificate]\nlargest_ratio = 0",
            "certificate.largest_ratio must be a number, above 0: got 0",
        ),
        (
            "[certificate]\nlargest_ratio = nan",
            "certificate.largest_ratio must be a number that is finite: got NaN",
        ),
        (
            "[certificate]\nlargest_ratio = inf",
            "certificate.largest_ratio must be a number that is finite: got Infinity",
        ),
        ('[certificate]\nlargest_ratio = "1"', "certificate.largest_ratio must be a number: got '1'"),
        (
            "[certificate]\nlargest_delta = 1.0",
            r"certificate.largest_delta: not a probability above 0 and below 1, .*: got 1\.0",
        ),
        ("[certificate]\nlargest_delta = 0.1\ndelta_budget = 0.05", "delta_budget is less than largest_delta"),
        (
            "[certificate]\nminimum_directions = 0",
            "certificate.minimum_directions must be an integer, at least 1: got 0",
        ),
        (
            '[certificate]\nbound_methods = ["asymptotic"]',
            r"certificate.bound_methods\[0\] must be 'certified' or 'audited': got 'asymptotic'",
        ),
        ('[certificate]\nprobes = ["loss"]', "no tolerance for loss: what change is negligible?"),
        ("[certificate.tolerances]\nloss = true", "certificate.tolerances.loss must be a number: got true"),
        ("[signing]\nthreshold = 0", "signing.threshold must be an integer, at least 1: got 0"),
        (
            '[signing]\nroles = ["log"]',
            r"signing.roles\[0\] must be 'sketch-signer' or 'certificate-signer': got 'log'",
        ),
        ('jurisdiction = "The EU"', "jurisdiction must be a word of lower-case letters"),
        ("[", "x is not TOML"),
    ],
)
def test_a_policy_is_read_strictly(text, message):
    with pytest.raises(FormatError, match=message):
        parse_policy(EMPTY + text.encode(), where="x")


def test_names_and_schemas_are_checked():
    with pytest.raises(
        FormatError, match=r"x: name must be a word of lower-case letters, digits and hyphens, .*: got 'My policy'"
    ):
        parse_policy(EMPTY.replace(b"nothing", b"My policy"), where="x")
    with pytest.raises(UnknownVersionError, match="schema is 'unlearnkit/policy/v2'"):
        parse_policy(EMPTY.replace(b"v1", b"v2"), where="x")
    with pytest.raises(FormatError, match="x is not TOML"):
        parse_policy(b"\xff", where="x")


def test_a_policy_is_loaded_by_name_or_from_a_file(tmp_path):
    (tmp_path / "mine.toml").write_bytes(EMPTY)
    assert Policy.load(tmp_path / "mine.toml") == Policy.load(f"{tmp_path}/mine.toml")
    with pytest.raises(
        UnknownNameError, match="no policy 'hipaa': there are ccpa, ch-fadp, gdpr, lgpd, quebec-25, research"
    ):
        Policy.load("hipaa")
    with pytest.raises(UnknownNameError, match="no policy file"):
        read_policy("mine.toml")


def test_holidays_are_read_as_dates():
    text = b'[working_days]\nweekend = ["friday"]\nholidays = [2027-01-01]\n'
    working = parse_policy(EMPTY + text, where="x").working_days
    assert not working.has(date(2027, 1, 1))
    assert working.has(date(2027, 1, 2))


def test_the_digest_is_that_of_the_file():
    import hashlib

    assert Policy.load("gdpr").digest == hashlib.sha256(packaged_policies()["gdpr"]).hexdigest()
    assert tomllib.loads(packaged_policies()["gdpr"].decode())["name"] == "gdpr"
