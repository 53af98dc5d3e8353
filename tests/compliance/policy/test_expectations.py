"""Expectations are read strictly, and written as they are read."""

from __future__ import annotations

from decimal import Decimal

import pytest

from unlearnkit.compliance.policy.audits import AuditRules, PlannedStratum
from unlearnkit.compliance.policy.expectations import Expectations, parse_expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import TrustStore, format_trust, parse_trust
from unlearnkit.compliance.policy.trusted import read_trusted
from unlearnkit.errors import FormatError

EVERYTHING = Expectations(
    policies=("a" * 64, "b" * 64),
    threshold=2,
    roles=(Role.CERTIFICATE_SIGNER, Role.SKETCH_SIGNER),
    tolerances={"test_loss": Decimal("0.01"), "own_loss": Decimal("0.5")},
    audit=AuditRules(
        strata=(PlannedStratum(least=1, most=1, count=59), PlannedStratum(least=2, most=5, count=60)),
        content=Decimal("0.95"),
        confidence=Decimal("0.95"),
    ),
    salt="log",
    witnesses=1,
    most_days=90,
)
FILE = f"""
schema = "unlearnkit/expectations/v1"
policies = ["{"a" * 64}", "{"b" * 64}"]
threshold = 2
roles = ["certificate-signer", "sketch-signer"]
salt = "log"
witnesses = 1
most_days = 90
[tolerances]
test_loss = 0.01
own_loss = 0.5
[audit]
strata = [{{ least = 1, most = 1, count = 59 }}, {{ least = 2, most = 5, count = 60 }}]
content = 0.95
confidence = 0.95
"""


def members(expected: Expectations) -> dict:
    return {name: getattr(expected, name) for name in Expectations.__dataclass_fields__}


def test_a_file_says_everything_that_can_be_expected():
    assert members(parse_expectations(FILE.encode(), where="x")) == members(EVERYTHING)


@pytest.mark.parametrize("expected", [EVERYTHING, Expectations(), Expectations(threshold=1)], ids=str)
def test_a_trust_store_is_written_as_it_is_read(expected):
    store = TrustStore(expect=expected)
    assert parse_trust(format_trust(store).encode(), where="x") == store


def test_what_is_expected_is_said_in_words():
    assert str(Expectations()) == "nothing"
    assert str(EVERYTHING) == (
        "one of 2 policies, signed by 2 with the role certificate-signer or sketch-signer, a tolerance of own_loss of "
        "0.5 at most, a tolerance of test_loss of 0.01 at most, audits of 1, 2 to 5 people, a salt from the log, "
        "cosigned by 1, at most 90 days old"
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("threshold = 0", "threshold"),
        ('policies = ["x"]', "64 lower-case hexadecimal digits"),
        ("roles = []", "at least one"),
        ('salt = "chosen"', "salt"),
        ("most_days = 1.5", "most_days"),
        ("other = 1", "other"),
        ("tolerances = {x = 0}", "tolerances"),
    ],
)
def test_anything_else_is_malformed(line, reason):
    text = f'schema = "unlearnkit/expectations/v1"\n{line}\n'
    with pytest.raises(FormatError, match=reason):
        parse_expectations(text.encode(), where="x")


def test_two_trust_stores_that_expect_something_contradict_each_other(tmp_path):
    files = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for file in files:
        file.write_text(format_trust(TrustStore(expect=Expectations(threshold=1))))
    assert read_trusted(files[:1]).expect == Expectations(threshold=1)
    with pytest.raises(FormatError, match="two trust stores say what is expected"):
        read_trusted(files)
