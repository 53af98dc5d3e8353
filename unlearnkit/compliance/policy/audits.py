"""The ``[audit]`` of a policy: which deletions are retrained as evidence, how many, and what that shall show.

Fixed in the policy, before there is a request, and before the draws (docs/theory.md section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Annotated

from unlearnkit.estimation.tolerance import retrainings_needed
from unlearnkit.names import counted, probability
from unlearnkit.shapes import As, Limits

Positive = Annotated[int, Limits(least=1)]
Probability = Annotated[Decimal, As(Decimal, probability, probability)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStratum:
    """Deletions of ``least`` to ``most`` people, of which ``count`` are drawn and retrained."""

    least: Positive
    most: Positive
    count: Positive

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError(f"a stratum of {self.least} to {self.most} people: expected least <= most")

    def __str__(self) -> str:
        """The sizes, in words."""
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"

    @property
    def people(self) -> str:
        """How many people, in words."""
        return counted(self.most, "person") if self.least == self.most else f"{self} people"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRules:
    """What is audited. Each stratum gives one statement: at most a share 1 - content of such deletions is outside.

    strata: by size, in order. content: the share that is inside. confidence: of that.
    """

    strata: tuple[PlannedStratum, ...] = ()
    content: Probability | None = None
    confidence: Probability | None = None

    def __post_init__(self) -> None:
        if any(before.most >= after.least for before, after in pairwise(self.strata)):
            raise ValueError("strata: expected them in order of size, and no size in two of them")
        if not self.strata:
            return
        if self.content is None or self.confidence is None:
            raise ValueError("strata without content and confidence: what shall the audit show?")
        needed = retrainings_needed(float(self.content), float(self.confidence))
        if few := [stratum for stratum in self.strata if stratum.count < needed]:
            raise ValueError(
                f"the stratum of {few[0]} has {counted(few[0].count, 'retraining')}: content {self.content} at "
                f"confidence {self.confidence} takes {needed}"
            )

    def within(self, units: int) -> tuple[PlannedStratum, ...]:
        """The strata of which a bundle with so many units has any deletion."""
        return tuple(stratum for stratum in self.strata if stratum.least <= units)

    def holding(self, size: int) -> PlannedStratum | None:
        """The stratum of deletions of so many people; None where none is audited."""
        return next((stratum for stratum in self.strata if stratum.least <= size <= stratum.most), None)

    def __str__(self) -> str:
        """The sizes, in words."""
        return ", ".join(map(str, self.strata)) or "nothing"

    @property
    def people(self) -> str:
        """How many people, in words."""
        return ", ".join([*map(str, self.strata[:-1]), *(last.people for last in self.strata[-1:])])
