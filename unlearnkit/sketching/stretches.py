"""Which states of a run are kept for the way back, and where.

With ``T`` steps and a stretch of ``L``, there are ``T / L`` checkpoints and, in memory, the ``L`` states of a stretch.
Everything stays in memory where it fits. Else all stretches but the last are computed once more, from checkpoints in
memory where about ``2 sqrt(T)`` states fit: no schedule computes many fewer steps again there. With less they are
on disk: writing one state for each stretch costs less than the further runs through all steps that a binomial schedule
(Revolve) needs (`benchmarks/schedules.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretches:
    """steps: of the run. size: bytes of a state. length: steps of a stretch. on_disk: whether checkpoints go there.

    grows: by how much a checkpoint is larger for each further step of its stretch, whose rows of tables it holds.
    """

    steps: int
    size: int
    length: int
    on_disk: bool
    grows: int = 0

    @classmethod
    def fitting(cls, steps: int, size: int, budget: int, *, may_spill: bool, grows: int = 0) -> Stretches:
        """For so many bytes of memory. may_spill: whether there is a disk; without, the least that memory can do."""
        share = 1 - grows / max(1, size)  # of a state, what is a checkpoint's whatever its stretch
        shortest = math.isqrt(max(0, int(steps * share) - 1)) + 1
        if steps * size <= budget:
            return cls(steps, size, steps, on_disk=False, grows=grows)
        within = (cls(steps, size, n, on_disk=False, grows=grows) for n in range(steps, 0, -1))
        least = cls(steps, size, shortest, on_disk=False, grows=grows)
        if least.memory <= budget:
            return next(found for found in within if found.memory <= budget)
        if not may_spill:
            return least
        # More are alive while one becomes the next.
        longest = (budget - 3 * size) // max(1, size + grows)
        return cls(steps, size, max(1, longest), on_disk=True, grows=grows)

    @property
    def checkpoints(self) -> int:
        """How many there are."""
        return -(-self.steps // self.length)

    @property
    def ranges(self) -> list[range]:
        """The steps of each stretch. The short one comes first: the last one is not computed again."""
        ends = range(self.steps, 0, -self.length)
        return [range(max(0, end - self.length), end) for end in reversed(ends)]

    @property
    def again(self) -> int:
        """Steps that are computed a second time."""
        return self.steps - self.length

    @property
    def memory(self) -> int:
        """Bytes."""
        kept = 3 * self.size + self.grows * self.length if self.on_disk else self.checkpoints * self._checkpoint
        return self.size * self.length + kept

    @property
    def disk(self) -> int:
        """Bytes."""
        return self._checkpoint * self.checkpoints if self.on_disk else 0

    @property
    def _checkpoint(self) -> int:
        """Bytes."""
        return self.size + self.grows * (self.length - 1)

    def __str__(self) -> str:
        if self.length >= self.steps:
            return "all states of the run stay in memory for the way back"
        where = f"on disk ({self.disk / 1e6:.3g} MB)" if self.on_disk else "in memory"
        return f"{self.checkpoints} of {self.steps} states are kept {where}, and {self.again} steps computed again"
