"""The delta account of a recipe and salt."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.errors import BudgetExceededError, FormatError
from unlearnkit.verifier.account import DeltaAccount, Issued, parse_issued

ACCOUNT = "a" * 64
BODY = {
    "account": ACCOUNT,
    "bundle": "b" * 64,
    "certificate": "c" * 64,
    "decision": "retrain",
    "policy_digest": "d" * 64,
    "questions": [{"question": "a" * 64, "delta": "0.05"}],
    "release": "small@1",
    "requests": ["R2"],
}


def issued(questions: dict[str, str], account: str = ACCOUNT) -> Issued:
    listed = [{"question": name, "delta": delta} for name, delta in questions.items()]
    return parse_issued(3, {**BODY, "account": account, "questions": listed})


def test_an_account_is_what_the_log_says_about_its_recipe_and_salt():
    account = DeltaAccount(ACCOUNT, [issued({"a" * 64: "0.05"}), issued({"1" * 64: "0.3"}, account="e" * 64)])
    assert account.spent == Decimal("0.05")


def test_the_same_question_spends_nothing_again_even_when_nothing_is_left():
    account = DeltaAccount(ACCOUNT, [issued({"a" * 64: "0.05"})])
    assert account.spend([("a" * 64, Decimal("0.05"))], Decimal("0.05")) == Decimal("0.05")


@pytest.mark.parametrize("deltas", [("0.05", "0.001"), ("0.001", "0.05")])
def test_of_a_question_with_two_deltas_the_larger_counts_and_it_is_known(deltas):
    account = DeltaAccount(ACCOUNT, [issued({"a" * 64: delta}) for delta in deltas])
    assert (account.spent, account.disputed) == (Decimal("0.05"), ("a" * 64,))
    assert account.spend([("a" * 64, Decimal("0.001"))], Decimal("0.05")) == Decimal("0.05")
    assert DeltaAccount(ACCOUNT, [issued({"a" * 64: "0.05"})] * 2).disputed == ()


def test_the_budget_can_be_spent_to_the_last_bit_and_no_further():
    account = DeltaAccount(ACCOUNT)
    assert account.spend([("a" * 64, Decimal("0.05")), ("b" * 64, Decimal("0.05"))], Decimal("0.1")) == Decimal("0.1")
    with pytest.raises(BudgetExceededError, match=r"delta budget of 0\.1 .* 0\.10 is spent, .* make it 0\.1000001"):
        account.spend([("c" * 64, Decimal("0.0000001"))], Decimal("0.1"))
    assert account.spent == Decimal("0.1")


def test_a_policy_that_states_no_budget_allows_none():
    with pytest.raises(BudgetExceededError, match="no delta budget at all"):
        DeltaAccount(ACCOUNT).spend([("a" * 64, Decimal("0.01"))], None)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 999)), max_size=12))
def test_the_sum_is_exact_over_distinct_questions(asked):
    entries = [issued({name * 64: f"0.{thousandths:03d}".rstrip("0")}) for name, thousandths in asked]
    largest = {name: max(value for other, value in asked if other == name) for name, _ in asked}
    expected = sum(Fraction(value, 1000) for value in largest.values())
    assert Fraction(DeltaAccount(ACCOUNT, entries).spent) == expected


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
