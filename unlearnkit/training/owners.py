"""Whose each example is: one owner's, nobody's, or that of several, any of whom can have it deleted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
from torch import Tensor

from unlearnkit.errors import RecipeError, UnknownNameError
from unlearnkit.names import collisions, counted, normal_name

Array: TypeAlias = np.ndarray[Any, Any]
Owner: TypeAlias = str | int | UUID
Owners: TypeAlias = Sequence[Owner | tuple[Owner, ...] | Mapping[Owner, float] | None] | Array | Tensor
"""Who owns each example: one owner, several (a tuple, or shares by owner), or None."""
Group: TypeAlias = tuple[tuple[int, float], ...]
"""Several owners of an example by position, increasing, each with a share; 0 where any of them deletes all of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ownership:
    """Of the examples of a recipe.

    names: units in the order of their first example. of_example: for each its unit's position, ``len(names) + j`` for
    those of group j of several owners, -1 for nobody's. joint: these groups.
    """

    names: tuple[str, ...]
    of_example: Array
    joint: tuple[Group, ...]

    @classmethod
    def read(cls, owners: Owners, examples: int) -> Ownership:
        """As a recipe gives it. RecipeError for what names no owners."""
        entries = [_of_one(i, entry) for i, entry in enumerate(_listed(owners, examples))]
        positions: dict[str, int] = {}
        kinds: dict[str, type] = {}
        groups = []
        for i, entry in enumerate(entries):
            group: dict[int, float] = {}
            for owner, share in entry:
                name, kind = _owner_name(i, owner)
                if kinds.setdefault(name, kind) is not kind:
                    message = f"units: {name!r} occurs as text and as a number"
                    raise RecipeError(message, hint="use one of them for each owner")
                place = positions.setdefault(name, len(positions))
                if place in group:
                    raise RecipeError(f"units: example {i} names {name!r} twice", hint="name each of its owners once")
                group[place] = share
            groups.append(tuple(sorted(group.items())))
        _refuse_spellings([owner for entry in entries for owner, _ in entry])
        if not positions:
            message = "units: no example is owned by anybody, so nothing can ever be deleted"
            raise RecipeError(message, hint="None is for examples that nobody can ask to delete")
        return cls._of(tuple(positions), groups)

    @classmethod
    def _of(cls, names: tuple[str, ...], groups: list[Group]) -> Ownership:
        numbers: dict[Group, int] = {(): -1} | {((i, 0.0),): i for i in range(len(names))}
        for group in groups:
            numbers.setdefault(group, len(numbers) - 1)
        of_example = np.array([numbers[group] for group in groups], dtype=np.int64)
        return cls(names=names, of_example=of_example, joint=tuple(numbers)[len(names) + 1 :])

    @cached_property
    def members(self) -> Array:
        """Positions of the owners of each group, ``[groups, most owners]``; -1 where there are fewer."""
        return self._table(0, -1, np.dtype(np.int64))

    @cached_property
    def shares(self) -> Array:
        """Their shares, ``[groups, most owners]``; all 0 in a group in which any owner deletes all."""
        return self._table(1, 0, np.dtype(np.float64))

    def _table(self, column: int, filling: int, kind: np.dtype[Any]) -> Array:
        table = np.full((len(self.joint), max(map(len, self.joint), default=0)), filling, dtype=kind)
        for row, group in zip(table, self.joint, strict=True):
            row[: len(group)] = [pair[column] for pair in group]
        return table

    @cached_property
    def pairs(self) -> tuple[Array, Array]:
        """Examples and their owners by position, a pair for each owner, in the order of the examples."""
        return self.pairs_of(np.arange(len(self.of_example)))

    def pairs_of(self, examples: Array) -> tuple[Array, Array]:
        """Places among these examples, and who owns what is there, a pair for each owner."""
        found = self.of_example[examples]
        table = np.full((len(self.names) + len(self.joint) + 1, max(1, self.members.shape[1])), -1, dtype=np.int64)
        table[: len(self.names), 0] = np.arange(len(self.names))
        table[len(self.names) : -1, : self.members.shape[1]] = self.members
        places, columns = np.nonzero(table[found] >= 0)  # nobody's are at -1, the last row
        return places, table[found[places], columns]

    def downweights(self, w: Array) -> Array:
        """From those of the units, ``[units]``, to those of units and groups, ``[units + groups]``."""
        if not self.joint:
            return w
        own = np.append(w, 0.0)[self.members]  # -1 is the zero at the end
        any_of, shared = 1 - np.prod(1 - own, axis=1), (self.shares * own).sum(1)
        return np.concatenate([w, np.where(self.shares.any(1), shared, any_of)])

    def weights_of(self, delete: Sequence[str | int], weight: float) -> Array:
        """Downweights ``[units]``: ``weight`` where a unit is deleted, 0 elsewhere."""
        if isinstance(delete, (str, bytes)):
            raise TypeError(f"delete={delete!r}: expected a list of units, got one text")
        position = {name: i for i, name in enumerate(self.names)}
        unknown = [unit for unit in delete if normal_name(unit) not in position]
        if unknown:
            raise UnknownNameError(f"the recipe has no unit {', '.join(map(repr, unknown))}")
        if not 0 <= weight <= 1:
            raise ValueError(f"weight={weight}, expected a number from 0 (keep) to 1 (delete)")
        result = np.zeros(len(position))
        result[[position[normal_name(unit)] for unit in delete]] = weight
        return result


def _listed(owners: Owners, examples: int) -> Sequence[Any]:
    hint = "give one owner, or None, or a tuple of several, for each example, in the order of the data"
    if isinstance(owners, (str, bytes, Mapping)) or not hasattr(owners, "__len__"):
        raise RecipeError(f"units: got {type(owners).__name__}, expected a list of owners", hint=hint)
    if not examples:
        raise RecipeError("data: there are no examples", hint="pass the data that the model is trained on")
    if len(owners) != examples:
        raise RecipeError(f"units: got {counted(len(owners), 'owner')} for {counted(examples, 'example')}", hint=hint)
    return owners.tolist() if isinstance(owners, (np.ndarray, Tensor)) else owners


def _of_one(example: int, entry: object) -> list[tuple[object, float]]:
    """The owners of an example with their shares, 0 where there are none."""
    if isinstance(entry, Mapping):
        _verify_shares(example, entry)
        return [(owner, float(share)) for owner, share in entry.items()]
    if isinstance(entry, (tuple, list)):
        if not entry:
            raise RecipeError(f"units: example {example} has no owner", hint="None is for examples that are nobody's")
        return [(owner, 0.0) for owner in entry]
    return [] if entry is None else [(entry, 0.0)]


def _verify_shares(example: int, shares: Mapping[Any, Any]) -> None:
    numbers = all(isinstance(s, (int, float)) and not isinstance(s, bool) and s > 0 for s in shares.values())
    if not shares or not numbers or not math.fsum(shares.values()) <= 1 + 1e-9:
        got = f"units: example {example} has the shares {dict(shares)!r}"
        hint = 'deleting an owner takes their share off the example; with a tuple, ("ann", "bob"), all of it'
        raise RecipeError(f"{got}, expected numbers above 0, at most 1 in all", hint=hint)


def _owner_name(example: int, owner: object) -> tuple[str, type]:
    """The form of an owner's name that counts, and whether it was text or a number."""
    if isinstance(owner, np.generic) or (isinstance(owner, Tensor) and owner.dim() == 0):
        owner = owner.item()  # numpy's and torch's numbers are numbers
    if isinstance(owner, UUID):
        owner = str(owner)  # as people write it
    if isinstance(owner, bool) or not isinstance(owner, (str, int)):
        message = f"units: example {example} is owned by a {type(owner).__name__}, expected str, int, UUID or None"
        raise RecipeError(message, hint="name each owner by text or whole numbers, or by a UUID; several in a tuple")
    name = normal_name(owner)
    if not name:
        hint = "None is for examples that are nobody's"
        raise RecipeError(f"units: example {example} is owned by a name that cannot be seen: {owner!r}", hint=hint)
    return name, type(owner)


def _refuse_spellings(owners: Sequence[object]) -> None:
    if same := collisions(dict.fromkeys(owner for owner in owners if isinstance(owner, str))):
        listed = "; ".join(" and ".join(map(repr, spellings)) for spellings in same)
        message = f"units: got different spellings of one name: {listed}"
        raise RecipeError(message, hint="give each owner one spelling: their requests find all their examples then")
