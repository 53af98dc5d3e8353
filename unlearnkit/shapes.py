"""How values of each type stand in a file: read strictly, written, and described as JSON Schema.

`unlearnkit.records` puts shapes together from declarations. A shape is told a parsed value, and not where that is: a
`MisfitError` collects the path on its way out, so that reading what is right costs nothing for what might be wrong.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from unlearnkit.names import Pattern

Json = dict[str, Any]


class MisfitError(ValueError):
    """A value that its declaration does not allow. path: the steps to it, innermost first."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str | int] = []

    def at(self, step: str | int) -> MisfitError:
        """The same, seen from one level further out."""
        self.path.append(step)
        return self

    def told(self, where: str) -> str:
        """The whole message."""
        steps = "".join(f".{step}" if str(step).isidentifier() else f"[{step!r}]" for step in reversed(self.path))
        return f"{where}{': ' if steps else ''}{steps.removeprefix('.')}{self.problem}"


@dataclass(frozen=True, slots=True)
class Shape:
    """read: from a parsed value; raises MisfitError. write: what is read so. schema: the JSON Schema of that."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    schema: Json


@dataclass(frozen=True, slots=True)
class Limits:
    """What a number must be: ``least`` and ``most`` may be reached, ``above`` and ``below`` not."""

    least: int | None = None
    most: int | None = None
    above: int | None = None
    below: int | None = None

    def hold(self, value: float | Decimal) -> bool:
        """Whether a number is within them."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def schema(self) -> Json:
        """The keywords that say so."""
        words = {"minimum": self.least, "maximum": self.most}
        words |= {"exclusiveMinimum": self.above, "exclusiveMaximum": self.below}
        return {word: limit for word, limit in words.items() if limit is not None}

    def __str__(self) -> str:
        words = {"at least": self.least, "at most": self.most, "above": self.above, "below": self.below}
        return " and ".join(f"{word} {limit}" for word, limit in words.items() if limit is not None)


@dataclass(frozen=True, slots=True)
class Items:
    """What a tuple must be. distinct: nothing is in it twice. in_order: as `sorted` has it, and nothing twice."""

    least: int = 0
    distinct: bool = False
    in_order: bool = False

    def problem(self, found: list[Any]) -> str:
        """What is wrong with a list; nothing if nothing is."""
        if len(found) < self.least:
            return f" must be an array of at least {self.least}: got {len(found)}"
        if (self.distinct or self.in_order) and len(set(found)) < len(found):
            seen: set[Any] = set()
            twice = next(item for item in found if item in seen or seen.add(item))  # type: ignore[func-returns-value]
            return f" must be an array of different values: got {_shown(twice)} twice"
        if self.in_order and found != sorted(found):
            return " must be an array in order"
        return ""

    def schema(self) -> Json:
        """The keywords that say so."""
        distinct = {"uniqueItems": True} if self.distinct or self.in_order else {}
        return ({"minItems": self.least} if self.least else {}) | distinct


@dataclass(frozen=True, slots=True)
class As:
    """A value that is stored as another type. read: a ValueError says what is wrong with what was stored."""

    stored: Any
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def anything() -> Shape:
    """Any JSON value, as it is."""
    return Shape(_same, _same, {})


def text(pattern: Pattern | None) -> Shape:
    """A string, of a pattern if there is one."""
    what = pattern.what if pattern else "a string"

    def read(value: object) -> str:
        if type(value) is not str or (pattern is not None and not pattern.fits(value)):
            raise _wrong(what, value)
        return sys.intern(value) if pattern is not None else value  # words, ids and digests come again and again

    return Shape(read, _same, {"type": "string"} | ({"pattern": f"^({pattern.regex})$"} if pattern else {}))


SCALARS: dict[type, tuple[tuple[type, ...], str, Json]] = {
    int: ((int,), "an integer", {"type": "integer"}),
    float: ((float, int), "a number", {"type": "number"}),
    Decimal: ((Decimal, int), "a number", {"type": "number"}),
    bool: ((bool,), "true or false", {"type": "boolean"}),
    date: ((date,), "a date", {"type": "string", "format": "date"}),
}
"""Types of numbers, of true and false, and of TOML's dates: what each is read from, exactly; its name; its schema."""


def scalar(kind: type, limits: Limits) -> Shape:
    """A value of one of `SCALARS`."""
    kinds, what, schema = SCALARS[kind]

    def read(value: Any) -> Any:  # noqa: ANN401
        if type(value) not in kinds:
            raise _wrong(what, value)
        if isinstance(value, (float, Decimal)) and not math.isfinite(value):
            raise _wrong(f"{what} that is finite", value)
        if not limits.hold(value):
            raise _wrong(f"{what}, {limits}", value)
        return value if type(value) is kind else kind(value)

    return Shape(read, _same, schema | limits.schema())


def one_of(values: Mapping[str, Any]) -> Shape:
    """Words of a Literal, or members of a StrEnum; ``values`` by their text."""

    def read(value: object) -> Any:  # noqa: ANN401
        if type(value) is not str or value not in values:
            raise _wrong(" or ".join(map(repr, values)), value)
        return values[value]

    return Shape(read, str, {"enum": list(values)} if len(values) > 1 else {"const": next(iter(values))})


def many(item: Shape, items: Items) -> Shape:
    """A tuple of any length."""

    def read(value: object) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _wrong("an array", value)
        found: list[Any] = []
        try:
            for element in value:
                found.append(item.read(element))  # noqa: PERF401  how many were read says which one is wrong
        except MisfitError as err:
            raise err.at(len(found)) from None
        if problem := items.problem(found):
            raise MisfitError(problem)
        return tuple(found)

    def write(value: Iterable[Any]) -> list[Any]:
        return [item.write(element) for element in value]

    return Shape(read, write, {"type": "array", "items": item.schema} | items.schema())


def table(key: Shape, item: Shape) -> Shape:
    """A mapping from texts."""

    def read(value: object) -> dict[Any, Any]:
        if type(value) is not dict:
            raise _wrong("an object", value)
        found, name = {}, ""
        try:
            for name, element in value.items():
                found[key.read(name)] = item.read(element)
        except MisfitError as err:
            raise err.at(name) from None
        return found

    def write(value: Mapping[Any, Any]) -> Json:
        return {key.write(name): item.write(element) for name, element in value.items()}

    return Shape(read, write, {"type": "object", "propertyNames": key.schema, "additionalProperties": item.schema})


def converted(stored: Shape, how: As) -> Shape:
    """A value that is stored as another type."""

    def read(value: object) -> Any:  # noqa: ANN401
        found = stored.read(value)
        try:
            return how.read(found)
        except ValueError as err:
            raise MisfitError(f": {err}") from None

    return Shape(read, lambda value: stored.write(how.write(value)), stored.schema)


def record(kind: type, make: Callable[..., Any], members: Mapping[str, Shape], required: frozenset[str]) -> Shape:
    """An object. make: takes the members by name; a ValueError says what is wrong with them together."""

    def read(value: object) -> Any:  # noqa: ANN401
        if type(value) is not dict:
            raise _wrong("an object", value)
        if not required <= value.keys() <= members.keys():
            raise _other_members(value, members, required)
        given, name = {}, ""
        try:
            for name, item in value.items():
                given[name] = members[name].read(item)
        except MisfitError as err:
            raise err.at(name) from None
        try:
            return make(**given)
        except ValueError as err:
            raise MisfitError(f": {err}") from None

    def write(value: object) -> Json:
        found = ((name, member, getattr(value, name)) for name, member in members.items())
        return {name: member.write(item) for name, member, item in found if item is not None}

    schema = {
        "type": "object",
        "title": kind.__name__,
        "description": inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " "),
        "properties": {name: member.schema for name, member in members.items()},
        "required": sorted(required),
        "additionalProperties": False,
    }
    return Shape(read, write, schema)


def one_kind_of(records: Iterable[Shape]) -> Shape:
    """Records that their constant member ``kind`` tells apart."""
    by_kind = {item.schema["properties"]["kind"]["const"]: item for item in records}

    def read(value: object) -> Any:  # noqa: ANN401
        if type(value) is not dict:
            raise _wrong("an object", value)
        if "kind" not in value:
            raise MisfitError(" lacks 'kind'")
        kind = value["kind"]
        if type(kind) is not str or kind not in by_kind:
            raise _wrong(" or ".join(map(repr, by_kind)), kind).at("kind")
        return by_kind[kind].read(value)

    return Shape(
        read, lambda value: by_kind[value.kind].write(value), {"oneOf": [item.schema for item in by_kind.values()]}
    )


def _other_members(value: Json, members: Mapping[str, Shape], required: frozenset[str]) -> MisfitError:
    if missing := sorted(required - value.keys()):
        return MisfitError(f" lacks {', '.join(map(repr, missing))}")
    unknown = sorted(value.keys() - members.keys())
    known = ", ".join(map(repr, members))
    return MisfitError(f" has unknown fields: got {', '.join(map(_shown, unknown))}, expected {known}")


def _wrong(expected: str, value: object) -> MisfitError:
    return MisfitError(f" must be {expected}: got {_shown(value)}")


def _shown(value: object) -> str:
    """A parsed value in an error: short, and without its contents if it has any."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    told = repr(value) if isinstance(value, str) else str(value)
    return told if len(told) <= 100 else f"{told[:100]}..."


def _same(value: Any) -> Any:  # noqa: ANN401
    return value
