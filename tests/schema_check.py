"""Checks a value against a JSON Schema: the keywords that ours use, and no others."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float, Decimal)) and not isinstance(value, bool),
}
CHECKS = {
    "type": lambda value, kind, _: TYPES[kind](value),
    "const": lambda value, expected, _: value == expected and type(value) is type(expected),
    "enum": lambda value, allowed, _: isinstance(value, str) and value in allowed,
    "pattern": lambda value, regex, _: not isinstance(value, str) or re.search(regex.replace("$", r"\Z"), value),
    "minimum": lambda value, limit, _: not TYPES["number"](value) or value >= limit,
    "maximum": lambda value, limit, _: not TYPES["number"](value) or value <= limit,
    "exclusiveMinimum": lambda value, limit, _: not TYPES["number"](value) or value > limit,
    "exclusiveMaximum": lambda value, limit, _: not TYPES["number"](value) or value < limit,
    "items": lambda value, schema, _: not isinstance(value, list) or all(is_valid(item, schema) for item in value),
    "minItems": lambda value, least, _: not isinstance(value, list) or len(value) >= least,
    "uniqueItems": lambda value, _yes, _: not isinstance(value, list) or len({repr(x) for x in value}) == len(value),
    "required": lambda value, names, _: not isinstance(value, dict) or set(names) <= set(value),
    "properties": lambda value, members, _: all(
        is_valid(value[name], members[name]) for name in members.keys() & _keys(value)
    ),
    "propertyNames": lambda value, schema, _: all(is_valid(name, schema) for name in _keys(value)),
    "additionalProperties": lambda value, schema, whole: all(
        is_valid(value[name], schema) if isinstance(schema, dict) else schema
        for name in _keys(value) - set(whole.get("properties", {}))
    ),
    "oneOf": lambda value, schemas, _: sum(is_valid(value, schema) for schema in schemas) == 1,
}
WORDS = {"$schema", "title", "description", "format"}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    assert schema.keys() <= CHECKS.keys() | WORDS
    return all(CHECKS[word](value, schema[word], schema) for word in schema.keys() - WORDS)


def _keys(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()
