"""Deletions that a policy's plan fixed beforehand: drawn only when the log had the plan (docs/theory.md section 5).

Each stratum of sizes has a stream of draws of its own, bound to the bundle's digest and to the root of the log with the
entry that first committed to auditing that stratum of that bundle. Nobody knows that root before the entry is there, so
neither bundle nor plan can be made for the draws; and a later, larger plan goes on where an earlier one ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, Literal

from unlearnkit.canonical import canonicalize
from unlearnkit.estimation.draws import Draw, draw_key
from unlearnkit.names import Sha256, counted
from unlearnkit.records import Count
from unlearnkit.shapes import Items, Limits

DOMAIN: Final = "unlearnkit/planned-deletions/v1"
"""Names the construction of the draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedStratum:
    """``count`` deletions of ``least`` to ``most`` units: each size as likely, then each set of that size.

    committed: the entry of the log that first committed to this stratum of this bundle. root: of the log up to and with
    that entry.
    """

    least: Annotated[int, Limits(least=1)]
    most: Annotated[int, Limits(least=1)]
    count: Annotated[int, Limits(least=1)]
    committed: Count
    root: Sha256

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError(f"sizes from {self.least} to {self.most}: expected least <= most")

    def draws(self, bundle: str, units: int) -> Iterator[tuple[int, ...]]:
        """The sets, as sorted positions of units. bundle: its digest."""
        sizes = canonicalize({"least": self.least, "most": self.most}).decode()
        key, most = draw_key(DOMAIN, bundle, self.root, sizes), min(self.most, units)
        for number in range(self.count):
            source = Draw(key, number)
            yield tuple(source.subset(units, self.least + source.below(most - self.least + 1)))

    def names(self) -> tuple[str, ...]:
        """What tells each of its draws from all others of the bundle."""
        return tuple(f"{self.root}:{self.least}:{self.most}:{number}" for number in range(self.count))

    def __str__(self) -> str:
        sizes = counted(self.most, "unit") if self.least == self.most else f"{self.least} to {self.most} units"
        return f"{self.count} of {sizes} (entry {self.committed})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDeletions:
    """The strata of a plan, in order of size, their draws one after the other.

    Attributes:
        kind: tells the distributions apart where they are stored.
        strata: as the log has them.

    """

    kind: Literal["planned"] = "planned"
    strata: Annotated[tuple[CommittedStratum, ...], Items(least=1)]

    def __post_init__(self) -> None:
        if any(before.most >= after.least for before, after in pairwise(self.strata)):
            raise ValueError("strata: expected them in order of size, and no size in two of them")

    @property
    def count(self) -> int:
        """How many sets are drawn."""
        return sum(stratum.count for stratum in self.strata)

    def require_units(self, units: int) -> None:
        """ValueError unless a bundle with so many units has deletions of every stratum."""
        if self.strata[-1].least > units:
            raise ValueError(f"deletions of {counted(self.strata[-1].least, 'unit')}: there are {units}")

    def draws(self, bundle: str, units: int) -> tuple[tuple[int, ...], ...]:
        """All sets. bundle: its digest."""
        return tuple(deletion for stratum in self.strata for deletion in stratum.draws(bundle, units))

    def allows(self, deleted: Sequence[int]) -> bool:
        """Whether this set of units can be drawn at all."""
        return any(stratum.least <= len(set(deleted)) <= stratum.most for stratum in self.strata)

    def __str__(self) -> str:
        return f"planned strata: {', '.join(map(str, self.strata))}"
