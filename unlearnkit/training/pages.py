"""Freed memory that stays with the process.

glibc hands large blocks back to the system as soon as they are freed, and takes fresh ones for the next. A step along
directions frees and takes blocks of the same sizes again and again, and what the system does for a fresh page costs
about as much as the arithmetic on its numbers.
"""

from __future__ import annotations

import ctypes
from functools import cache

LARGEST = 1 << 25
"""Bytes of the largest blocks that come from what was freed before: glibc allows no more."""

KEPT = 1 << 29
"""Bytes of freed memory that are not handed back."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h


@cache
def keep_freed_memory() -> None:
    """Ask the C library for it, once; another one than glibc is left as it is."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no such function, or no library of that kind
        return
    mallopt(_MMAP_THRESHOLD, LARGEST)
    mallopt(_TRIM_THRESHOLD, KEPT)
