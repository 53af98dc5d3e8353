"""Distributions of deletions: what they draw, from what, and their one canonical form."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from unlearnkit.canonical import canonicalize, parse_json
from unlearnkit.errors import FormatError
from unlearnkit.estimation.draws import Draw
from unlearnkit.records import to_json
from unlearnkit.verifier.plan import GroupDeletions, UnitDeletions, draw_deletions, parse_distribution

SIZES = UnitDeletions(least=2, most=4)
GROUPS = GroupDeletions(groups=((0, 3, 5), (1,), (2, 7, 8, 9)))
HALVES = replace(GROUPS, share=Decimal("0.5"))


@dataclass(frozen=True)
class Sketched:
    """What draws are bound to."""

    digest: str = "a" * 64
    units: tuple[str, ...] = tuple("abcdefghij")


@pytest.mark.parametrize("distribution", [SIZES, GROUPS, HALVES], ids=["sizes", "groups", "halves"])
def test_draws_are_the_same_for_everybody_and_more_of_them_go_on(distribution):
    many = draw_deletions(Sketched(), distribution, 50)
    assert draw_deletions(Sketched(), distribution, 20) == many[:20]
    assert all(list(deletion) == sorted(set(deletion)) for deletion in many)
    assert all(distribution.allows(deletion) for deletion in many)


@pytest.mark.parametrize("other", [Sketched("b" * 64), replace(Sketched(), digest="a" * 63 + "b")])
def test_another_bundle_draws_other_deletions(other):
    assert draw_deletions(Sketched(), SIZES, 20) != draw_deletions(other, SIZES, 20)


def test_draws_are_bound_to_bundle_and_distribution_as_documented():
    text = b"unlearnkit/deletions/v1\0" + b"a" * 64 + b"\0" + b'{"kind":"units","least":2,"most":4}'
    key = hashlib.sha256(text).digest()[:16]
    draw = Draw(key, 3)
    size = 2 + draw.below(3)
    assert draw_deletions(Sketched(), SIZES, 4)[3] == tuple(draw.subset(10, size))


def test_every_size_and_every_unit_is_as_likely_as_any_other():
    drawn = draw_deletions(Sketched(), SIZES, 3000)
    sizes, units = Counter(map(len, drawn)), Counter(unit for deletion in drawn for unit in deletion)
    assert all(abs(sizes[size] - 1000) < 120 for size in (2, 3, 4))
    assert all(abs(units[unit] - 900) < 120 for unit in range(10))


def test_a_group_goes_as_a_whole_or_in_the_stated_share_rounded_up():
    assert set(draw_deletions(Sketched(), GROUPS, 100)) == set(GROUPS.groups)
    drawn = set(draw_deletions(Sketched(), HALVES, 300))
    assert {len(deletion) for deletion in drawn} == {1, 2}
    assert drawn == {(0, 3), (0, 5), (3, 5), (1,), (2, 7), (2, 8), (2, 9), (7, 8), (7, 9), (8, 9)}


@pytest.mark.parametrize(
    ("distribution", "deleted", "allowed"),
    [
        (SIZES, [1], False),
        (SIZES, [9, 1], True),
        (SIZES, [0, 1, 2, 3, 4], False),
        (GROUPS, [5, 0, 3], True),
        (GROUPS, [0, 3], False),
        (HALVES, [5, 0], True),
        (HALVES, [0, 1], False),
        (HALVES, [2], False),
    ],
)
def test_whether_a_deletion_can_be_drawn_at_all(distribution, deleted, allowed):
    assert distribution.allows(deleted) is allowed


@pytest.mark.parametrize("distribution", [SIZES, GROUPS, HALVES], ids=["sizes", "groups", "halves"])
def test_the_canonical_form_reads_back(distribution):
    raw = canonicalize(to_json(distribution))
    assert parse_distribution(parse_json(raw, where="x"), where="x") == distribution


def test_labels_and_their_order_leave_no_trace():
    """So nobody can try labels until the draws please."""
    labels = dict.fromkeys((5, 3, 0), "b") | {1: "z"} | dict.fromkeys((9, 8, 7, 2), "a")
    assert GroupDeletions.of_labels(labels) == GROUPS
    spelled = GroupDeletions(groups=GROUPS.groups, share=Decimal("0.50"))
    assert to_json(spelled) == to_json(HALVES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "people"}, "kind must be 'units' or 'groups' or 'planned': got 'people'"),
        ({"least": 0}, "expected 1 <= least <= most"),
        ({"least": 5}, "expected 1 <= least <= most"),
        ({"most": "4"}, "most must be an integer: got '4'"),
        ({"extra": 1}, "unknown fields"),
    ],
)
def test_malformed_sizes_are_refused(change, message):
    with pytest.raises(FormatError, match=message):
        parse_distribution(to_json(SIZES) | change, where="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "people"}, "kind must be 'units' or 'groups' or 'planned': got 'people'"),
        ({"groups": []}, "expected at least one, none empty"),
        ({"groups": [[0], []]}, "expected at least one, none empty"),
        ({"groups": [[0, 1], [1, 2]]}, "no unit in two of them"),
        ({"groups": [[3, 0]]}, "expected each sorted"),
        ({"groups": [[2], [0]]}, "expected each sorted, and all of them in order"),
        ({"groups": [[0, "1"]]}, r"x: groups\[0\]\[1\] must be an integer: got '1'"),
        ({"groups": [[-1]]}, r"x: groups\[0\]\[0\] must be an integer, at least 0: got -1"),
        ({"share": "0"}, "expected a number above 0"),
        ({"share": "1.5"}, "expected a number above 0, at most 1"),
        ({"share": "NaN"}, "x: share must be a decimal, such as -0.25, and no infinity: got 'NaN'"),
        ({"share": "half"}, "x: share must be a decimal, such as -0.25, and no infinity: got 'half'"),
        ({"share": "0.50"}, "the share is '0.50', expected a plain decimal"),
    ],
)
def test_malformed_groups_are_refused(change, message):
    with pytest.raises(FormatError, match=message):
        parse_distribution(to_json(HALVES) | change, where="x")


def test_units_that_the_bundle_does_not_have_are_refused():
    with pytest.raises(ValueError, match="deletions of up to 11 units: there are 10"):
        draw_deletions(Sketched(), UnitDeletions(least=1, most=11), 1)
    with pytest.raises(ValueError, match="unit 10 is named, there are 10"):
        draw_deletions(Sketched(), GroupDeletions(groups=((0, 10),)), 1)


def test_distributions_are_told_in_words():
    assert str(SIZES) == "sets of 2 to 4 units, every size and then every set of that size equally likely"
    assert str(GROUPS) == "the whole of one of 3 stated groups of units, every group equally likely"
    assert "a share of 0.5, rounded up, of one of 3" in str(HALVES)
