"""Draws that nobody can pick and anybody can repeat: from a digest to whole numbers and subsets.

The *key* is ``SHA-256(domain 0x00 part 0x00 part ...)[:16]`` over texts without zero bytes. Draw ``i`` reads the 64-bit
words of Philox4x64-10 (Salmon et al. 2011) with this key, as two little-endian words, for the counters
``(1, 0, i, 0), (2, 0, i, 0), ...`` (least significant word first), four words each; in numpy
``Philox(key=key, counter=i << 128).random_raw``. Each draw has its own stream, so it depends on nothing but its number.

- A number below ``n`` is ``w mod n`` of the first word ``w`` that is below the largest multiple of n up to 2^64.
- A subset of ``k`` of ``n`` is the first k places of 0..n-1 after exchanging, for i = 0..k-1, place i with place
  ``i + (a number below n - i)`` (Fisher and Yates), sorted.
"""

from __future__ import annotations

import hashlib

import numpy as np

_WORDS = 1 << 64


def draw_key(domain: str, *parts: str) -> bytes:
    """The generator's key (16 bytes) for a purpose and what the draws are bound to."""
    texts = (domain, *parts)
    if any("\0" in text for text in texts):
        raise ValueError("a draw is bound to texts without zero bytes")
    return hashlib.sha256("\0".join(texts).encode()).digest()[:16]


class Draw:
    """The random numbers of draw ``number``."""

    def __init__(self, key: bytes, number: int) -> None:
        self._generator = np.random.Philox(key=np.frombuffer(key, dtype="<u8"), counter=number << 128)

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1, each as likely as any other."""
        limit = _WORDS - _WORDS % n
        while (word := int(self._generator.random_raw())) >= limit:
            pass
        return word % n

    def subset(self, n: int, k: int) -> list[int]:
        """``k`` different numbers from 0 to n - 1, sorted; each subset as likely as any other. ValueError for k > n."""
        if not 0 <= k <= n:
            raise ValueError(f"cannot draw {k} of {n}")
        moved: dict[int, int] = {}  # places that no longer hold their own number
        found = []
        for place in range(k):
            other = place + self.below(n - place)
            found.append(moved.get(other, other))
            moved[other] = moved.get(place, place)
        return sorted(found)
