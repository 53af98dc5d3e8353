"""What can be sketched of a recipe: the settings of `sketch`, each a record of one way to look at the training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from unlearnkit.errors import UnknownNameError
from unlearnkit.names import normal_name

Array = np.ndarray[Any, Any]

# More directions at once than this gain nothing, and make the pieces larger that an interrupted run loses and that many
# processes share: here those of a processor, whose caches are small.
LARGEST_CHUNK = 256
FORWARD_LANES = {"cpu": 128}

# Elements times real directions of one reverse sweep: the same.
SWEEP_LANES = 1280

# The same for units alone, on a processor's caches and elsewhere.
SOLO_LANES = {"cpu": 64}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forward:
    """Power series along random directions (docs/theory.md section 2): every pinned probe, and probes nobody named.

    Attributes:
        directions: how many random directions, or an explicit complex array ``[directions, units]`` for studies.
        degree: highest power kept.
        keep_weights: store the weights' series too, for probes that nobody pinned.
        chunk: directions at once; "auto" fits the memory budget.

    Example:
        >>> forward = uk.Forward(directions=16, degree=2, keep_weights=True)
        >>> forward.count
        16

    """

    directions: int | Array = 256
    degree: int = 2
    keep_weights: bool = False
    chunk: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.degree < 1 or (self.chunk != "auto" and self.chunk < 1):
            raise ValueError(f"degree={self.degree}, chunk={self.chunk}: expected whole numbers >= 1")
        if self.count < 1:
            raise ValueError(f"directions={self.count}: expected at least 1")

    @property
    def count(self) -> int:
        """How many directions."""
        return self.directions if isinstance(self.directions, int) else len(self.directions)

    def explicit(self, units: int) -> Array | None:
        """The directions that somebody chose, ``[directions, units]``; None for random ones.

        Raises:
            ValueError: another shape, or numbers that are not finite.

        """
        if isinstance(self.directions, int):
            return None
        array = np.ascontiguousarray(self.directions, dtype=np.complex128)
        if array.ndim != 2 or array.shape[1] != units:
            raise ValueError(f"directions: got an array of shape {array.shape}, expected [directions, units={units}]")
        if not np.isfinite(array).all():
            raise ValueError("directions: not all numbers are finite")
        return array


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverse:
    """Reverse sweeps of one pinned probe (docs/theory.md sections 8, 10): its exact first order, low-rank ones above.

    Attributes:
        rank: columns of the basis for the second order, which takes twice as many products with each element's
            Hessian and keeps twice as many of its eigenpairs, or four times beside series along units alone; 0:
            first order alone.
        residual: random directions for the error of the second order; 0: it is not known.
        cubic: leading directions of the second order for the third one, which takes a degree-two sweep along each and
            each pair; its error is not known. 0: no third order.

    Example:
        >>> uk.Reverse(rank=64, residual=32, cubic=4)
        Reverse(rank=64, residual=32, cubic=4)

    """

    rank: int = 64
    residual: int = 32
    cubic: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "residual", "cubic"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}, expected a whole number >= 0")
        if self.residual and not self.rank:
            raise ValueError("residual without a rank: it measures what the low-rank second order leaves out")
        if self.cubic > self.rank:
            raise ValueError(f"cubic={self.cubic} with rank={self.rank}: it takes columns of the basis of that rank")


FIRST_ORDER = Reverse(rank=0, residual=0)
"""One reverse sweep: the exact gradient over all units, and nothing above."""


@dataclass(frozen=True, slots=True)
class Informed:
    """Directions along which the trained weights move most (docs/theory.md section 9), for any probe and any units.

    Attributes:
        count: how many; the first moves the weights most. What the weights do along them is always kept.
        degree: 1: slopes along each; above that, everything to this degree on the span of the leading ones, which takes
            another push along each point of a lattice: ``leading (leading + 1) / 2`` of them for degree 2.
        leading: how many of them, at most; of no use at degree 1.
        power_iterations: rounds of refinement; each makes them better, for another push and pull.

    Example:
        >>> uk.Informed(128, degree=2)
        Informed(count=128, degree=2, leading=32, power_iterations=1)

    """

    count: int
    degree: int = 1
    leading: int = 32
    power_iterations: int = 1

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("degree", 1), ("leading", 1), ("power_iterations", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"informed: {name}={getattr(self, name)}, expected at least {least}")

    @property
    def spanned(self) -> int:
        """How many leading directions have degrees above one: none at degree 1."""
        return min(self.leading, self.count) if self.degree > 1 else 0


@dataclass(frozen=True, slots=True)
class Solo:
    """Series along each unit alone (docs/theory.md section 10): exact for single units, exact diagonals for sets.

    Attributes:
        degree: highest power kept.
        units: which units; None: all of them.
        keep_weights: store the trained weights' series too, for the models that they predict.

    Example:
        >>> uk.Solo(degree=2, units=["ann", "bob"])
        Solo(degree=2, units=['ann', 'bob'], keep_weights=False)

    """

    degree: int = 3
    units: Sequence[str | int] | None = None
    keep_weights: bool = False

    def __post_init__(self) -> None:
        if self.degree < 1:
            raise ValueError(f"degree={self.degree}, expected a whole number >= 1")
        if self.units is not None and (isinstance(self.units, str) or not len(self.units)):
            raise ValueError(f"units={self.units!r}, expected a list of units, or None for all")

    def positions(self, names: Sequence[str]) -> tuple[int, ...]:
        """Where the units are among all ``names``, increasing.

        Raises:
            UnknownNameError: a unit that is not there.
            ValueError: a unit named twice.

        """
        if self.units is None:
            return tuple(range(len(names)))
        wanted, known = [normal_name(unit) for unit in self.units], set(names)
        if unknown := [unit for unit in wanted if unit not in known]:
            raise UnknownNameError(f"solo: the recipe has no unit {', '.join(map(repr, unknown[:10]))}")
        if len(set(wanted)) < len(wanted):
            raise ValueError("solo: a unit is named more than once")
        chosen = set(wanted)
        return tuple(i for i, name in enumerate(names) if name in chosen)
