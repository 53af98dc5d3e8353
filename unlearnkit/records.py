"""Stored records, declared once: a frozen dataclass says what may stand in a file, and how it is written.

`from_json` and `from_toml` turn a parsed value into the record, `to_json` turns it back, and `json_schema` says the
same to others. Reading is strict: true is no integer, 1.5 is none, a whole number is a float only because canonical
JSON writes one so; unknown and missing members are refused, and errors name the place::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Shape:
        name: ProbeName               # a text that fits a pattern of `names`
        shape: tuple[Count, ...]      # an array of integers that are not negative
        note: str | None = None       # may be left out; null is nowhere accepted

The types are str, int, float, bool, Decimal and date (as TOML has them), Literal, StrEnum, Any, records, tuples of any
length, mappings from texts, and unions of records that a Literal member ``kind`` tells apart. ``Annotated`` adds a
`Pattern` of `names` to a text, and of `shapes` `Limits` to a number, `Items` to a tuple; `As` says that a value is
stored as another type, `ELSEWHERE` in another place. What must hold between members stands in ``__post_init__``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from unlearnkit import shapes
from unlearnkit.canonical import canonicalize, parse_canonical
from unlearnkit.errors import FormatError, UnknownVersionError
from unlearnkit.names import Pattern
from unlearnkit.shapes import As, Items, Limits, MisfitError, Shape

T = TypeVar("T")

ELSEWHERE: Final = "stored elsewhere"
"""Annotates what is no member of the stored form of an outermost record: whoever reads one gives it."""

MAX_DOTS = 200
"""Dots in one line of TOML: each may be a table within another."""

Count: TypeAlias = Annotated[int, Limits(least=0)]
"""How many; or a position, counted from 0."""


_DAY = Pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}", "a day, YYYY-MM-DD")


@lru_cache(maxsize=4096)  # many things happen on one day
def read_day(text: str) -> date:
    """``2025-01-31``, and no other form of a date. ValueError for what is none."""
    try:
        if _DAY.fits(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"not a day: got {text!r}, expected YYYY-MM-DD")


Day: TypeAlias = Annotated[date, As(Annotated[str, _DAY], read_day, date.isoformat)]
"""A day in JSON; TOML has dates of its own."""


def from_json(kind: type[T], value: object, /, *, where: str, **elsewhere: object) -> T:
    """The record of type ``kind`` in a parsed JSON value: every member must be there that can be anything but None.

    Args:
        kind: a frozen dataclass that declares the record.
        value: what `unlearnkit.canonical.parse_canonical` or `parse_json` returned.
        where: what to call the value in errors.
        elsewhere: the members that are `ELSEWHERE`.

    Raises:
        FormatError: anything that the declaration does not allow, and where.
        UnknownVersionError: the member ``schema`` is another one.

    """
    return _from(kind, value, where, elsewhere, complete=True)  # type: ignore[no-any-return]


def from_toml(kind: type[T], value: object, /, *, where: str, **elsewhere: object) -> T:
    """`from_json` for what people write, in TOML: members with a default may be left out."""
    return _from(kind, value, where, elsewhere, complete=False)  # type: ignore[no-any-return]


def read_json(kind: type[T], raw: bytes, /, *, where: str, **elsewhere: object) -> T:
    """The record in a file of canonical JSON. Raises as `from_json`."""
    return from_json(kind, parse_canonical(raw, where=where), where=where, **elsewhere)


def read_toml(kind: type[T], raw: bytes, /, *, where: str, **elsewhere: object) -> T:
    """The record in a TOML file. Raises as `from_json`."""
    if any(line.count(b".") > MAX_DOTS for line in raw.splitlines()):
        raise FormatError(f"{where} is not TOML that anybody writes: more than {MAX_DOTS} dots in one line")
    try:
        value = tomllib.loads(raw.decode("utf-8"), parse_float=_decimal)
    except RecursionError:
        raise FormatError(f"{where} is not TOML: it is nested too deeply") from None
    except ValueError as err:
        raise FormatError(f"{where} is not TOML: {err}") from err
    return from_toml(kind, value, where=where, **elsewhere)


def _decimal(text: str) -> Decimal:
    """A number of TOML; ValueError for one that arithmetic could not hold."""
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"not a number that can be held: {text[:100]}") from None


def to_json(record: object) -> Any:  # noqa: ANN401
    """What `from_json` reads as ``record``: JSON types only, without the members that are None.

    Raises:
        ValueError: the record is not what its own declaration allows; nobody could read it.

    """
    kind: Any = type(record)
    shape = _shape(kind, complete=True)
    try:
        value = shape.write(record)
        shape.read(value)
    except MisfitError as err:
        raise ValueError(err.told(kind.__name__)) from None
    return value


def write_json(record: object) -> bytes:
    """The record as a file of canonical JSON. ValueError as `to_json`."""
    return canonicalize(to_json(record))


def json_schema(kind: type, *, complete: bool = True) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record. complete: as `from_json` reads it, else as `from_toml` does."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_shape(kind, complete=complete).schema}


def _from(kind: Any, value: object, where: str, elsewhere: Mapping[str, object], *, complete: bool) -> Any:  # noqa: ANN401
    shape = _shape(kind, complete=complete)
    expected = shape.schema.get("properties", {}).get("schema", {}).get("const")
    if expected and isinstance(value, dict) and "schema" in value and value["schema"] != expected:
        raise UnknownVersionError(f"{where}: schema is {value['schema']!r}, expected {expected!r}")
    try:
        found = shape.read(value)
        return found(**elsewhere) if elsewhere else found
    except MisfitError as err:
        raise FormatError(err.told(where)) from None
    except ValueError as err:
        raise FormatError(f"{where}: {err}") from None


@cache
def _shape(hint: Any, *, complete: bool) -> Shape:  # noqa: ANN401, PLR0911  one line a kind of type
    """How values of an annotated type are stored. complete: a member with a default must be there all the same."""
    base, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    origin, arguments = get_origin(base), get_args(base)
    within = partial(_shape, complete=complete)
    if (how := _mark(marks, As)) is not None:
        return shapes.converted(within(how.stored), how)
    if base is Any:
        return shapes.anything()
    if base is str:
        return shapes.text(_mark(marks, Pattern))
    if base in shapes.SCALARS:
        return shapes.scalar(base, _mark(marks, Limits) or Limits())
    if origin is Literal:
        return shapes.one_of({word: word for word in arguments})
    if isinstance(base, type) and issubclass(base, StrEnum):
        return shapes.one_of({member.value: member for member in base})
    if origin is tuple and arguments[1:] == (...,):
        return shapes.many(within(arguments[0]), _mark(marks, Items) or Items())
    if origin is Mapping:
        return shapes.table(*map(within, arguments))
    if origin in (UnionType, Union):
        return shapes.one_kind_of(map(within, arguments))
    return _record(base, complete=complete)


def _mark(marks: list[object], kind: type[T]) -> T | None:
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def _record(kind: Any, *, complete: bool) -> Shape:  # noqa: ANN401
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise TypeError(f"{kind!r} cannot be stored: expected a dataclass, or one of the types that `records` names")
    hints = get_type_hints(kind, include_extras=True)
    stored = [field for field in fields(kind) if ELSEWHERE not in getattr(hints[field.name], "__metadata__", ())]
    members, required = {}, set()
    for field in stored:
        hint, may_be_none = _without_none(hints[field.name])
        members[field.name] = shape = _shape(hint, complete=complete)
        if not may_be_none and (complete or not _has_default(field) or "const" in shape.schema):
            required.add(field.name)
    # What is stored elsewhere is given to what reading returns then.
    make: Callable[..., Any] = kind if len(stored) == len(fields(kind)) else partial(partial, kind)
    return shapes.record(kind, make, members, frozenset(required))


def _without_none(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401
    """``X`` of ``X | None``, the type of a member that may be left out; and whether it is one."""
    if get_origin(hint) not in (UnionType, Union):
        return hint, False
    kept = tuple(member for member in get_args(hint) if member is not NoneType)
    return Union[kept], len(kept) < len(get_args(hint))  # noqa: UP007  made of a tuple


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
