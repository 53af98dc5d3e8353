"""What is asked of a sketch: sets of units, by name or as weights, and how much of them is deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from unlearnkit.estimation.sets import Sets, sparse

Array = np.ndarray[Any, Any]
Unit: TypeAlias = str | int
Delete: TypeAlias = Iterable[Unit] | Array


def deletions(delete: Delete, units: int, resolve: Callable[[Sequence[Unit]], Array]) -> tuple[Array, bool]:
    """Downweights ``[sets, units]``, and whether a single set was asked for by its names.

    Raises ValueError and TypeError for an empty deletion and malformed masks; what ``resolve`` raises.
    """
    if isinstance(delete, np.ndarray) and (delete.ndim != 1 or delete.dtype.kind in "bfc"):
        return _masks(delete, units), False
    if isinstance(delete, (str, bytes, int)):
        raise TypeError(f"delete={delete!r}: expected a list of units")
    names = list(delete)
    if not names:
        raise ValueError("delete: no units were named; without a deletion the prediction is the base")
    sets = np.zeros((1, units))
    sets[0, once(names, resolve(names))] = 1
    return sets, True


def many_deletions(delete: Iterable[Iterable[Unit]], units: int, resolve: Callable[[Sequence[Unit]], Array]) -> Sets:
    """Sparse downweights ``[sets, units]`` of sets that are given by their names. Raises as `deletions`."""
    sets = [delete] if isinstance(delete, (str, bytes)) else list(delete)
    if any(isinstance(names, (str, bytes, int)) for names in sets):
        raise TypeError("delete: expected a list of lists of units, one for each set")
    named = [list(names) for names in sets]
    if not named or not all(named):
        raise ValueError("delete: no units were named; without a deletion the prediction is the base")
    everybody = list(dict.fromkeys(name for names in named for name in names))
    place = dict(zip(everybody, resolve(everybody).tolist(), strict=True))
    positions = [[place[name] for name in names] for names in named]
    for names, found in zip(named, positions, strict=True):
        if len(set(found)) < len(found):
            once(names, np.array(found))
    return sparse(positions, units)


def once(names: Sequence[Unit], positions: Array) -> Array:
    """The positions of units of which each is named once; ValueError for one that is named twice."""
    found, often = np.unique(positions, return_counts=True)
    if len(found) < len(positions):
        repeated = np.isin(positions, found[often > 1]).tolist()
        twice = [repr(name) for name, is_repeated in zip(names, repeated, strict=True) if is_repeated]
        raise ValueError(f"units named more than once: {', '.join(twice[:10])}")
    return positions


def one_weight(weight: float) -> float:
    """A number from 0 (kept) to 1 (deleted); ValueError for anything else."""
    if np.ndim(weight):
        raise ValueError(f"weight: got {weight!r}, expected one number; `curve` takes several")
    _verify_weights("weight", np.asarray(weight, dtype=float))
    return weight


def many_weights(weights: Sequence[float] | Array | None) -> Array:
    """Numbers from 0 to 1, 21 of them for None; ValueError for anything else."""
    steps = np.linspace(0, 1, 21) if weights is None else np.asarray(weights, dtype=float)
    if steps.ndim != 1:
        raise ValueError(f"weights: got an array of shape {steps.shape}, expected a list of numbers")
    _verify_weights("weights", steps)
    return steps


def _masks(delete: Array, units: int) -> Array:
    if delete.ndim != 2 or delete.shape[1] != units:
        raise ValueError(f"delete: got masks of shape {delete.shape}, expected [sets, units={units}]")
    if delete.dtype.kind not in "biuf":
        raise TypeError(f"delete: got masks of {delete.dtype}, expected numbers from 0 (kept) to 1 (deleted)")
    masks = delete.astype(float)
    _verify_weights("delete: masks", masks)
    return masks


def _verify_weights(name: str, weights: Array) -> None:
    wrong = weights[~((weights >= 0) & (weights <= 1))]  # NaN compares as false
    if wrong.size:
        raise ValueError(f"{name}: got {wrong.flat[0]}, expected numbers from 0 (kept) to 1 (deleted)")
