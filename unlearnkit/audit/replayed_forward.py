"""Replays of what training gives along directions: constant terms, coefficients, slopes, series along units alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from unlearnkit.audit.again import Again
from unlearnkit.audit.comparison import Comparison, Rows, verify_same_names
from unlearnkit.audit.fitted import verify_not_fitted
from unlearnkit.audit.natural import Natural
from unlearnkit.bundle.bfloat16 import wide as numbers
from unlearnkit.bundle.informed import InformedSlopes
from unlearnkit.bundle.solo import SoloSketch
from unlearnkit.errors import RecipeError, VerificationError
from unlearnkit.estimation.lattice import lattice_points
from unlearnkit.sketching.forward import ForwardSketching, Outcome
from unlearnkit.training.recipe import Array
from unlearnkit.training.run import numpy_state
from unlearnkit.training.state import constant_of


class ForwardReplay:
    """Training again along directions of the bundle, and a fresh one. degree: that natural sizes are wanted of."""

    def __init__(self, again: Again, degree: int) -> None:
        self.again = again
        self.bundle = again.bundle
        self.sketching = ForwardSketching(again.run, max(degree, again.bundle.manifest.degree))
        self.rows = again.rows(again.bundle.manifest.direction_count)
        self._outcome = self._along_directions()
        self.natural = Natural.of(self._outcome)

    def comparisons(self) -> Iterator[Comparison]:
        """Everything that training along directions gave."""
        yield from self._constants()
        if self.rows:
            yield from self._coefficients()
            yield from self._weight_sketches()
        if self.bundle.informed is not None:
            yield from self._slopes(self.bundle.informed)
            for degree in self.bundle.manifest.informed.degrees:
                yield from self._forms(self.bundle.informed, degree)
        if self.bundle.solo is not None:
            yield from self._series(self.bundle.solo)

    def _along_directions(self) -> Outcome:
        manifest, source = self.bundle.manifest, self.bundle.directions
        psi = np.concatenate([*(source.block(row, row + 1) for row in self.rows), self.again.fresh()])
        directions = torch.from_numpy(psi).to(self.again.run.device, self.again.run.dtype.to_complex())
        try:
            outcome = self.sketching.along(directions, beside_plain=True)
        except RecipeError as error:
            raise VerificationError(f"the bundle cannot be of its recipe's plain run: {error}") from error
        # How often gradients are clipped, and where they are rounding alone, may depend on the precision.
        found = (entry for entry in self.sketching.reservations() if entry.kind not in ("kink", "rounding"))
        if hidden := [entry for entry in found if entry not in manifest.piecewise]:
            raise VerificationError(f"the bundle does not say that these are only piecewise analytic: {hidden}")
        return outcome

    def _constants(self) -> Iterator[Comparison]:
        """The trained model, and the probes' bases."""
        trained = {name: constant_of(leaf) for name, leaf in self._outcome.weights.items()}
        state, stored = numpy_state(self.again.run.model, trained), self.bundle.model_state()
        verify_same_names("weights", stored, state)
        floor = self.natural.weights(0)
        for name in sorted(stored):
            again, least = numbers(state[name]), floor if name in trained else 0.0
            yield self.again.compare("model", name, 0, (), stored[name], again, least)
        for name in self.bundle.probe_names:
            stored_base, base = self.bundle.probe(name).base, self._outcome.probes[name][0]
            yield self.again.compare("base", name, 0, (), stored_base, base, self.natural.moves[name], ())

    def _coefficients(self) -> Iterator[Comparison]:
        degrees = range(1, self.bundle.manifest.degree + 1)
        for name in self.bundle.probe_names:
            stored, (_, found) = self.bundle.probe(name).coefficients[list(self.rows)], self._outcome.probes[name]
            floors = [self.natural.probe(name, r) for r in degrees]
            yield from self.again.of_probe("coefficients", name, self.rows, stored, self._replayed(found), floors)

    def _replayed(self, tail: Array) -> Array:
        """Without the fresh direction, and in the degrees that the bundle has."""
        return tail[: len(self.rows), : self.bundle.manifest.degree]

    def _weight_sketches(self) -> Iterator[Comparison]:
        kept: dict[str, list[Array]] = {}
        for first, last, tails in self.bundle.weight_sketches():
            for name, tail in tails.items():
                kept.setdefault(name, []).append(tail[[row - first for row in self.rows if first <= row < last]])
        if not kept:
            return
        verify_same_names("weight sketches", kept, self._outcome.weights)
        floors = [self.natural.weights(r) for r in range(1, self.bundle.manifest.degree + 1)]
        for name, blocks in sorted(kept.items()):
            stored, found = np.concatenate(blocks), self._replayed(self._outcome.tail(name))
            yield from self.again.of_weights("weight sketch", name, self.rows, stored, found, floors)

    def _real(self, psi: Array, degree: int) -> Outcome:
        """Training along real directions."""
        rows = torch.from_numpy(psi).to(self.again.run.device, self.again.run.dtype)
        return self.sketching.to_degree(degree).along(rows)

    def _slopes(self, informed: InformedSlopes) -> Iterator[Comparison]:
        """Slopes of weights and probes along informed directions, which are themselves taken as they are."""
        verify_same_names("slopes", informed.weights, self.again.run.trained_names)
        rows = self.again.rows(len(informed.directions))
        picked, fresh = list(rows), self.again.fresh().real
        psi = np.concatenate([informed.directions[picked], fresh / np.linalg.norm(fresh)])
        outcome = self._real(psi, 1)
        natural = self.natural.along(outcome)
        for name, slopes in sorted(informed.weights.items()):
            replayed, floor = outcome.tail(name)[:-1, 0], natural.weights(1)
            yield self.again.compare("slopes", f"weight {name!r}", 1, rows, slopes[picked], replayed, floor)
        for name, slopes in sorted(informed.probes.items()):
            tail, floors = outcome.probes[name][1].real, natural.probe(name, 1)
            yield self.again.compare("slopes", f"probe {name!r}", 1, rows, slopes[picked], tail[:-1, 0], floors, (0,))
            self._verify_informed(name, informed, psi[-1], tail[-1, 0])

    def _forms(self, informed: InformedSlopes, degree: int) -> Iterator[Comparison]:
        """Forms of weights and probes at points on the span of the leading informed directions."""
        weights, probes = informed.weight_forms[degree - 2], informed.probe_forms[degree - 2]
        verify_same_names("forms", weights, self.again.run.trained_names)
        points = lattice_points(informed.leading, degree)
        rows = self.again.rows(len(points))
        picked = list(rows)
        outcome = self._real(points[picked] @ informed.directions[: informed.leading], degree)
        natural = self.natural.along(outcome)
        for name, stored in sorted(weights.items()):
            replayed, floor = outcome.tail(name)[:, -1].real, natural.weights(degree)
            yield self.again.compare("form", f"weight {name!r}", degree, rows, stored[picked], replayed, floor)
        for name, stored in sorted(probes.items()):
            replayed, floors = outcome.probes[name][1][:, -1].real, natural.probe(name, degree)
            yield self.again.compare("form", f"probe {name!r}", degree, rows, stored[picked], replayed, floors, (0,))

    def _verify_informed(self, name: str, informed: InformedSlopes, fresh: Array, slope: Array) -> None:
        """What informed directions leave of a probe's gradient, along the random directions and a fresh one."""
        count = self.bundle.manifest.direction_count
        psi = self.bundle.directions.block(0, count)
        flat = informed.probes[name].reshape(len(informed.directions), -1)
        stored = self.bundle.probe(name).coefficients[:, 0].reshape(count, flat.shape[1])
        kept = np.abs(stored - psi @ informed.directions.T @ flat) ** 2
        found = (slope.reshape(-1) - fresh @ informed.directions.T @ flat) ** 2
        rounding = (self.again.tolerance * np.linalg.norm(flat, axis=0)) ** 2
        verify_not_fitted(f"informed directions and probe {name!r}", kept, found, rounding)

    def _series(self, solo: SoloSketch) -> Iterator[Comparison]:
        """Series along units alone, of probes and, where they were kept, of weights."""
        rows = list(self.again.rows(len(solo.units)))
        positions = solo.units[rows]
        psi, units = np.eye(self.bundle.manifest.units)[positions], tuple(int(p) for p in positions)
        outcome = self._real(psi, solo.degree)
        natural, degrees = self.natural.along(outcome), range(1, solo.degree + 1)
        for name in self.bundle.probe_names:
            stored, tail = solo.probes[name][rows], outcome.probes[name][1].real
            floors = [natural.probe(name, r) for r in degrees]
            if name == self.bundle.manifest.own_loss:
                yield from self._own_series(name, units, stored, tail, floors)
            else:
                yield from self.again.of_probe("series", name, units, stored, tail, floors)
        kept = solo.weights(positions) if solo.keeps_weights else {}
        if kept:
            verify_same_names("weight series", kept, outcome.weights)
        for name, series in sorted(kept.items()):
            least = [natural.weights(r) for r in degrees]
            yield from self.again.of_weights("weight series", name, units, series, outcome.tail(name).real, least)

    def _own_series(
        self, name: str, units: Rows, stored: Array, tail: Array, floors: list[Array]
    ) -> Iterator[Comparison]:
        """Of own losses each unit's own element: ``[units, degree]``."""
        own = tail[np.arange(len(units)), :, units]
        for r, floor in enumerate(floors, start=1):
            yield self.again.compare("series", name, r, units, stored[:, r - 1], own[:, r - 1], floor[list(units)], ())
