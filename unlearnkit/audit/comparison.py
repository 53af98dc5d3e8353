"""Numbers of a bundle beside what its recipe gives when it is trained again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch

from unlearnkit.bundle import Bundle, Directions, random_directions
from unlearnkit.bundle.informed import InformedSlopes
from unlearnkit.errors import RecipeError, VerificationError
from unlearnkit.estimation import ReverseSketch
from unlearnkit.sketching.forward import ForwardSketching, Outcome
from unlearnkit.sketching.second_order import SWEEP_LANES, ReverseSketching, Sweep
from unlearnkit.sketching.settings import FIRST_ORDER
from unlearnkit.training.recipe import Array
from unlearnkit.training.run import Run, numpy_state
from unlearnkit.training.state import constant_of

FACTOR = 64
"""How many times ``eps sqrt(steps)`` two honest numbers may be apart; see `unlearnkit.audit.replay`."""

SHARE = 16
"""The scale of numbers that may be zero but for rounding is at least that part of the largest; see there."""

# Chance of a false alarm for one number of a probe, when what it concerns was fitted to nothing.
_CHANCE = 1e-9
# Memory for the checkpoints of a reverse sweep.
_SWEEP_BYTES = 1 << 30

Kind: TypeAlias = Literal["model", "base", "coefficients", "weight sketch", "slopes", "gradient", "residual"]
"""What numbers can be of; "model" and "base" are constant terms."""
Rows: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Numbers of the bundle, and what the recipe gives instead.

    kind, name, degree: what they are of; degree 0 for constant terms. rows: numbers of the directions (or of the
    elements, for gradients) that the first dimension runs over; empty where there are none.
    stored, replayed: same shape. tolerance: largest difference, relative to ``scale``. floor: least scale.
    """

    kind: Kind
    name: str
    degree: int
    rows: Rows
    stored: Array
    replayed: Array
    tolerance: float
    floor: float

    @property
    def scale(self) -> float:
        """The largest number of the replay, or the floor: nothing in the bundle can make it larger."""
        return largest(self.replayed, least=self.floor)

    @property
    def differences(self) -> Array:
        """Absolute, element by element."""
        return np.asarray(np.abs(wide(self.stored) - wide(self.replayed)))

    @property
    def difference(self) -> float:
        """The largest difference."""
        return float(self.differences.max(initial=0))

    @property
    def agrees(self) -> bool:
        """Whether all numbers are the same, within the tolerance."""
        return self.difference <= self.tolerance * self.scale

    def __str__(self) -> str:
        """What is compared, in words."""
        what = _WORDS[self.kind].format(self.name)
        return what if self.kind in _CONSTANT else f"{what}, degree {self.degree}"

    def worst(self) -> str:
        """Where the largest difference is, and how large."""
        place = tuple(int(i) for i in np.unravel_index(int(self.differences.argmax()), self.stored.shape))
        got, expected, most = self.stored[place], self.replayed[place], self.tolerance * self.scale
        row = [f"{'element' if self.kind == 'gradient' else 'direction'} {self.rows[place[0]]}"] if self.rows else []
        rest = place[len(row) :]
        where = ", ".join([str(self), *row, *([f"position {list(rest)}"] if rest else [])])
        return f"{where}: the bundle has {got:.9g}, the recipe gives {expected:.9g}, at most {most:.3g} apart expected"


_CONSTANT = ("model", "base")
_WORDS: dict[Kind, str] = {
    "model": "trained weight {!r}",
    "base": "probe {!r}, base",
    "coefficients": "probe {!r}",
    "weight sketch": "weight {!r}",
    "slopes": "{}, along informed directions",
    "gradient": "probe {!r}, gradient by reverse sweeps",
    "residual": "probe {!r}, residual of reverse sweeps",
}


@dataclass(frozen=True, slots=True)
class Replayer:
    """What is trained again, and beside what. chosen: an index counts modulo the directions of each kind."""

    bundle: Bundle
    run: Run
    chosen: tuple[int, ...]
    tolerance: float

    def comparisons(self) -> Iterator[Comparison]:
        """Train along the directions, and compare everything that they gave."""
        outcome = self._forward()
        yield from self._constants(outcome)
        if rows := self._rows(self.bundle.manifest.direction_count):
            yield from self._coefficients(outcome, rows)
            yield from self._weight_sketches(outcome, rows)
        yield from self._slopes()
        for entry in self.bundle.manifest.reverse:
            sketch = self.bundle.probe(entry.name)
            if sketch.reverse is not None:
                yield from self._reverse_sweeps(entry.name, sketch.base.shape, sketch.reverse)

    def _rows(self, count: int) -> Rows:
        """Which of so many directions to replay."""
        return tuple(sorted({index % count for index in self.chosen})) if count else ()

    def _forward(self) -> Outcome:
        """Training along random directions; where there are none, along one that leads nowhere."""
        manifest, source = self.bundle.manifest, self.bundle.directions
        rows = self._rows(manifest.direction_count)
        psi = [source.block(row, row + 1) for row in rows] or [np.zeros((1, manifest.units))]
        sketching = ForwardSketching(self.run, manifest.degree)
        directions = torch.from_numpy(np.concatenate(psi)).to(self.run.device, self.run.dtype.to_complex())
        try:
            outcome = sketching.along(directions, beside_plain=True)
        except RecipeError as error:
            raise VerificationError(f"the bundle cannot be of its recipe's plain run: {error}") from error
        # How often gradients are clipped, and where they are rounding alone, may depend on the precision.
        found = (entry for entry in sketching.reservations() if entry.kind not in ("kink", "rounding"))
        if hidden := [entry for entry in found if entry not in manifest.piecewise]:
            raise VerificationError(f"the bundle does not say that these are only piecewise analytic: {hidden}")
        return outcome

    def _constants(self, outcome: Outcome) -> Iterator[Comparison]:
        """The trained model, and the probes' bases."""
        trained = {name: constant_of(leaf) for name, leaf in outcome.weights.items()}
        state, stored = numpy_state(self.run.model, trained), self.bundle.model_state()
        verify_same_names("weights", stored, state)
        floor = _reach(outcome)[0] / SHARE
        for name in sorted(stored):
            least = floor if name in trained else 0.0
            yield self._compare("model", name, 0, (), stored[name], state[name], least)
        for name in self.bundle.probe_names:
            yield self._compare("base", name, 0, (), self.bundle.probe(name).base, outcome.probes[name][0])

    def _coefficients(self, outcome: Outcome, rows: Rows) -> Iterator[Comparison]:
        size, *moved = _reach(outcome)
        for name in self.bundle.probe_names:
            base, replayed = outcome.probes[name]
            floors = [largest(base) * reach / size / SHARE if size else 0.0 for reach in moved]
            stored = self.bundle.probe(name).coefficients[list(rows)]
            yield from self._by_degree("coefficients", name, rows, stored, replayed, floors)

    def _weight_sketches(self, outcome: Outcome, rows: Rows) -> Iterator[Comparison]:
        kept: dict[str, list[Array]] = {}
        for first, last, tails in self.bundle.weight_sketches():
            for name, tail in tails.items():
                kept.setdefault(name, []).append(tail[[row - first for row in rows if first <= row < last]])
        if not kept:
            return
        verify_same_names("weight sketches", kept, outcome.weights)
        floors = [reach / SHARE for reach in _reach(outcome)[1:]]
        for name, blocks in sorted(kept.items()):
            yield from self._by_degree("weight sketch", name, rows, np.concatenate(blocks), outcome.tail(name), floors)

    def _slopes(self) -> Iterator[Comparison]:
        """Slopes of weights and probes along informed directions, which are themselves taken as they are."""
        informed = self.bundle.informed
        if informed is None:
            return
        verify_same_names("slopes", informed.weights, self.run.trained_names)
        rows = self._rows(len(informed.directions))
        picked, fresh = list(rows), self._fresh().real
        psi = np.concatenate([informed.directions[picked], fresh / np.linalg.norm(fresh)])
        outcome = ForwardSketching(self.run, 1).along(torch.from_numpy(psi).to(self.run.device, self.run.dtype))
        size, moved = _reach(outcome)
        for name, slopes in sorted(informed.weights.items()):
            replayed = outcome.tail(name)[:-1, 0]
            yield self._compare("slopes", f"weight {name!r}", 1, rows, slopes[picked], replayed, moved / SHARE)
        for name, slopes in sorted(informed.probes.items()):
            base, tail = outcome.probes[name]
            floor = largest(base) * moved / size / SHARE if size else 0.0
            yield self._compare("slopes", f"probe {name!r}", 1, rows, slopes[picked], tail[:-1, 0], floor)
            self._verify_informed(name, informed, psi[-1], tail[-1, 0])

    def _verify_informed(self, name: str, informed: InformedSlopes, fresh: Array, slope: Array) -> None:
        """What informed directions leave of a probe's gradient, along the random directions and a fresh one."""
        count = self.bundle.manifest.direction_count
        psi = self.bundle.directions.block(0, count)
        flat = informed.probes[name].reshape(len(informed.directions), -1)
        stored = self.bundle.probe(name).coefficients[:, 0].reshape(count, flat.shape[1])
        kept = np.abs(stored - psi @ informed.directions.T @ flat) ** 2
        found = (slope.reshape(-1) - fresh @ informed.directions.T @ flat) ** 2
        rounding = (self.tolerance * np.linalg.norm(flat, axis=0)) ** 2
        _verify_not_fitted(f"informed directions and probe {name!r}", kept, found, rounding)

    def _reverse_sweeps(self, name: str, shape: tuple[int, ...], stored: ReverseSketch) -> Iterator[Comparison]:
        """Gradients of a probe, and products of its Hessians with residual directions and a fresh one."""
        rows = self._rows(len(stored.residual))
        picked = [stored.directions.block(row, row + 1) for row in rows]
        psi = np.concatenate([*picked, self._fresh()]) if rows else None
        work = ReverseSketching(self.run, self.run.recipe.probes[name], shape, FIRST_ORDER)
        pieces = [work.run_sweep(sweep, psi, _SWEEP_BYTES) for sweep in _sweeps(work.elements, len(rows) + 1)]
        gradient = np.concatenate([piece.gradient for piece in pieces])
        yield self._compare("gradient", name, 1, tuple(range(work.elements)), stored.gradient, gradient)
        if psi is not None:
            products = np.concatenate([piece.products for piece in pieces], axis=1)
            yield self._compare("residual", name, 2, rows, stored.residual[list(rows)], products[:-1])
            again = replace(stored, residual=products[-1:], directions=Directions.explicit(psi[-1:]))
            kept, found = (np.stack([_squares(p) for p in s.residual_products()], axis=1) for s in (stored, again))
            rounding = self.tolerance**2 * _squares(products[-1])
            _verify_not_fitted(f"eigenpairs of probe {name!r}", kept, found[0], rounding)

    def _fresh(self) -> Array:
        """A direction that whoever made the bundle did not know, ``[1, units]``."""
        return random_directions(secrets.token_bytes(16), 0, 1, self.bundle.manifest.units)

    def _by_degree(
        self, kind: Kind, name: str, rows: Rows, stored: Array, replayed: Array, floors: Sequence[float]
    ) -> Iterator[Comparison]:
        """Arrays ``[directions, degree, *S]``, one degree at a time."""
        for degree, floor in enumerate(floors, start=1):
            yield self._compare(kind, name, degree, rows, stored[:, degree - 1], replayed[:, degree - 1], floor)

    def _compare(
        self, kind: Kind, name: str, degree: int, rows: Rows, stored: Array, replayed: Array, floor: float = 0.0
    ) -> Comparison:
        if stored.shape != replayed.shape:
            raise VerificationError(f"{name!r}: shape {stored.shape} in the bundle, its recipe gives {replayed.shape}")
        return Comparison(
            kind=kind,
            name=name,
            degree=degree,
            rows=rows,
            stored=stored,
            replayed=replayed,
            tolerance=self.tolerance,
            floor=floor,
        )


def _verify_not_fitted(what: str, kept: Array, fresh: Array, rounding: Array) -> None:
    """What was found from the data leaves out as much along a fresh direction as along the bundle's own random ones.

    Estimates of what it leaves out rest on its not having been fitted to those, which whoever makes a bundle knows.
    kept: squares of what is left out, ``[directions, elements]``; fresh: the same, and what rounding makes of it,
    ``[elements]``. Fitted to nothing, both are about a positive quadratic form of random vectors, which varies most at
    rank one. There m kept ones are exponential, the fresh one, if real, is chi squared of one degree, and it exceeds
    ``t`` times their mean with probability at most ``(1 + t / 2m)^-m``, by its Chernoff bound averaged over them.
    """
    count = len(kept)
    if not count:
        return
    most = 2 * count * (_CHANCE ** (-1 / count) - 1)
    if (wrong := np.flatnonzero(fresh > most * kept.mean(axis=0) + rounding)).size:
        raise VerificationError(
            f"{what}, element {wrong[0]}: along a fresh random direction they leave out far more than the bundle shows",
            hint="they were fitted to the bundle's random directions, so what it says of its own error is false",
        )


def _squares(vectors: Array) -> Array:
    """Squared lengths along the last dimension."""
    return np.asarray((np.abs(vectors) ** 2).sum(axis=-1))


def _sweeps(elements: int, directions: int) -> Iterator[Sweep]:
    """Some elements at a time, so that each sweep fits the memory."""
    width = max(1, SWEEP_LANES // (2 * directions))
    for first in range(0, elements, width):
        yield Sweep("residual", first, min(first + width, elements), 0, directions)


def _reach(outcome: Outcome) -> list[float]:
    """The largest trained weight, and the largest coefficient of each degree, over all weights and directions."""
    constants = [largest(constant_of(leaf).detach().cpu().numpy()) for leaf in outcome.weights.values()]
    tails = [outcome.tail(name) for name in outcome.weights]
    return [max(constants), *(max(largest(tail[:, r]) for tail in tails) for r in range(outcome.degree))]


def verify_same_names(what: str, stored: Iterable[str], expected: Iterable[str]) -> None:
    """VerificationError unless both are the same names, in any order."""
    if sorted(stored) != sorted(expected):
        raise VerificationError(f"the bundle has the {what} {sorted(stored)}, its recipe {sorted(expected)}")


def wide(array: Array) -> Array:
    """The same numbers in double precision."""
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def largest(array: Array, *, least: float = 0.0) -> float:
    """The largest absolute value, or ``least``."""
    return float(np.abs(wide(array)).max(initial=least))
