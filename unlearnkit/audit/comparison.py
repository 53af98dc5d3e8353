"""Numbers of a bundle beside what its recipe gives when it is trained again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from unlearnkit.errors import VerificationError
from unlearnkit.training.recipe import Array

FACTOR = 64
"""How many times ``eps sqrt(steps)`` two honest numbers may be apart; see `unlearnkit.audit.replay`."""

Kind: TypeAlias = Literal[
    "model",
    "base",
    "coefficients",
    "weight sketch",
    "slopes",
    "form",
    "gradient",
    "residual",
    "cubic basis",
    "cubic",
    "series",
    "weight series",
]
"""What numbers can be of; "model" and "base" are constant terms."""
Rows: TypeAlias = tuple[int, ...]

_CONSTANT = ("model", "base", "cubic basis")
_WORDS: dict[Kind, str] = {
    "model": "trained weight {!r}",
    "base": "probe {!r}, base",
    "coefficients": "probe {!r}",
    "weight sketch": "weight {!r}",
    "slopes": "{}, along informed directions",
    "form": "{}, on the span of informed directions",
    "gradient": "probe {!r}, gradient by reverse sweeps",
    "residual": "probe {!r}, residual of reverse sweeps",
    "cubic basis": "probe {!r}, products of the cubic form's basis vectors",
    "cubic": "probe {!r}, cubic form by reverse sweeps",
    "series": "probe {!r}, series along units alone",
    "weight series": "weight {!r}, series along units alone",
}
_ROWS: dict[Kind, str] = {
    "form": "point",
    "gradient": "element",
    "cubic": "pair",
    "series": "unit",
    "weight series": "unit",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Numbers of the bundle, and what the recipe gives instead.

    kind, name, degree: what they are of; degree 0 for constant terms. rows: numbers of what the first dimension runs
    over: directions, elements (gradients), positions of units (series), pairs of basis vectors (cubic forms), points
    (forms on a span); empty where there are none.
    stored, replayed: same shape. tolerance: largest difference, relative to ``scale``. floor: least scale, broadcasts.
    shared: the dimensions over which one scale is; every element of a probe has its own.
    """

    kind: Kind
    name: str
    degree: int
    rows: Rows
    stored: Array
    replayed: Array
    tolerance: float
    floor: Array
    shared: tuple[int, ...]

    @property
    def scale(self) -> Array:
        """The largest number of the replay, or the floor: nothing in the bundle can make it larger. It broadcasts."""
        sizes = np.abs(wide(self.replayed))
        return np.asarray(np.maximum(sizes.max(axis=self.shared, keepdims=True, initial=0), self.floor))

    @property
    def differences(self) -> Array:
        """Absolute, element by element."""
        return np.asarray(np.abs(wide(self.stored) - wide(self.replayed)))

    @property
    def difference(self) -> float:
        """The largest difference."""
        return float(self.differences.max(initial=0))

    @property
    def share(self) -> float:
        """The largest difference for its scale; infinite where that is zero, and for numbers that are not finite."""
        return float(self._shares.max(initial=0))

    @property
    def _shares(self) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(self.differences == 0, 0.0, self.differences / self.scale)
        return np.where(np.isnan(shares), np.inf, shares)

    @property
    def agrees(self) -> bool:
        """Whether all numbers are the same, within the tolerance."""
        return self.share <= self.tolerance

    def __str__(self) -> str:
        """What is compared, in words."""
        what = _WORDS[self.kind].format(self.name)
        return what if self.kind in _CONSTANT else f"{what}, degree {self.degree}"

    def worst(self) -> str:
        """Where the largest difference for its scale is, and how large."""
        place = tuple(int(i) for i in np.unravel_index(int(self._shares.argmax()), self.stored.shape))
        most = self.tolerance * float(np.broadcast_to(self.scale, self.stored.shape)[place])
        got, expected = self.stored[place], self.replayed[place]
        row = [f"{_ROWS.get(self.kind, 'direction')} {self.rows[place[0]]}"] if self.rows else []
        rest = place[len(row) :]
        where = ", ".join([str(self), *row, *([f"position {list(rest)}"] if rest else [])])
        return f"{where}: the bundle has {got:.9g}, the recipe gives {expected:.9g}, at most {most:.3g} apart expected"


def verify_same_names(what: str, stored: Iterable[str], expected: Iterable[str]) -> None:
    """VerificationError unless both are the same names, in any order."""
    if sorted(stored) != sorted(expected):
        raise VerificationError(f"the bundle has the {what} {sorted(stored)}, its recipe {sorted(expected)}")


def wide(array: Array) -> Array:
    """The same numbers in double precision."""
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def largest(array: Array) -> float:
    """The largest absolute value."""
    return float(np.abs(wide(array)).max(initial=0))
