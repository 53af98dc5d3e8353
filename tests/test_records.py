"""Records are what their declaration says: written, read back, and refused with the place and the reason."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schema_check import is_valid
from unlearnkit.errors import FormatError, UnknownVersionError
from unlearnkit.names import ProbeName, Sha256
from unlearnkit.records import (
    ELSEWHERE,
    Count,
    Day,
    from_json,
    from_toml,
    json_schema,
    read_json,
    read_toml,
    to_json,
    write_json,
)
from unlearnkit.shapes import As, Items, Limits


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """Round."""

    kind: Literal["circle"] = "circle"
    radius: Annotated[float, Limits(above=0, below=10)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Not round."""

    kind: Literal["square"] = "square"
    side: Annotated[int, Limits(least=1, most=9)]


@dataclass(frozen=True, slots=True)
class Span:
    """From one to another."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"a span must not end before it begins: got {self.first} to {self.last}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zoo:
    """One member of every type.

    What follows is no part of the schema.
    """

    schema: Literal["zoo/v1"] = "zoo/v1"
    name: ProbeName
    digest: Sha256
    text: str
    count: Count
    ratio: float
    flag: bool
    colour: Colour
    size: Literal["small", "large"]
    day: Day
    form: Circle | Square
    spans: tuple[Span, ...]
    words: Annotated[tuple[str, ...], Items(least=1, distinct=True)]
    ordered: Annotated[tuple[int, ...], Items(in_order=True)]
    table: Mapping[ProbeName, int]
    tree: Mapping[str, Any]
    letters: Annotated[frozenset[str], As(tuple[str, ...], frozenset, sorted)]
    note: Annotated[int, Limits(least=3)] | None = None


WORDS = st.text(max_size=5)
NAMES = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,8}", fullmatch=True)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
FORMS = st.builds(Circle, radius=st.floats(0.001, 9.999)) | st.builds(Square, side=st.integers(1, 9))
ZOOS = st.builds(
    Zoo,
    name=NAMES,
    digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
    text=WORDS,
    count=st.integers(0, 2**53 - 1),
    ratio=st.floats(-1e9, 1e9),
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    size=st.sampled_from(["small", "large"]),
    day=st.dates(),
    form=FORMS,
    spans=st.lists(st.tuples(INTEGERS, INTEGERS).map(sorted).map(lambda pair: Span(*pair)), max_size=3).map(tuple),
    words=st.lists(WORDS, min_size=1, max_size=3, unique=True).map(tuple),
    ordered=st.sets(INTEGERS, max_size=3).map(sorted).map(tuple),
    table=st.dictionaries(NAMES, INTEGERS, max_size=3),
    tree=st.dictionaries(WORDS, st.recursive(st.none() | st.booleans() | INTEGERS | WORDS, st.lists), max_size=3),
    letters=st.frozensets(WORDS, max_size=3),
    note=st.none() | st.integers(3, 9),
)
ZOO = Zoo(
    name="a",
    digest="0" * 64,
    text="t",
    count=1,
    ratio=0.5,
    flag=True,
    colour=Colour.RED,
    size="small",
    day=date(2025, 1, 31),
    form=Square(side=2),
    spans=(Span(1, 2),),
    words=("w",),
    ordered=(1, 2),
    table={"k": 1},
    tree={"any": [None, {}]},
    letters=frozenset("ab"),
    note=3,
)


@given(ZOOS)
def test_what_is_written_reads_back_and_is_written_with_the_same_bytes(zoo):
    raw = write_json(zoo)
    back = read_json(Zoo, raw, where="x")
    assert back == zoo
    assert write_json(back) == raw


@given(ZOOS)
def test_what_is_written_fits_the_schema(zoo):
    assert is_valid(to_json(zoo), json_schema(Zoo))


# Of every JSON type one; by member, those that it takes.
VALUES = {"null": None, "true": True, "1": 1, "0.5": 0.5, "'x'": "x", "an array": [1], "an object": {"x": 1}}
TAKEN = {
    "text": {"'x'"},
    "name": {"'x'"},
    "count": {"1"},
    "ratio": {"1", "0.5"},
    "flag": {"true"},
    "ordered": {"an array"},
    "table": {"an object"},
    "tree": {"an object"},
}
MEMBERS = ["schema", *(name for name in to_json(ZOO) if name != "schema")]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_value_of_another_type_is_refused_with_its_place_and_what_it_is(name):
    for shown, value in VALUES.items():
        record = to_json(ZOO) | {name: value}
        if shown in TAKEN.get(name, ()):
            assert from_json(Zoo, record, where="x")
            continue
        reason = rf"{name} must be .*: got {shown}$"
        if shown.startswith("an "):  # then it may be what is in it that is wrong
            reason = rf"{name}(\[0\])? (must be .*: got |lacks )"
        if name == "schema":
            reason = f"schema is {re.escape(repr(value))}, expected 'zoo/v1'$"
        with pytest.raises(FormatError, match=f"^x: {reason}"):
            from_json(Zoo, record, where="x")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_that_is_missing_is_named_unless_it_may_be_left_out(name):
    record = {key: value for key, value in to_json(ZOO).items() if key != name}
    if name == "note":
        assert from_json(Zoo, record, where="x") == replace(ZOO, note=None)
        return
    with pytest.raises(FormatError, match=f"^x lacks '{name}'$"):
        from_json(Zoo, record, where="x")


def test_members_that_nobody_knows_are_refused_at_every_level():
    with pytest.raises(FormatError, match=r"^x has unknown fields: got 'a', 'b\\n', expected 'schema', 'name', "):
        from_json(Zoo, to_json(ZOO) | {"b\n": 1, "a": 1}, where="x")
    with pytest.raises(FormatError, match=r"^x: spans\[0\] has unknown fields: got 'extra', expected 'first', 'last'$"):
        from_json(Zoo, to_json(ZOO) | {"spans": [{"first": 1, "last": 2, "extra": 3}]}, where="x")


@pytest.mark.parametrize("value", [None, [], 1, "zoo", True])
def test_what_is_no_object_is_no_record(value):
    with pytest.raises(FormatError, match=r"^x must be an object: got "):
        from_json(Zoo, value, where="x")


WRONG = [
    ({"name": "../up"}, "x: name must be 1 to 64 of a-z, 0-9, '_', '.' and '-', the last two not first: got '../up'"),
    ({"digest": "0" * 63}, f"x: digest must be 64 lower-case hexadecimal digits: got '{'0' * 63}'"),
    ({"count": -1}, "x: count must be an integer, at least 0: got -1"),
    ({"note": 2}, "x: note must be an integer, at least 3: got 2"),
    ({"colour": "green"}, "x: colour must be 'red' or 'blue': got 'green'"),
    ({"size": "Small"}, "x: size must be 'small' or 'large': got 'Small'"),
    ({"day": "2025-02-30"}, "x: day: not a day: got '2025-02-30', expected YYYY-MM-DD"),
    ({"day": "20250131"}, "x: day must be a day, YYYY-MM-DD: got '20250131'"),
    ({"form": {"kind": "star"}}, "x: form.kind must be 'circle' or 'square': got 'star'"),
    ({"form": {"side": 1}}, "x: form lacks 'kind'"),
    ({"form": {"kind": ["circle"]}}, "x: form.kind must be 'circle' or 'square': got an array"),
    ({"form": {"kind": "square", "side": 10}}, "x: form.side must be an integer, at least 1 and at most 9: got 10"),
    ({"form": {"kind": "circle", "radius": 0}}, "x: form.radius must be a number, above 0 and below 10: got 0"),
    ({"form": {"kind": "circle", "radius": 10}}, "x: form.radius must be a number, above 0 and below 10: got 10"),
    ({"spans": [{"first": 1, "last": 2}, {"first": 1}]}, "x: spans[1] lacks 'last'"),
    ({"spans": [{"first": 1, "last": True}]}, "x: spans[0].last must be an integer: got true"),
    ({"spans": [{"first": 2, "last": 1}]}, "x: spans[0]: a span must not end before it begins: got 2 to 1"),
    ({"words": []}, "x: words must be an array of at least 1: got 0"),
    ({"words": ["a", "b", "a"]}, "x: words must be an array of different values: got 'a' twice"),
    ({"ordered": [2, 1]}, "x: ordered must be an array in order"),
    ({"ordered": [1, 1]}, "x: ordered must be an array of different values: got 1 twice"),
    (
        {"table": {"k": 1, "K": 2}},
        "x: table.K must be 1 to 64 of a-z, 0-9, '_', '.' and '-', the last two not first: got 'K'",
    ),
    ({"table": {"a b": 1}}, "x: table['a b'] must be 1 to 64 of a-z"),
    ({"table": {"k": 1.5}}, "x: table.k must be an integer: got 1.5"),
    ({"letters": ["a", 1]}, "x: letters[1] must be a string: got 1"),
    ({"text": ["x" * 999]}, "x: text must be a string: got an array"),
    ({"name": "y" * 999}, f"got '{'y' * 99}..."),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_what_breaks_a_rule_is_refused_with_its_place_the_rule_and_the_value(change, message):
    with pytest.raises(FormatError, match=re.escape(message)):
        from_json(Zoo, to_json(ZOO) | change, where="x")


# What no schema says: that a day is in the calendar, the order of an array, and what must hold between members.
UNSAID = ("not a day", "in order", "a span must")


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_the_schema_refuses_it_too(change, message):
    valid = is_valid(to_json(ZOO) | change, json_schema(Zoo))
    assert valid == any(rule in message for rule in UNSAID)


@given(
    name=st.sampled_from(MEMBERS),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-20, 20) | st.floats(-20, 20) | st.sampled_from(["red", "small", "x"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["kind", "side", "k"]), inner),
    ),
)
def test_whatever_is_read_fits_the_schema_and_is_written_as_it_was(name, value):
    record = to_json(ZOO) | {name: value}
    try:
        found = from_json(Zoo, record, where="x")
    except FormatError:
        return
    assert is_valid(record, json_schema(Zoo))
    assert name == "letters" or to_json(found) == record


def test_a_whole_number_is_a_float_and_never_the_other_way_round():
    """Canonical JSON writes 1.0 as 1."""
    found = from_json(Zoo, to_json(ZOO) | {"ratio": 3}, where="x").ratio
    assert (found, type(found)) == (3.0, float)
    with pytest.raises(FormatError, match=r"x: count must be an integer: got 1\.0"):
        from_json(Zoo, to_json(ZOO) | {"count": 1.0}, where="x")


def test_another_schema_is_another_version():
    with pytest.raises(UnknownVersionError, match="x: schema is 'zoo/v2', expected 'zoo/v1'"):
        from_json(Zoo, {"schema": "zoo/v2"}, where="x")


def test_the_bytes_of_a_file_are_canonical():
    with pytest.raises(FormatError, match="x is not canonical JSON"):
        read_json(Zoo, json.dumps(to_json(ZOO)).encode(), where="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../up"}, "Zoo: name must be 1 to 64"),
        ({"count": True}, "Zoo: count must be an integer: got true"),
        (
            {"spans": (Span(1, "2" * 2) if False else Span(1, 2.5),)},
            r"Zoo: spans\[0\].last must be an integer: got 2.5",
        ),
        ({"text": None}, "Zoo lacks 'text'"),
    ],
)
def test_a_record_that_nobody_could_read_is_not_written(change, message):
    with pytest.raises(ValueError, match=message):
        to_json(replace(ZOO, **change))


# -- files that people write


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Settings."""

    schema: Literal["rules/v1"]
    kind: Literal["only"] = "only"
    limit: Annotated[Decimal, Limits(above=0)] = Decimal("0.5")
    days: tuple[date, ...] = ()
    path: Annotated[str, ELSEWHERE] = ""


HEAD = b'schema = "rules/v1"\nkind = "only"\n'


def test_settings_with_a_default_may_be_left_out_of_toml_but_not_what_says_what_it_is():
    assert read_toml(Rules, HEAD, where="x", path="p") == Rules(schema="rules/v1", path="p")
    with pytest.raises(FormatError, match="x lacks 'kind'"):
        read_toml(Rules, b'schema = "rules/v1"\n', where="x", path="p")
    with pytest.raises(FormatError, match="x lacks 'kind', 'schema'"):
        read_toml(Rules, b"", where="x", path="p")
    with pytest.raises(FormatError, match="x lacks 'days', 'limit'"):
        from_json(Rules, {"schema": "rules/v1", "kind": "only"}, where="x", path="p")


def test_toml_has_its_own_numbers_and_dates():
    found = read_toml(Rules, HEAD + b"limit = 0.10\ndays = [2025-01-31]\n", where="x", path="p")
    assert (str(found.limit), found.days) == ("0.10", (date(2025, 1, 31),))
    assert read_toml(Rules, HEAD + b"limit = 2\n", where="x", path="p").limit == Decimal(2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"limit = nan", "x: limit must be a number that is finite: got NaN"),
        (b"limit = inf", "x: limit must be a number that is finite: got Infinity"),
        (b"limit = 1e400", r"x: limit must be a number that is finite: got 1E\+400"),
        (b"limit = 0", "x: limit must be a number, above 0: got 0"),
        (b"limit = true", "x: limit must be a number: got true"),
        (b"days = [2025-01-31T00:00:00]", r"x: days\[0\] must be a date: got 2025-01-31 00:00:00"),
        (b'path = "q"', "x has unknown fields: got 'path'"),
        (b"limit = 1\nlimit = 2", "x is not TOML: "),
        (b"\xff", "x is not TOML: "),
        (b"days = " + b"[" * 9999, "x is not TOML: "),
    ],
)
def test_what_is_wrong_in_toml_is_said_with_its_place(text, message):
    with pytest.raises(FormatError, match=message):
        read_toml(Rules, HEAD + text, where="x", path="p")


def test_what_is_stored_elsewhere_is_neither_read_nor_written():
    given = from_toml(Rules, {"schema": "rules/v1", "kind": "only"}, where="x", path="p")
    assert given.path == "p"
    assert "path" not in json_schema(Rules)["properties"]


def test_a_schema_says_what_the_record_is_and_which_members_it_must_have():
    whole, partly = json_schema(Rules), json_schema(Rules, complete=False)
    assert (whole["title"], whole["description"]) == ("Rules", "Settings.")
    assert (whole["required"], partly["required"]) == (["days", "kind", "limit", "schema"], ["kind", "schema"])
    assert json_schema(Zoo)["description"] == "One member of every type."


def test_a_type_that_no_file_can_hold_is_a_mistake_in_the_declaration():
    @dataclass(frozen=True)
    class Wrong:
        value: complex

    with pytest.raises(TypeError, match=r"complex.* cannot be stored"):
        json_schema(Wrong)
