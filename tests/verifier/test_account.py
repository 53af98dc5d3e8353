"""The delta account of a bundle."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.errors import BudgetExceededError, FormatError
from unlearnkit.verifier.account import DeltaAccount, Issued, parse_issued

BUNDLE = "b" * 64
BODY = {
    "bundle": BUNDLE,
    "certificate": "c" * 64,
    "decision": "retrain-needed",
    "policy_digest": "d" * 64,
    "questions": [{"question": "a" * 64, "delta": "0.05"}],
    "request": "R2",
}


def issued(questions: dict[str, str], bundle: str = BUNDLE) -> Issued:
    listed = [{"question": name, "delta": delta} for name, delta in questions.items()]
    return parse_issued(3, {**BODY, "bundle": bundle, "questions": listed})


def test_an_account_is_what_the_log_says_about_its_bundle():
    account = DeltaAccount(BUNDLE, [issued({"a" * 64: "0.05"}), issued({"1" * 64: "0.3"}, bundle="e" * 64)])
    assert account.spent == Decimal("0.05")


def test_the_same_question_spends_nothing_again_even_when_nothing_is_left():
    account = DeltaAccount(BUNDLE, [issued({"a" * 64: "0.05"})])
    assert account.spend([("a" * 64, Decimal("0.05"))], Decimal("0.05")) == Decimal("0.05")


def test_the_budget_can_be_spent_to_the_last_bit_and_no_further():
    account = DeltaAccount(BUNDLE)
    assert account.spend([("a" * 64, Decimal("0.05")), ("b" * 64, Decimal("0.05"))], Decimal("0.1")) == Decimal("0.1")
    with pytest.raises(BudgetExceededError, match=r"delta budget of 0\.1 .* 0\.10 is spent, .* make it 0\.1000001"):
        account.spend([("c" * 64, Decimal("0.0000001"))], Decimal("0.1"))
    assert account.spent == Decimal("0.1")


def test_a_policy_that_states_no_budget_allows_none():
    with pytest.raises(BudgetExceededError, match="no delta budget at all"):
        DeltaAccount(BUNDLE).spend([("a" * 64, Decimal("0.01"))], None)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 999)), max_size=12))
def test_the_sum_is_exact_over_distinct_questions(asked):
    entries = [issued({name * 64: f"0.{thousandths:03d}".rstrip("0")}) for name, thousandths in asked]
    expected = sum(Fraction(value, 1000) for value in dict(asked).values())
    assert Fraction(DeltaAccount(BUNDLE, entries).spent) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bundle": "b"}, "bundle must be 64 lower-case hexadecimal digits: got 'b'"),
        (
            {"questions": [{"question": "a" * 64, "delta": "1"}]},
            r"questions\[0\]\.delta must be a probability above 0 and below 1, .*: got '1'",
        ),
        ({"questions": [{"question": "a" * 64, "delta": "-0.1"}]}, r"questions\[0\]\.delta must be a probability"),
        (
            {"questions": [{"question": "a", "delta": "0.1"}]},
            r"questions\[0\]\.question must be 64 lower-case hexadecimal digits: got 'a'",
        ),
        ({"note": "free text"}, "note"),
    ],
)
def test_a_malformed_entry_is_refused(changed, message):
    with pytest.raises(FormatError, match=message):
        parse_issued(3, {**BODY, **changed})
