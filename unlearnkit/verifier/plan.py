"""Distributions of deletion sets: what a retraining audit draws from, and what its bounds then hold for.

A distribution has one canonical JSON form without names or labels. Its draws follow from that and from the bundle's
digest (`unlearnkit.estimation.draws`), which nobody knows before the bundle is finished. Whoever may choose among
distributions may still choose draws: so what certificates rest on is `unlearnkit.verifier.planned`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Final, Literal, Protocol, TypeAlias, cast

from unlearnkit.estimation.draws import Draw, draw_key
from unlearnkit.names import DecimalText, counted, decimal_text
from unlearnkit.records import Count, from_json, write_json
from unlearnkit.shapes import As
from unlearnkit.verifier.planned import PlannedDeletions

DOMAIN: Final = "unlearnkit/deletions/v1"
"""Names the construction of the draws."""


def _share(text: str) -> Decimal:
    share = Decimal(text)
    if decimal_text(share) != text:
        raise ValueError(f"the share is {text!r}, expected a plain decimal, {decimal_text(share)}")
    return share


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDeletions:
    """``least`` to ``most`` units, each number equally likely; then each set of that many units equally likely.

    Attributes:
        kind: tells the distributions apart where they are stored.
        least: fewest units of a set.
        most: most units of a set.

    Example:
        >>> print(uk.UnitDeletions(least=1, most=3))
        sets of 1 to 3 units, every size and then every set of that size equally likely

    """

    kind: Literal["units"] = "units"
    least: Count
    most: Count

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"sizes from {self.least} to {self.most}: expected 1 <= least <= most")

    def require_units(self, units: int) -> None:
        """ValueError unless a bundle with so many units has enough."""
        if self.most > units:
            raise ValueError(f"deletions of up to {counted(self.most, 'unit')}: there are {units}")

    def draw(self, source: Draw, units: int) -> tuple[int, ...]:
        """One deletion set.

        Args:
            source: of the random numbers.
            units: how many the bundle has.

        Returns:
            Sorted positions of units.

        """
        return tuple(source.subset(units, self.least + source.below(self.most - self.least + 1)))

    def allows(self, deleted: Sequence[int]) -> bool:
        """Whether this set of units can be drawn at all."""
        return self.least <= len(set(deleted)) <= self.most

    def __str__(self) -> str:
        if self.least == self.most:
            return f"sets of {counted(self.least, 'unit')}, every set equally likely"
        return f"sets of {self.least} to {self.most} units, every size and then every set of that size equally likely"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDeletions:
    """One of ``groups``, each equally likely: all of its units, or, rounded up, a ``share`` of them, any as likely.

    Attributes:
        kind: tells the distributions apart where they are stored.
        groups: positions of units, each group sorted, the groups in order; see `of_labels`.
        share: of a group's units that is drawn, above 0 and at most 1.

    Example:
        >>> likers = uk.GroupDeletions.of_labels({0: "nine", 1: "four", 2: "nine"})
        >>> likers.groups
        ((0, 2), (1,))

    """

    kind: Literal["groups"] = "groups"
    groups: tuple[tuple[Count, ...], ...]
    share: Annotated[Decimal, As(DecimalText, _share, decimal_text)] = Decimal(1)

    def __post_init__(self) -> None:
        members = [unit for group in self.groups for unit in group]
        if not self.groups or not all(self.groups) or len(set(members)) < len(members) or min(members) < 0:
            raise ValueError("groups: expected at least one, none empty, no unit in two of them")
        if list(self.groups) != sorted(tuple(sorted(group)) for group in self.groups):
            raise ValueError("groups: expected each sorted, and all of them in order")
        if not self.share.is_finite() or not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: expected a number above 0, at most 1")

    @classmethod
    def of_labels(cls, labels: Mapping[int, str], share: Decimal = Decimal(1)) -> GroupDeletions:
        """Units with the same label are a group; the labels themselves are not kept.

        Args:
            labels: by position of the unit.
            share: of a group's units that is drawn.

        Returns:
            The distribution.

        """
        found: dict[str, list[int]] = {}
        for unit, label in labels.items():
            found.setdefault(label, []).append(unit)
        return cls(groups=tuple(sorted(tuple(sorted(group)) for group in found.values())), share=share)

    def require_units(self, units: int) -> None:
        """ValueError unless a bundle with so many units has all that are named."""
        if max(map(max, self.groups)) >= units:
            raise ValueError(f"groups: unit {max(map(max, self.groups))} is named, there are {units}")

    def draw(self, source: Draw, units: int) -> tuple[int, ...]:  # noqa: ARG002  the groups say which units there are
        """One deletion set.

        Args:
            source: of the random numbers.
            units: how many the bundle has.

        Returns:
            Sorted positions of units.

        """
        group = self.groups[source.below(len(self.groups))]
        return tuple(group[place] for place in source.subset(len(group), self._size(group)))

    def _size(self, group: Sequence[int]) -> int:
        return int((self.share * len(group)).to_integral_value(ROUND_CEILING))

    def allows(self, deleted: Sequence[int]) -> bool:
        """Whether this set of units can be drawn at all."""
        wanted = set(deleted)
        return any(wanted <= set(group) and len(wanted) == self._size(group) for group in self.groups)

    def __str__(self) -> str:
        what = "the whole" if self.share == 1 else f"a share of {self.share.normalize():f}, rounded up,"
        return f"{what} of one of {len(self.groups)} stated groups of units, every group equally likely"


Distribution: TypeAlias = UnitDeletions | GroupDeletions | PlannedDeletions
"""The first two are for experiments: who draws from them chose them. Certificates rest on the last alone."""


class _Sketched(Protocol):
    """What draws are bound to: a bundle."""

    digest: str

    @property
    def units(self) -> Sequence[str]: ...


def draw_deletions(bundle: _Sketched, distribution: Distribution, count: int) -> tuple[tuple[int, ...], ...]:
    """The first ``count`` deletion sets, as sorted positions of units. More of them go on where fewer end.

    Bound to the bundle by ``draw_key(DOMAIN, bundle digest, canonical JSON of the distribution)``. ValueError for units
    that the bundle does not have.
    """
    distribution.require_units(len(bundle.units))
    if isinstance(distribution, PlannedDeletions):
        if count != distribution.count:
            raise ValueError(f"{counted(count, 'deletion')}: the plan has {distribution.count}")
        return distribution.draws(bundle.digest, len(bundle.units))
    key = draw_key(DOMAIN, bundle.digest, write_json(distribution).decode())
    return tuple(distribution.draw(Draw(key, number), len(bundle.units)) for number in range(count))


def parse_distribution(record: object, *, where: str) -> Distribution:
    """A distribution from its canonical form; FormatError for anything else."""
    return from_json(cast("type[Distribution]", Distribution), record, where=where)
