"""RFC 8785 against its published vectors, JavaScript itself and a second library; parsing against known abuses."""

from __future__ import annotations

import json
import random
import struct
import subprocess

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import needs
from unlearnkit import canonical
from unlearnkit.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    canonicalize,
    parse_canonical,
    parse_json,
)
from unlearnkit.errors import FormatError

JCS_NAMES = ("arrays", "french", "structures", "unicode", "values", "weird")

# RFC 8785 appendix B: the bits of a double, and how it is written.
APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: not MAX_INTEGER < abs(value) < 1e21)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", JCS_NAMES)
def test_published_vectors_come_out_byte_for_byte(vectors, name):
    folder = vectors / "jcs"
    value = parse_json((folder / "input" / f"{name}.json").read_bytes(), where=name)
    assert canonicalize(value) == (folder / "output" / f"{name}.json").read_bytes()
    assert canonicalize(value) == bytes.fromhex((folder / "outhex" / f"{name}.txt").read_text())


def test_every_published_vector_is_among_them(vectors):
    assert sorted(path.stem for path in (vectors / "jcs" / "input").iterdir()) == sorted(JCS_NAMES)


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B.items())
def test_doubles_are_written_as_in_appendix_b(bits, text):
    assert canonical._number(_double(bits)) == text


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_doubles_that_json_does_not_have_are_refused(bits):
    with pytest.raises(ValueError, match="no NaN and no infinities"):
        canonicalize([_double(bits)])


@needs.program("node")
def test_doubles_are_written_as_javascript_writes_them():
    numbers = [number for number in _assorted_doubles(20_000) if number - number == 0]
    bits = [struct.pack(">d", number).hex() for number in numbers]
    script = """
        const bits = JSON.parse(require("fs").readFileSync(0, "utf8"));
        process.stdout.write(bits.map(text => JSON.stringify(Buffer.from(text, "hex").readDoubleBE(0))).join("\\n"));
    """
    run = subprocess.run(["node", "-e", script], input=json.dumps(bits), capture_output=True, text=True, check=True)
    assert [canonical._number(number) for number in numbers] == run.stdout.split("\n")


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_another_library_writes_the_same_bytes(value):
    assert canonicalize(value) == rfc8785.dumps(value)


@given(json_values)
def test_writing_and_reading_is_a_round_trip_with_one_fixed_point(value):
    raw = canonicalize(value)
    assert parse_canonical(raw, where="value") == value
    assert canonicalize(parse_json(raw, where="value")) == raw


def test_keys_are_sorted_by_utf16_units_not_by_code_points():
    assert canonicalize({"\ufb33": 1, "\U0001f600": 2, "a": 3}) == '{"a":3,"\U0001f600":2,"\ufb33":1}'.encode()


def test_tuples_are_arrays_and_whole_floats_are_integers():
    assert canonicalize((1.0, -0.0, 2.0**53 - 1, 1e21)) == b"[1,0,9007199254740991,1e+21]"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [2**53]}, r"integer beyond 2\^53 - 1 at \$\['a'\]\[0\]"),
        (-(2**53), r"integer beyond 2\^53 - 1 at \$"),
        ({1: 2}, r"key of type int at \$: keys must be str"),
        ({"a": "\ud800"}, r"lone surrogate at \$\['a'\]"),
        ({"\udfff": 1}, r"lone surrogate at \$"),
        (float("nan"), r"nan at \$: JSON has no NaN"),
        ([2.0**53], r"9007199254740992.0 at \$\[0\] would be written as an integer beyond 2\^53 - 1"),
        (-9e20, r"-9e\+20 at \$ would be written as an integer beyond 2\^53 - 1"),
    ],
)
def test_what_json_cannot_carry_is_the_callers_mistake(value, message):
    with pytest.raises(ValueError, match=message):
        canonicalize(value)


@pytest.mark.parametrize("value", [{"a": b"bytes"}, {"a": {1, 2}}, type("Text", (str,), {})("x"), 1j])
def test_types_that_json_does_not_have_are_refused(value):
    with pytest.raises(TypeError, match="is not a JSON type at"):
        canonicalize(value)


def test_values_that_contain_themselves_are_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="more than 64 levels"):
        canonicalize(value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Expecting value"),
        (b'{"a":1,"a":1}', "the key 'a' is repeated"),
        (b'{"a":1,"\\u0061":1}', "the key 'a' is repeated"),
        (b"[NaN]", "no NaN"),
        (b"[-Infinity]", "no NaN and no infinities"),
        (b"[1e400]", "no NaN and no infinities"),
        (b"9007199254740992", "integer beyond"),
        (b"-9007199254740992", "integer beyond"),
        (b"1e16", "integer beyond"),
        (b"1" * 5000, "limit"),
        (b"1 2", "Extra data"),
        (b"{}\x00", "Extra data"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'"\xff"', "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b'"\\ud800"', "lone surrogate"),
        ('{"a":1}'.encode("utf-16"), "utf-8"),
        (b"[1,]", "Illegal trailing comma|Expecting value"),
        (b"{'a':1}", "Expecting property name"),
        (b"[01]", "Expecting ',' delimiter"),
        (b'"\n"', "Invalid control character"),
        (b"[" * 100_000, "more than 64 levels"),
        (b"[" * 66 + b"]" * 66, "more than 64 levels"),
        (b'{"a":' * 66 + b"1" + b"}" * 66, "more than 64 levels"),
    ],
)
def test_json_that_readers_understand_differently_is_malformed(raw, message):
    with pytest.raises(FormatError, match=f"(?s)thing.json is not strict JSON: .*({message})"):
        parse_json(raw, where="thing.json")


def test_nesting_up_to_the_limit_is_read():
    raw = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    assert canonicalize(parse_json(raw, where="nest")) == raw


def test_the_largest_integers_are_read():
    assert parse_json(b"[9007199254740991,-9007199254740991]", where="x") == [MAX_INTEGER, -MAX_INTEGER]


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        (b'{"b":1,"a":2}', 2),
        (b'{"a":2, "b":1}', 7),
        (b'{"a":2,"b":1}\n', 13),
        (b"[1.0]", 2),
        (b"[-0]", 1),
        (b"[1E3]", 2),
        (b'["\\u0061"]', 2),
        (b'["\\/"]', 2),
        (b'["\\u001F"]', 7),
    ],
)
def test_another_spelling_of_the_same_value_is_not_canonical(raw, at):
    parse_json(raw, where="x")
    with pytest.raises(FormatError, match=rf"x is not canonical JSON: first difference at byte {at} \(RFC 8785\)"):
        parse_canonical(raw, where="x")


@settings(deadline=None)
@given(json_values, st.data())
def test_no_other_bytes_within_one_flip_have_the_same_value(value, data):
    raw = canonicalize(value)
    position = data.draw(st.integers(0, len(raw) - 1))
    flipped = bytearray(raw)
    flipped[position] ^= data.draw(st.integers(1, 255))
    try:
        other = parse_canonical(bytes(flipped), where="x")
    except FormatError:
        return
    assert canonicalize(other) == bytes(flipped) != raw


def _double(bits: str) -> float:
    return struct.unpack(">d", bytes.fromhex(bits))[0]


def _assorted_doubles(count: int) -> list[float]:
    """Random bits, and the neighbourhood of the powers of ten, where the notation changes."""
    generator = random.Random(8785)
    numbers = [struct.unpack(">d", generator.randbytes(8))[0] for _ in range(count)]
    for exponent in range(-30, 31):
        (bits,) = struct.unpack(">q", struct.pack(">d", 10.0**exponent))
        numbers += [struct.unpack(">d", struct.pack(">q", bits + step))[0] for step in range(-3, 4)]
        numbers += [generator.randrange(1, 10**6) * 10.0**exponent, -generator.random() * 10.0**exponent]
    return numbers


QUICK = (b'{"a":1,"b":[true,null,"x"],"c":{"d":-7}}', b'{"a":"\\u0001\\n\\"","b":""}')


@pytest.mark.parametrize(
    "raw",
    [
        *QUICK,
        b'{"a":1,"a":1}',
        b'{"b":1,"a":2}',
        b'{"a":-0}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":9007199254740993}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u00e4"}',
        b'{"a": 1}',
        b'{"a":"\\/"}',
        b'{"a":NaN}',
        b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
        b"[1]",
        b'{"a":1',
    ],
)
def test_the_quick_way_to_read_says_what_the_thorough_one_does_or_nothing(raw):
    found = canonical._plain(raw)
    assert found is None or canonical._parse(raw, where="it") == (found, raw)
    assert (found is not None) == (raw in QUICK)
