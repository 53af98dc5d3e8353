"""Tensors as they lie in a file, whatever its format: type, shape, and the digest of their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import IO

from unlearnkit.errors import FormatError

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in a file: its type, its shape, and the SHA-256 of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


def digest_of(file: IO[bytes], first: int, length: int, where: str) -> str:
    """SHA-256 of so many bytes from ``first`` on; FormatError if there are fewer."""
    file.seek(first)
    state, left = hashlib.sha256(), length
    while left:
        part = file.read(min(left, _CHUNK))
        if not part:
            raise FormatError(f"{where} is cut short")
        state.update(part)
        left -= len(part)
    return state.hexdigest()
