"""Canonical JSON (RFC 8785), strict JSON parsing, base64, and SHA-256 digests.

One walk over a value does what both directions need: it refuses what JSON cannot carry between programs (NaN,
integers that a double would round, lone surrogates, deep nesting), sorts keys by UTF-16 code units and writes floats
as ECMAScript does. orjson writes the rest: its escapes and integers are those of RFC 8785, while its own key order
(by code point) and floats (``1.0``, ``1e16``, ``1e-6``) are not.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from decimal import Decimal
from pathlib import Path

import orjson

from unlearnkit.errors import FormatError

MAX_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 8785 section 3.1, RFC 7493 section 2.2)."""

MAX_DEPTH = 64
"""Nesting of arrays and objects that is read and written; the formats here need fewer than ten levels."""


MAX_VALUES = 2**22
"""Values in one JSON text that is read, counted by its commas and brackets: what bounds the memory that it takes."""


def canonicalize(value: object) -> bytes:
    """The one RFC 8785 encoding of ``value``: dict, list, tuple, str, int, float, bool, None, and not their subclasses.

    Raises ValueError for NaN, infinities, integers beyond ``MAX_INTEGER``, keys that are not str, lone surrogates and
    more than ``MAX_DEPTH`` levels; TypeError for any other type. Floats from 2^53 to 10^21 are ValueError too: written
    without an exponent, they would read as integers beyond ``MAX_INTEGER``; such numbers go into text.
    """
    return orjson.dumps(_ordered(value, None, 0))


def parse_json(raw: bytes, *, where: str) -> object:
    """The value of one JSON text that every reader understands alike (I-JSON, RFC 7493); ``where`` names it in errors.

    Raises FormatError for anything but UTF-8 without a byte order mark, and for repeated keys, NaN, infinities,
    integers beyond ``MAX_INTEGER``, lone surrogates, more than ``MAX_DEPTH`` levels, and bytes after the value.
    """
    return _parse(raw, where=where)[0]


def parse_canonical(raw: bytes, *, where: str) -> object:
    """`parse_json` for what only we write: the bytes must be the canonical ones, so that a value has one digest."""
    if (plain := _plain(raw)) is not None:
        return plain
    value, canonical = _parse(raw, where=where)
    if canonical != raw:
        raise FormatError(
            f"{where} is not canonical JSON: first difference at byte {_first_difference(raw, canonical)} (RFC 8785)"
        )
    return value


def decode_base64(text: str, *, where: str) -> bytes:
    """Standard, padded base64 (RFC 4648 section 4) of which there is only one for given bytes.

    Raises FormatError for another alphabet, missing padding, line breaks, and bits that decoding would drop.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as err:
        raise FormatError(f"{where} is not base64: {err}") from err
    if encode_base64(data) != text:
        raise FormatError(f"{where} is not canonical base64: its padding carries data")
    return data


def encode_base64(data: bytes) -> str:
    """Standard, padded base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def sha256_hex(data: bytes) -> str:
    """SHA-256 of ``data``, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256_hex(path: Path) -> str:
    """SHA-256 of a file of any size, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_NO_PLAIN_INTEGER = re.compile(rb"[:,\[]-?[0-9]+[.eE]|[:,\[]-?[0-9]{16}")


def _plain(raw: bytes) -> dict[str, object] | None:
    """The object in canonical bytes, if they are ASCII with short integers for numbers, as most are; None: look closer.

    Of such a value orjson writes what RFC 8785 wants, keys in order and each once, so that what it writes the same is
    canonical. Everything that it reads or writes otherwise is told apart by `_parse`, which also says what is wrong.
    """
    if not raw.startswith(b"{") or not raw.isascii() or len(raw) > MAX_VALUES or _NO_PLAIN_INTEGER.search(raw):
        return None
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        return None
    try:
        value: dict[str, object] = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if orjson.dumps(value, option=orjson.OPT_SORT_KEYS) == raw else None


def _parse(raw: bytes, *, where: str) -> tuple[object, bytes]:
    """The value and its canonical bytes: writing it canonically is the check that it can be written at all."""
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise FormatError(f"{where} has too many values: more than {MAX_VALUES}")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
        return value, canonicalize(value)
    except RecursionError:
        raise FormatError(f"{where} is not strict JSON: more than {MAX_DEPTH} levels") from None
    except ValueError as err:
        raise FormatError(f"{where} is not strict JSON: {err}") from err


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record: dict[str, object] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"the key {key!r} is repeated")
        record[key] = value
    return record


_Path = tuple["_Path", str | int] | None  # outer path and last step; written out only when there is something to say


def _ordered(value: object, path: _Path, depth: int) -> object:
    """``value`` with its keys sorted and its floats already written."""
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels")
    if type(value) is str:
        return _text(value, path)
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return _integer(value, path)
    if type(value) is float:
        return orjson.Fragment(_number(_float(value, path)))
    if type(value) is list or type(value) is tuple:
        return [_ordered(item, (path, index), depth + 1) for index, item in enumerate(value)]
    if type(value) is dict:
        keys = sorted((_key(key, path) for key in value), key=_utf16)
        return {key: _ordered(value[key], (path, key), depth + 1) for key in keys}
    raise TypeError(f"{type(value).__name__} is not a JSON type at {_written(path)}")


def _key(key: object, path: _Path) -> str:
    if type(key) is not str:
        raise ValueError(f"key of type {type(key).__name__} at {_written(path)}: keys must be str")
    return _text(key, path)


def _integer(value: int, path: _Path) -> int:
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"integer beyond 2^53 - 1 at {_written(path)}")
    return value


def _float(value: float, path: _Path) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} at {_written(path)}: JSON has no NaN and no infinities")
    if MAX_INTEGER < abs(value) < 1e21:
        raise ValueError(f"{value} at {_written(path)} would be written as an integer beyond 2^53 - 1")
    return value


def _text(text: str, path: _Path) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"text with a lone surrogate at {_written(path)}")
    return text


def _written(path: _Path) -> str:
    """A path such as ``$['probes'][2]``."""
    return "$" if path is None else f"{_written(path[0])}[{path[1]!r}]"


def _utf16(key: str) -> bytes:
    """Sort key of RFC 8785 section 3.2.3: UTF-16 code units, not code points."""
    return key.encode("utf-16-be")


def _number(value: float) -> str:
    """A finite double as ECMAScript prints it (RFC 8785 section 3.2.2.3, ECMA-262 Number::toString).

    Both print the shortest digits that read back as the same double, and of those the nearest; only the place of the
    point and the form of the exponent differ.
    """
    if value == 0:
        return "0"
    parts = Decimal(repr(abs(value))).as_tuple()
    digits = "".join(map(str, parts.digits)).rstrip("0")
    point = len(parts.digits) + int(parts.exponent)  # value = 0.digits * 10^point
    return "-" * (value < 0) + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point < len(digits):
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _first_difference(left: bytes, right: bytes) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
