"""The plan of audits in a policy: strata in order, with as many retrainings as the statement takes."""

from __future__ import annotations

import pytest

from unlearnkit.compliance.policy.policy import packaged_policies, parse_policy
from unlearnkit.errors import FormatError
from unlearnkit.estimation.tolerance import tolerance_rank

HEAD = 'schema = "unlearnkit/policy/v1"\nname = "x"\n[audit]\n'


def plan(strata: str, shares: str = "content = 0.9\nconfidence = 0.9\n"):
    return parse_policy(f"{HEAD}{shares}strata = [{strata}]\n".encode(), where="x").audit


def stratum(least: int, most: int, count: int) -> str:
    return f"{{ least = {least}, most = {most}, count = {count} }}"


def test_a_size_is_in_one_stratum_or_in_none():
    audit = plan(f"{stratum(1, 1, 22)}, {stratum(2, 4, 30)}")
    assert [audit.holding(size) and audit.holding(size).count for size in (1, 2, 4, 5)] == [22, 30, 30, None]
    assert str(audit) == "1, 2 to 4"
    assert audit.within(1) == audit.strata[:1]
    assert plan("", "").holding(1) is None


@pytest.mark.parametrize(
    ("strata", "shares", "message"),
    [
        (stratum(2, 1, 22), "content = 0.9\nconfidence = 0.9\n", "a stratum of 2 to 1 people: expected least <= most"),
        (stratum(0, 1, 22), "content = 0.9\nconfidence = 0.9\n", "least must be an integer, at least 1: got 0"),
        (
            f"{stratum(1, 3, 22)}, {stratum(3, 4, 22)}",
            "content = 0.9\nconfidence = 0.9\n",
            "expected them in order of size, and no size in two of them",
        ),
        (stratum(1, 1, 21), "content = 0.9\nconfidence = 0.9\n", "content 0.9 at confidence 0.9 takes 22"),
        (stratum(1, 1, 58), "content = 0.95\nconfidence = 0.95\n", "content 0.95 at confidence 0.95 takes 59"),
        (stratum(1, 1, 22), "content = 0.9\n", "strata without content and confidence"),
    ],
)
def test_a_plan_that_shows_nothing_is_refused(strata, shares, message):
    with pytest.raises(FormatError, match=message):
        plan(strata, shares)


@pytest.mark.parametrize("name", packaged_policies())
def test_the_packaged_plans_carry_what_they_state(name):
    audit = parse_policy(packaged_policies()[name], where=name).audit
    assert audit.strata[0].least == 1
    for part in audit.strata:
        assert tolerance_rank(part.count, float(audit.content), float(audit.confidence)) is not None
