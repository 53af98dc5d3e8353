"""From a seed to complex directions: a documented, stable construction, so that directions are never stored.

The *salt* (32 bytes, in the manifest) and the digest of the recipe give the *key*,

    key = SHA-256("unlearnkit/directions/v1" 0x00 recipe-digest-in-hex 0x00 salt purpose)[:16],

with an empty purpose for the sketch itself. A salt that somebody chose may have been picked from many, so that the
directions suit a result. One *from the log* cannot: it follows from a signed checkpoint of an audit log that holds the
commitment to the recipe, and so is later than that:

    salt = SHA-256(recipe-digest-in-hex checkpoint).

Direction ``j`` over ``n`` units is then

1. raw words ``a_0, b_0, a_1, b_1, ...`` (64 bits each): Philox4x64-10 (Salmon et al. 2011) with this key, as two
   little-endian words, for the counters ``(1, 0, j, 0), (2, 0, j, 0), ...`` (least significant word first), four words
   each; in numpy the first ``2 n`` values of ``Philox(key=key, counter=j << 128).random_raw``;
2. complex normals by Box-Muller in float64: ``z_u = sqrt(-2 ln x_u) exp(2 pi i y_u)`` with
   ``x_u = ((a_u >> 11) + 1) 2^-53`` in (0, 1] and ``y_u = (b_u >> 11) 2^-53`` in [0, 1);
3. ``psi_j = z / |z|``, uniform on the unit sphere of C^n.

Each direction has its own stream, so nothing depends on how many are made at once, or by how many threads. Logarithm,
sine and the order of a sum may differ in the last bit between machines; everything that compares directions allows for
that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.bundle.manifest import ExplicitDirections, RandomDirections

Array = np.ndarray[Any, Any]

_DOMAIN = b"unlearnkit/directions/v1\0"
_SEED_DOMAIN = b"unlearnkit/seed/v1\0"
# Complex numbers that are kept once they are made: 64 MiB. More are made again whenever they are asked for.
_KEPT_ELEMENTS = 1 << 22


def salt_from_seed(seed: int) -> bytes:
    """The salt (32 bytes) that a user's seed stands for: SHA-256("unlearnkit/seed/v1" 0x00 seed-in-decimal)."""
    return hashlib.sha256(_SEED_DOMAIN + str(seed).encode()).digest()


def salt_from_checkpoint(recipe_digest: str, checkpoint: str) -> bytes:
    """The salt (32 bytes) that follows from the text of a log's checkpoint."""
    return hashlib.sha256(recipe_digest.encode() + checkpoint.encode()).digest()


def direction_key(recipe_digest: str, salt: bytes, purpose: str = "") -> bytes:
    """The generator's key (16 bytes), bound to the recipe.

    purpose: "" for the sketch itself; other directions of the same bundle put a word of theirs behind the salt.
    """
    return hashlib.sha256(_DOMAIN + recipe_digest.encode() + b"\0" + salt + purpose.encode()).digest()[:16]


def random_directions(key: bytes, first: int, last: int, units: int) -> Array:
    """Directions ``first`` up to but not including ``last``: complex128 ``[last - first, units]``, rows of norm 1."""
    words = np.frombuffer(key, dtype="<u8")
    result = np.empty((last - first, units), dtype=np.complex128)
    for row, j in enumerate(range(first, last)):
        raw = np.random.Philox(key=words, counter=j << 128).random_raw(2 * units)
        radius = np.sqrt(-2 * np.log(((raw[0::2] >> 11) + 1) * 2.0**-53))
        angle = (2 * np.pi) * ((raw[1::2] >> 11) * 2.0**-53)
        z = radius * np.cos(angle) + 1j * (radius * np.sin(angle))
        # Summed by numpy: BLAS, behind np.linalg.norm, splits a long sum over as many threads as there happen to be.
        result[row] = z / np.sqrt((z.real**2 + z.imag**2).sum())
    return result


@dataclass(frozen=True, eq=False, repr=False)
class Directions:
    """The directions of a sketch, made block by block, or explicit ones."""

    count: int
    units: int
    salt: bytes = b""
    key: bytes = b""
    single: bool = False  # rounded to complex64, as a float32 training run used them
    array: Array | None = None  # explicit directions, for studies; they can never be certified

    @classmethod
    def random(
        cls, recipe_digest: str, salt: bytes, count: int, units: int, dtype: str, purpose: str = ""
    ) -> Directions:
        """Directions that follow from the recipe and the salt, in the precision of the run."""
        return cls(count, units, salt, direction_key(recipe_digest, salt, purpose), single=dtype == "float32")

    @classmethod
    def explicit(cls, array: Array) -> Directions:
        """Directions given by the caller: complex ``[directions, units]``.

        Estimates above degree one suppose that they, too, are independent and uniform on the unit sphere.
        """
        count, units = array.shape
        return cls(count, units, array=array.astype(np.complex128))

    @property
    def is_explicit(self) -> bool:
        """Whether somebody chose these directions, instead of the seed."""
        return self.array is not None

    @property
    def record(self) -> RandomDirections | ExplicitDirections:
        """What the manifest says of them."""
        if self.is_explicit:
            return ExplicitDirections(count=self.count)
        return RandomDirections(count=self.count, salt=self.salt.hex(), key=self.key.hex())

    def __repr__(self) -> str:
        kind = "explicit" if self.is_explicit else "random"
        return f"Directions({kind}, count={self.count}, units={self.units})"

    def block(self, first: int, last: int) -> Array:
        """Directions ``first`` up to but not including ``last``: complex128 ``[last - first, units]``, a copy."""
        if self.array is not None:
            return self.array[first:last].copy()
        if self.count * self.units <= _KEPT_ELEMENTS:
            return self._kept[first:last].copy()
        return self._made(first, last)

    @cached_property
    def _kept(self) -> Array:
        return self._made(0, self.count)

    def _made(self, first: int, last: int) -> Array:
        psi = random_directions(self.key, first, last, self.units)
        return psi.astype(np.complex64).astype(np.complex128) if self.single else psi
