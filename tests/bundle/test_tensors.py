"""Arrays in safetensors files."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from unlearnkit.bundle import complex_numbers, real_pairs
from unlearnkit.bundle.tensors import misfit, parse_tensors, read_tensors, tensor_bytes
from unlearnkit.errors import FormatError


@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_pairs_keep_every_bit_of_complex_numbers(kind, shape):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(kind)
    pairs = real_pairs(array)
    assert pairs.shape == (*shape, 2)
    assert pairs.dtype == array.real.dtype
    back = complex_numbers(pairs)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, array)


def test_complex_numbers_may_come_from_any_layout():
    pairs = np.arange(12.0).reshape(2, 3, 2).transpose(1, 0, 2)
    np.testing.assert_array_equal(complex_numbers(pairs), pairs[..., 0] + 1j * pairs[..., 1])


def test_a_file_is_what_the_format_says():
    """safetensors: length of the header in 8 bytes, the header in JSON, the numbers."""
    raw = tensor_bytes({"b": np.array([1.5, 2.5], np.float32), "a": np.array(7)})
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    start, end = header["b"]["data_offsets"]
    assert header["b"]["dtype"] == "F32"
    assert struct.unpack("<2f", raw[8 + length :][start:end]) == (1.5, 2.5)
    assert header["a"]["shape"] == []


def test_the_order_of_the_arrays_does_not_show():
    arrays = {"b": np.ones(3), "a": np.arange(4), "c": np.ones((2, 2), np.float32)}
    assert tensor_bytes(arrays) == tensor_bytes(dict(reversed(arrays.items())))


def test_arrays_come_back_by_name_every_time():
    raw = tensor_bytes({name: np.ones(i) for i, name in enumerate("cadb")})
    for _ in range(20):
        assert list(parse_tensors(raw, where="f")) == ["a", "b", "c", "d"]


def test_arrays_come_back_as_they_went():
    arrays = {"scalar": np.array(2.5), "strided": np.arange(12.0).reshape(3, 4)[:, ::2], "none": np.ones((0, 3))}
    back = read_tensors(tensor_bytes(arrays), {name: a.shape for name, a in arrays.items()}, "float64", where="f")
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize("raw", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{]", tensor_bytes({"a": np.ones(3)})[:-1]])
def test_anything_else_is_refused(raw):
    with pytest.raises(FormatError, match=r"f\.safetensors is not a safetensors file"):
        parse_tensors(raw, where="f.safetensors")


def test_no_change_of_a_byte_of_the_header_is_anything_but_refused_or_read():
    arrays = {"b": np.array([1.5, 2.5], np.float32), "a": np.arange(6.0).reshape(2, 3)}
    raw = tensor_bytes(arrays)
    (length,) = struct.unpack("<Q", raw[:8])
    expected, refused = {name: array.shape for name, array in arrays.items()}, 0
    for at in range(8 + length):
        for bit in range(8):
            try:
                found = parse_tensors(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :], where="f")
                assert misfit(found, expected, "float64")  # one of them is float32
            except FormatError:
                refused += 1
    assert refused > 7 * length


def test_a_type_that_numpy_lacks_is_refused():
    header = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    with pytest.raises(FormatError, match="f is not a safetensors file with numbers that numpy knows"):
        parse_tensors(struct.pack("<Q", len(header)) + header + b"\0\0", where="f")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"f: got \[\], expected \['a'\]"),
        ({"a": np.ones(2), "b": np.ones(2)}, r"f: got \['a', 'b'\], expected \['a'\]"),
        ({"a": np.ones((2, 1))}, r"f: 'a' has shape \(2, 1\), expected \(2,\)"),
        ({"a": np.ones(2, np.float32)}, "f: 'a' is float32, expected float64"),
        ({"a": np.array([1, np.nan])}, "f: 'a' holds numbers that are not finite"),
        ({"a": np.array([1, np.inf])}, "f: 'a' holds numbers that are not finite"),
    ],
)
def test_arrays_that_were_not_expected_are_refused(arrays, message):
    with pytest.raises(FormatError, match=message):
        read_tensors(tensor_bytes(arrays), {"a": (2,)}, "float64", where="f")
