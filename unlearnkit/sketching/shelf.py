"""Finished pieces of work, each some files in a folder of rank 0, which every process of a group helps to fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from unlearnkit.files import write_atomic
from unlearnkit.sketching.ranks import Ranks

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where finished files are: in a folder, or, in a process other than rank 0, on their way there (None)."""

    folder: Path | None
    ranks: Ranks
    _made: dict[str, bytes] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """A file of the folder. ValueError where there is none."""
        if self.folder is None:
            raise ValueError(f"only rank 0 has {name}")
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return self.folder is not None and self.file(name).exists()

    def put(self, name: str, raw: bytes) -> None:
        """Put it there, whole or not at all."""
        if self.folder is None:
            self._made[name] = raw
        else:
            write_atomic(self.file(name), raw)

    def spread(
        self,
        pieces: Sequence[T],
        is_finished: Callable[[T], bool],
        work: Callable[[T], object],
        arrived: Callable[[T], object],
    ) -> None:
        """Have the unfinished pieces done, in rounds of one for each process; rank 0 has the first of each round.

        What a piece is, and so every byte of it, does not depend on how many processes there are, nor on which does it.

        Args:
            pieces: All of them, the same in every process.
            is_finished: Whether rank 0 has it.
            work: Does one, and puts what it makes.
            arrived: Called in rank 0 for each that another process did.

        """
        left = (i for i, piece in enumerate(pieces) if not is_finished(piece))
        while len(numbers := self.ranks.told(lambda: np.fromiter(islice(left, self.ranks.size), np.int64))):
            this = [pieces[number] for number in numbers]
            self.ranks.gathered(lambda mine=this[self.ranks.rank :][:1]: self._done(mine, work), self.put)  # type: ignore[misc]
            for piece in this[1:] if self.ranks.leads else ():
                arrived(piece)

    def _done(self, pieces: Sequence[T], work: Callable[[T], object]) -> dict[str, bytes]:
        """What is on its way from here after doing these."""
        for piece in pieces:
            work(piece)
        made = dict(self._made)
        self._made.clear()
        return made
