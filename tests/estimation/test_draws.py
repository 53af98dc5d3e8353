"""Draws against their published construction, written out in plain integers, and against what uniform means."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundle.test_directions import philox4x64
from unlearnkit.estimation.draws import Draw, draw_key

KEY = bytes(range(16))


def words(key: bytes, number: int):
    """The stream of one draw."""
    halves = [int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")]
    for block in itertools.count(1):
        yield from philox4x64([block, 0, number, 0], halves)


def below(stream, n: int) -> int:
    largest = 2**64 // n * n
    return next(word % n for word in stream if word < largest)


def subset(stream, n: int, k: int) -> list[int]:
    places = list(range(n))
    for i in range(k):
        other = i + below(stream, n - i)
        places[i], places[other] = places[other], places[i]
    return sorted(places[:k])


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**40), st.integers(1, 2**64 - 1))
def test_numbers_follow_their_published_construction(key, number, n):
    draw, stream = Draw(key, number), words(key, number)
    assert [draw.below(n) for _ in range(5)] == [below(stream, n) for _ in range(5)]


def test_words_that_would_favour_small_numbers_are_passed_over():
    n = 2**63 + 1  # only the words below n count: half of them
    kept = [word for word in itertools.islice(words(KEY, 0), 40) if word < n]
    draw = Draw(KEY, 0)
    assert 5 < len(kept) < 35
    assert [draw.below(n) for _ in kept] == kept


@given(st.integers(0, 1000), st.integers(1, 60), st.data())
def test_subsets_follow_their_published_construction(number, n, data):
    k = data.draw(st.integers(0, n))
    assert Draw(KEY, number).subset(n, k) == subset(words(KEY, number), n, k)


def test_every_subset_is_as_likely_as_any_other():
    trials, choices = 6000, list(itertools.combinations(range(5), 2))
    counts = Counter(tuple(Draw(KEY, number).subset(5, 2)) for number in range(trials))
    expected = trials / len(choices)
    assert set(counts) == set(choices)
    assert sum((counts[c] - expected) ** 2 for c in choices) / expected < 30  # chi squared of 9 degrees: 1e-3 is 27.9


def test_a_key_is_the_digest_of_what_it_is_bound_to():
    message = b"unlearnkit/x/v1\x00abc\x00seed"
    assert draw_key("unlearnkit/x/v1", "abc", "seed") == hashlib.sha256(message).digest()[:16]


def test_some_draws_are_pinned():
    assert [Draw(KEY, number).below(1000) for number in range(4)] == [637, 328, 627, 397]
    assert Draw(KEY, 0).subset(10, 10) == list(range(10))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="cannot draw 4 of 3"):
        Draw(KEY, 0).subset(3, 4)
    with pytest.raises(ValueError, match="without zero bytes"):
        draw_key("a", "b\0c")
