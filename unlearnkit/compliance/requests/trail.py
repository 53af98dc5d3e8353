"""What happened, one thing after another: values that grow by one without a copy of everything before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Trail(Sequence[T], Generic[T]):
    """An unchangeable sequence; ``then`` makes a longer one in constant time, as all of one history share a list.

    Two that continue the same one differently do not see each other: the second gets a list of its own.
    """

    __slots__ = ("_count", "_items")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = list(items)
        self._count = len(self._items)

    def then(self, item: T) -> Trail[T]:
        """The same, and ``item``."""
        longer: Trail[T] = Trail.__new__(Trail)
        longer._items = self._items if self._count == len(self._items) else self._items[: self._count]
        longer._items.append(item)
        longer._count = self._count + 1
        return longer

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...
    def __getitem__(self, place: int | slice) -> T | tuple[T, ...]:
        if isinstance(place, slice):
            return tuple(self._items[index] for index in range(*place.indices(self._count)))
        return self._items[range(self._count)[place]]

    def __iter__(self) -> Iterator[T]:
        return (self._items[index] for index in range(self._count))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trail | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Trail({list(self)!r})"
