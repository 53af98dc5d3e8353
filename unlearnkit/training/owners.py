"""Whose each example is: one owner's, nobody's, or that of several, any of whom can have it deleted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeGuard
from uuid import UUID

import numpy as np
import torch
from torch import Tensor

from unlearnkit.errors import RecipeError, UnknownNameError
from unlearnkit.names import collisions, counted, normal_name

Array: TypeAlias = np.ndarray[Any, Any]
Owner: TypeAlias = str | int | UUID
Owners: TypeAlias = Sequence[Owner | tuple[Owner, ...] | Mapping[Owner, float] | None] | Array | Tensor
"""Who owns each example: one owner, several (a tuple, or shares by owner), or None."""
Group: TypeAlias = tuple[tuple[int, float], ...]
"""Several owners of an example by position, increasing, each with a share; 0 where any of them deletes all of it."""

_AT_ONCE = 1 << 16


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
        _verify_list(owners, examples)
        made = cls._of_numbers(owners) if _are_numbers(owners) else _Reading().all(owners, examples)
        if not made.names:
            message = "units: no example is owned by anybody, so nothing can ever be deleted"
            raise RecipeError(message, hint="None is for examples that nobody can ask to delete")
        return made

    @classmethod
    def _of_numbers(cls, owners: Array | Tensor) -> Ownership:
        """Of whole numbers, one for each example."""
        numbers, first, of_example = np.unique(np.asarray(owners), return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls(names=tuple(map(str, numbers[order].tolist())), of_example=place[of_example], joint=())

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

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Examples and their owners by position, a pair for each owner, in the order of the examples."""
        return self._owned(self.of_example)

    def pairs_of(self, examples: Array) -> tuple[Array, Array]:
        """Places among these examples, and who owns what is there, a pair for each owner."""
        return self._owned(self.of_example[examples])

    def _owned(self, found: Array) -> tuple[Array, Array]:
        if not self.joint:
            places = np.flatnonzero(found >= 0)
            return places, found[places]
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


class _Reading:
    """Reads owners one after the other, and gives everybody a number.

    known: numbers of owners by text or whole number as it was given. positions: by name, in its one form. numbers:
    names that were given as numbers. groups: of several owners.
    """

    def __init__(self) -> None:
        self.known: dict[str | int, int] = {}
        self.positions: dict[str, int] = {}
        self.numbers: set[str] = set()
        self.groups: dict[Group, int] = {}

    def all(self, owners: Owners, examples: int) -> Ownership:
        """Whose each example is."""
        numbers = np.fromiter(map(self._number, range(examples), _each(owners)), dtype=np.int64, count=examples)
        _refuse_spellings([owner for owner in self.known if isinstance(owner, str)])
        jointly = numbers < -1
        numbers[jointly] = len(self.positions) - 2 - numbers[jointly]
        return Ownership(names=tuple(self.positions), of_example=numbers, joint=tuple(self.groups))

    def _number(self, example: int, entry: object) -> int:
        """A unit's position, -1 for nobody, -2 and below for groups of several owners."""
        if type(entry) in (str, int):  # as most are; a bool equals a number, and is none
            number = self.known.get(entry)  # type: ignore[call-overload]
            return self._position(example, entry) if number is None else number
        if entry is None:
            return -1
        if isinstance(entry, np.generic) or (isinstance(entry, Tensor) and entry.dim() == 0):
            return self._number(example, entry.item())  # numpy's and torch's numbers are numbers
        group: dict[int, float] = {}
        for owner, share in _of_one(example, entry):
            place = self._position(example, owner)
            if place in group:
                message = f"units: example {example} names {_owner_name(example, owner)[0]!r} twice"
                raise RecipeError(message, hint="name each of its owners once")
            group[place] = share
        members = tuple(sorted(group.items()))
        if len(members) > 1 or any(group.values()):
            return -2 - self.groups.setdefault(members, len(self.groups))
        return members[0][0]

    def _position(self, example: int, owner: object) -> int:
        name, kind = _owner_name(example, owner)
        if name in self.positions and (name in self.numbers) != (kind is int):
            message = f"units: {name!r} occurs as text and as a number"
            raise RecipeError(message, hint="use one of them for each owner")
        if kind is int:
            self.numbers.add(name)
        number = self.positions.setdefault(name, len(self.positions))
        if isinstance(owner, (str, int)):
            self.known[owner] = number
        return number


def _verify_list(owners: Owners, examples: int) -> None:
    hint = "give one owner, or None, or a tuple of several, for each example, in the order of the data"
    if isinstance(owners, (str, bytes, Mapping)) or not hasattr(owners, "__len__"):
        raise RecipeError(f"units: got {type(owners).__name__}, expected a list of owners", hint=hint)
    if not examples:
        raise RecipeError("data: there are no examples", hint="pass the data that the model is trained on")
    if len(owners) != examples:
        raise RecipeError(f"units: got {counted(len(owners), 'owner')} for {counted(examples, 'example')}", hint=hint)


def _are_numbers(owners: Owners) -> TypeGuard[Array | Tensor]:
    """Whether they are an array of whole numbers, one for each example."""
    if isinstance(owners, Tensor):
        return owners.dim() == 1 and not owners.is_floating_point() and owners.dtype != torch.bool
    return isinstance(owners, np.ndarray) and owners.ndim == 1 and owners.dtype.kind in "iu"


def _each(owners: Owners) -> Iterator[object]:
    """One owner after another; those of arrays as Python's own, a block at once."""
    if not isinstance(owners, (np.ndarray, Tensor)):
        yield from owners
        return
    for first in range(0, len(owners), _AT_ONCE):
        yield from owners[first : first + _AT_ONCE].tolist()


def _of_one(example: int, entry: object) -> list[tuple[object, float]]:
    """The owners of an example with their shares, 0 where there are none."""
    if isinstance(entry, Mapping):
        _verify_shares(example, entry)
        return [(owner, float(share)) for owner, share in entry.items()]
    if isinstance(entry, (tuple, list)):
        if not entry:
            raise RecipeError(f"units: example {example} has no owner", hint="None is for examples that are nobody's")
        return [(owner, 0.0) for owner in entry]
    return [(entry, 0.0)]


def _verify_shares(example: int, shares: Mapping[Any, Any]) -> None:
    numbers = all(isinstance(s, (int, float)) and not isinstance(s, bool) and s > 0 for s in shares.values())
    if not shares or not numbers or not math.fsum(shares.values()) <= 1 + 1e-9:
        got = f"units: example {example} has the shares {dict(shares)!r}"
        hint = 'deleting an owner takes their share off the example; with a tuple, ("ann", "bob"), all of it'
        raise RecipeError(f"{got}, expected numbers above 0, at most 1 in all", hint=hint)


def _owner_name(example: int, owner: object) -> tuple[str, type]:
    """The form of an owner's name that counts, and whether it was text or a number: ``str`` or ``int``."""
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
    return name, int if isinstance(owner, int) else str


def _refuse_spellings(owners: Iterable[str]) -> None:
    if same := collisions(owners):
        listed = "; ".join(" and ".join(map(repr, spellings)) for spellings in same)
        message = f"units: got different spellings of one name: {listed}"
        raise RecipeError(message, hint="give each owner one spelling: their requests find all their examples then")
