"""The directions against an independent Philox and Box-Muller, and against what uniform on the sphere means."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unlearnkit.bundle.directions
from unlearnkit.bundle import Directions, direction_key, random_directions, salt_from_seed

KEY = bytes(range(16))


def philox4x64(counter: list[int], key: list[int], rounds: int = 10) -> list[int]:
    """Four words of 64 bits, in plain integers (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")."""
    mask = 2**64 - 1
    c, k = list(counter), list(key)
    for _ in range(rounds):
        left, right = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(right >> 64) ^ c[1] ^ k[0], right & mask, (left >> 64) ^ c[3] ^ k[1], left & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def direction(key: bytes, j: int, units: int) -> list[complex]:
    """One direction, as the docstring of the module defines it."""
    words = [int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")]
    raw = [word for block in range(1, units // 2 + 2) for word in philox4x64([block, 0, j, 0], words)]
    z = []
    for a, b in zip(raw[0 : 2 * units : 2], raw[1 : 2 * units : 2], strict=True):
        radius = math.sqrt(-2 * math.log(((a >> 11) + 1) * 2.0**-53))
        angle = 2 * math.pi * ((b >> 11) * 2.0**-53)
        z.append(complex(radius * math.cos(angle), radius * math.sin(angle)))
    norm = math.sqrt(math.fsum(x.real**2 + x.imag**2 for x in z))
    return [x / norm for x in z]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        ([2**64 - 1] * 4, [2**64 - 1] * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
        (
            [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
            [0x452821E638D01377, 0xBE5466CF34E90C6C],
            "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
        ),
    ],
)
def test_the_independent_generator_gives_the_published_answers(counter, key, expected):
    """The known answers of the authors' Random123 library."""
    assert " ".join(f"{word:016x}" for word in philox4x64(counter, key)) == expected


@pytest.mark.parametrize(("key", "j", "units"), [(KEY, 0, 1), (KEY, 0, 7), (KEY, 5, 8), (b"\xff" * 16, 2**33, 33)])
def test_directions_follow_their_published_construction(key, j, units):
    (psi,) = random_directions(key, j, j + 1, units)
    np.testing.assert_allclose(psi, direction(key, j, units), rtol=0, atol=1e-15)


def test_some_directions_are_pinned():
    expected = [
        [-0.2705285249885153 + 0.2414537146411777j, 0.7094400850664323 + 0.604325397906168j],
        [-0.6481550789691236 - 0.2690951166671961j, 0.3745369418319387 + 0.6059743319609969j],
    ]
    np.testing.assert_allclose(random_directions(KEY, 3, 5, 2), expected, rtol=0, atol=1e-15)


def test_the_key_and_the_salt_are_pinned():
    salt = salt_from_seed(0)
    assert salt == hashlib.sha256(b"unlearnkit/seed/v1\x000").digest()
    digest = "0123456789abcdef" * 4
    message = b"unlearnkit/directions/v1\x00" + digest.encode() + b"\x00" + salt
    assert direction_key(digest, salt) == hashlib.sha256(message).digest()[:16]


def test_recipe_and_salt_both_decide_the_key():
    keys = {direction_key(digest * 64, salt_from_seed(seed)) for digest in "ab" for seed in (-1, 0, 1, 2**80)}
    assert len(keys) == 8


def test_directions_for_another_purpose_have_another_key():
    salt = salt_from_seed(0)
    assert direction_key("a" * 64, salt, "residual") != direction_key("a" * 64, salt)
    message = b"unlearnkit/directions/v1\x00" + b"a" * 64 + b"\x00" + salt + b"residual"
    assert direction_key("a" * 64, salt, "residual") == hashlib.sha256(message).digest()[:16]


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 7))
def test_directions_do_not_depend_on_the_chunking(cuts, units):
    whole = random_directions(KEY, 0, 9, units)
    edges = [0, *sorted(cuts), 9]
    parts = [random_directions(KEY, a, b, units) for a, b in pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_directions_do_not_depend_on_the_number_of_threads():
    import threadpoolctl

    made = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads):
            made.append(random_directions(KEY, 0, 1, 100_003).tobytes())
    assert made[0] == made[1]


def test_a_direction_has_norm_one():
    psi = random_directions(KEY, 0, 50, 1001)
    np.testing.assert_allclose(np.linalg.norm(psi, axis=1), 1, rtol=1e-14)


def test_directions_are_uniform_on_the_complex_sphere():
    """Second and fourth moments, z-bound 4: E psi psi' = 0, E psi psi^H = I/n, E |psi_u|^4 = 2 / (n (n+1))."""
    n, m = 3, 20_000
    psi = random_directions(KEY, 0, m, n)
    for power, expected in ((psi[:, 0] * psi[:, 1], 0), (psi[:, 0] ** 2, 0), (psi[:, 0] * psi[:, 1].conj(), 0)):
        assert abs(power.mean() - expected) < 4 * power.std() / m**0.5
    for power, expected in ((np.abs(psi) ** 2, 1 / n), (np.abs(psi) ** 4, 2 / (n * (n + 1)))):
        assert (np.abs(power.mean(0) - expected) < 4 * power.std(0) / m**0.5).all()


@pytest.mark.parametrize("kept", [0, 1 << 22])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_source_gives_the_same_directions_in_any_blocks(monkeypatch, dtype, kept):
    monkeypatch.setattr(unlearnkit.bundle.directions, "_KEPT_ELEMENTS", kept)
    salt = salt_from_seed(3)
    source = Directions.random("c" * 64, salt, 10, 6, dtype)
    expected = random_directions(direction_key("c" * 64, salt), 0, 10, 6)
    if dtype == "float32":
        expected = expected.astype(np.complex64)
    blocks = np.concatenate([source.block(0, 3), source.block(3, 4), source.block(4, 10)])
    assert blocks.dtype == np.complex128
    np.testing.assert_array_equal(blocks, expected)
    assert (source.count, source.units, source.is_explicit) == (10, 6, False)


def test_explicit_directions_are_given_back():
    array = (np.arange(12).reshape(4, 3) + 1j).astype(np.complex64)
    source = Directions.explicit(array)
    assert (source.count, source.units, source.is_explicit) == (4, 3, True)
    np.testing.assert_array_equal(source.block(1, 3), array[1:3])


@pytest.mark.parametrize("explicit", [False, True])
def test_what_a_caller_does_to_a_block_stays_with_the_caller(explicit):
    source = Directions.random("c" * 64, salt_from_seed(3), 4, 3, "float64")
    source = Directions.explicit(source.block(0, 4)) if explicit else source
    before = source.block(0, 4)
    source.block(0, 4)[:] = 0
    np.testing.assert_array_equal(source.block(0, 4), before)


def test_a_source_shows_its_size_and_neither_numbers_nor_key():
    source = Directions.random("c" * 64, salt_from_seed(3), 4, 3, "float64")
    assert repr(source) == "Directions(random, count=4, units=3)"
    assert repr(Directions.explicit(source.block(0, 4))) == "Directions(explicit, count=4, units=3)"
