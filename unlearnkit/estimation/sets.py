"""Sets of units as weights ``[sets, units]``: dense, or sparse where many small ones are asked for at once.

Both kinds multiply dense matrices alike, and their powers are taken entry by entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array

Array = np.ndarray[Any, Any]
Sets: TypeAlias = Array | csr_array


def sparse(positions: Sequence[Sequence[int]], units: int) -> csr_array:
    """Sets of units by their positions, each once, all of them deleted."""
    ends = np.cumsum([0, *map(len, positions)])
    columns = np.fromiter(chain.from_iterable(positions), dtype=np.int64, count=int(ends[-1]))
    return csr_array((np.ones(len(columns)), columns, ends), shape=(len(positions), units))


def dense(sets: Sets) -> Array:
    """The same as an array."""
    return sets if isinstance(sets, np.ndarray) else np.asarray(sets.toarray())


def touched(sets: Sets) -> tuple[Sets, Array]:
    """The sets over those units alone that any of them deletes, and which these are: all else says nothing of them."""
    if isinstance(sets, np.ndarray):
        units = np.flatnonzero(sets.any(axis=0))
        return sets[:, units], units
    units, columns = np.unique(sets.indices, return_inverse=True)
    return csr_array((sets.data, columns, sets.indptr), shape=(sets.shape[0], len(units))), units


def lengths(sets: Sets) -> Array:
    """``|x|``, ``[sets]``."""
    return np.asarray(np.sqrt((sets**2).sum(axis=1)))
