"""How often certified bounds fail, and how wide they are: simulations with functions whose terms are known.

    python benchmarks/bounds.py [--trials 2000] [--only projection averages decisions digits]

Fresh random directions in every trial. A bound that follows an exact law must fail as often as it says, no more and no
less: the share of failures must lie inside the binomial band of delta, from both sides. Averages may fail less often.
Widths are compared, trial by trial, with the bounds of `beta_law`. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from beta_law import projection_constants, residual_bound
from scipy.stats import binom
from unlearnkit.examples import digits as example

import unlearnkit as uk
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import Projection, ReverseSketch, Sketch
from unlearnkit.estimation.averaging import averaging_constants
from unlearnkit.estimation.certified import projected
from unlearnkit.estimation.constants import moment_ratio
from unlearnkit.estimation.estimate import Chance
from unlearnkit.estimation.first_order import FirstOrder
from unlearnkit.estimation.projection import inner_products
from unlearnkit.estimation.swept import Swept

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.estimation.polynomials import Fixed, uniform_directions
from tests.estimation.simulation import KINDS, Outcome, averaged

Array = np.ndarray[Any, Any]

DELTAS = (0.05, 0.5)
SHAPES = ((3, 1), (10, 2), (40, 3), (60, 20), (300, 16), (1000, 8), (1000, 64))
"""Units and directions."""
BAND = 1e-3
"""Chance that one right share of failures lies outside its band, on either side."""


def main() -> None:
    """All parts, a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    for name in options.only:
        PARTS[name](options.trials)


def verdict(failures: int, trials: int, delta: float, *, exact: bool) -> str:
    """The share of failures, and whether it is what delta says."""
    low, high = binom.ppf([BAND / 2, 1 - BAND / 2], trials, delta)
    is_right = (low <= failures or not exact) and failures <= high
    return f"{failures / trials:.4f}{'' if is_right else ' WRONG'}"


# Degree one by projection, and what a low rank leaves out: Student's law.


@dataclass(frozen=True)
class Case:
    """One deletion and the gradients of several elements, ``[units, E]``, by name."""

    x: Array
    gradients: Array
    names: tuple[str, ...]


def case(rng: np.random.Generator, units: int) -> Case:
    """A deletion of a twentieth, two at least, and gradients along it, on one unit of it, across it and at random."""
    x = (np.arange(units) < max(2, units // 20)).astype(float)
    spike, across = np.zeros(units), 1 - x
    spike[0] = 1
    kinds = {"aligned": x + 0.01 * rng.standard_normal(units), "spike": spike, "across": across}
    kinds["general"] = rng.standard_normal(units)
    return Case(x, np.stack(list(kinds.values()), axis=1), tuple(kinds))


def projections(trials: int) -> None:
    """Failures and widths of degree one, without and with informed directions."""
    print(f"\nDegree one by projection: {trials} trials, failures at delta {DELTAS[0]} and {DELTAS[1]}\n")
    print("| units | directions | informed | gradient | failures 0.05 | 0.5 | width / Beta law | its failures |")
    print("|---|---|---|---|---|---|---|---|")
    for units, count in SHAPES:
        rng = np.random.default_rng([units, count])
        asked = case(rng, units)
        for informed in (0, max(1, units // 10)):
            basis = np.linalg.qr(rng.standard_normal((units, informed)))[0] if informed else None
            if 2 * count >= units - informed:
                continue
            _print_projection(asked, units, count, informed, _projection_trials(rng, asked, count, basis, trials))


def _projection_trials(
    rng: np.random.Generator, asked: Case, count: int, basis: Array | None, trials: int
) -> tuple[Array, Array, Array]:
    """Whether Student's law failed, ``[trials, deltas, E]``; the Beta law at the first; their widths' ratio."""
    sets, truth = asked.x[None], asked.x @ asked.gradients
    failed, former, ratios = [], [], []
    for _ in range(trials):
        psi = uniform_directions(rng, count, len(asked.x))
        slopes = None if basis is None else basis.T @ asked.gradients
        first = FirstOrder(Projection(Fixed(psi), basis), psi @ asked.gradients, slopes)
        parts = [projected(first, sets, Chance(delta, 2)) for delta in DELTAS]
        failed.append([np.abs(part.estimate[0] - truth) > part.epsilon[0] * (1 + 1e-9) + 1e-12 for part in parts])
        estimate, epsilon = _beta(first, sets)
        former.append(np.abs(estimate - truth) > epsilon)
        ratios.append(parts[0].epsilon[0] / epsilon)
    return np.array(failed), np.array(former), np.array(ratios)


def _beta(first: FirstOrder, sets: Array) -> tuple[Array, Array]:
    """Estimate and bound of the Beta law."""
    projection = first.projection
    overlap, _, length = first.overlap(sets)
    constants = projection_constants(projection.rank, projection.dimension, DELTAS[0])
    estimate = overlap[0] * projection.dimension / projection.rank
    gradient = np.linalg.norm(first.gradient, axis=0)
    known, _ = first.informed_part(sets)
    return known[0] + estimate, constants.shrink * np.abs(estimate) + constants.spread * np.sqrt(length[0]) * gradient


def _print_projection(asked: Case, units: int, count: int, informed: int, found: tuple[Array, Array, Array]) -> None:
    failed, former, ratios = found
    for e, name in enumerate(asked.names):
        shares = [verdict(int(failed[:, d, e].sum()), len(failed), delta, exact=True) for d, delta in enumerate(DELTAS)]
        place = f"| {units} | {count} | {informed} | {name} | {' | '.join(shares)} |"
        print(place, f"{np.median(ratios[:, e]):.2f} | {former[:, e].mean():.4f} |", flush=True)


def remainders(trials: int) -> None:
    """Failures and widths of what a low rank leaves out."""
    print(f"\nWhat a low rank leaves out: {trials} trials\n")
    print("| units | directions | Hessian | failures 0.05 | 0.5 | width / robust mean |")
    print("|---|---|---|---|---|---|")
    for units, count in ((10, 2), (60, 12), (200, 32), (300, 64)):
        rng = np.random.default_rng([units, count, 2])
        x = (np.arange(units) < max(2, units // 20)).astype(float)
        hessians, names = _hessians(rng, x)
        failed, ratios = _remainder_trials(rng, x, hessians, count, trials)
        for e, name in enumerate(names):
            shares = [verdict(int(failed[:, d, e].sum()), trials, delta, exact=True) for d, delta in enumerate(DELTAS)]
            width = f"{np.median(ratios[:, e]):.2f}" if np.isfinite(ratios[0, e]) else "none: too few"
            print(f"| {units} | {count} | {name} | {' | '.join(shares)} | {width} |", flush=True)


def _hessians(rng: np.random.Generator, x: Array) -> tuple[Array, tuple[str, ...]]:
    """``[E, units, units]``: at random, along the deletion, diagonal, and turning it into something across it."""
    units = len(x)
    general = rng.standard_normal((units, units))
    general += general.T
    across = rng.standard_normal(units) * (x == 0)
    found = {"general": general, "aligned": np.outer(x, x) + 0.01 * general}
    found |= {"diagonal": np.diag(rng.standard_normal(units)), "across": np.outer(x, across) + np.outer(across, x)}
    return np.stack(list(found.values())), tuple(found)


def _remainder_trials(
    rng: np.random.Generator, x: Array, hessians: Array, count: int, trials: int
) -> tuple[Array, Array]:
    truth = np.einsum("u,euv,v->e", x, hessians, x) / 2
    failed, ratios = [], []
    elements, units = hessians.shape[:2]
    none = np.zeros((elements, units, 1)), np.zeros((elements, 1))
    for _ in range(trials):
        psi = uniform_directions(rng, count, units)
        residual = np.einsum("euv,jv->jeu", hessians, psi)
        reverse = ReverseSketch(np.zeros((elements, units)), *none, residual, Fixed(psi))
        parts = [Swept(reverse).parts(x[None], [2], Chance(delta, 2), "catoni")[0] for delta in DELTAS]
        failed.append([np.abs(p.estimate[0] - truth) > p.epsilon[0] * (1 + 1e-9) + 1e-12 for p in parts])
        ratios.append(parts[0].epsilon[0] / _robust(reverse, x[None])[0])
    return np.array(failed), np.array(ratios)


def _robust(reverse: ReverseSketch, sets: Array, delta: float = DELTAS[0]) -> Array:
    """The bound by robust means, ``[sets, E]``; NaN where there are too few directions."""
    units, count = reverse.directions.units, len(reverse.residual)
    try:
        constants = averaging_constants(moment_ratio(units, 1), count, 0.9 * delta, "catoni")
    except EstimationError:
        return np.full((len(sets), reverse.residual.shape[1]), np.nan)
    h, squared = inner_products(reverse.directions, sets).conj(), (sets**2).sum(1)
    along = np.stack([sets @ products.T for products in reverse.residual_products()], axis=-1)  # [sets, m, E]
    bounds = [
        residual_bound(h[i][:, None], along[i], float(squared[i]), units, constants)[1] / 2 for i in range(len(sets))
    ]
    return np.array(bounds)


# Degrees above one that are averaged: robust means.


def averages(trials: int) -> None:
    """Failures of averaged degrees, which may be fewer than delta, and widths over real errors."""
    print(f"\nAveraged degrees: {trials} trials, delta {DELTAS[0]}\n")
    print("| bound | units | directions | f | failures | epsilon / 95 % error |")
    print("|---|---|---|---|---|---|")
    for degree, method, units, count, kind in _averaged_cases():
        settings = {"kind": kind, "units": units, "count": count, "degree": degree, "method": method}
        rng = np.random.default_rng([degree, units, count])
        try:
            blocks = [
                averaged(rng, delta=DELTAS[0], trials=min(250, trials - i), **settings) for i in range(0, trials, 250)
            ]
        except EstimationError:
            continue
        outcome = Outcome(np.concatenate([b.error for b in blocks]), np.concatenate([b.epsilon for b in blocks]))
        share = verdict(outcome.failures, trials, DELTAS[0], exact=False)
        print(f"| degree {degree}, {method} | {units} | {count} | {kind} | {share} | {outcome.ratio:.1f} |", flush=True)


def _averaged_cases() -> Iterator[tuple[int, str, int, int, str]]:
    for degree in (2, 3):
        for method in ("catoni", "median-of-means"):
            for units, count in ((100, 256), (1000, 512)):
                for kind in KINDS:
                    yield degree, method, units, count, kind


# Decisions: an intersection-union test at the boundary.


def decisions(trials: int) -> None:
    """How often "negligible" is wrong where one of 40 elements lies on the tolerance, and the widths."""
    units, count, elements, rng = 300, 40, 40, np.random.default_rng(7)
    x = (np.arange(units) < 15).astype(float)
    gradients = 0.02 * rng.standard_normal((elements, units))
    gradients -= np.outer(gradients @ x, x) / (x @ x)  # no element moves but the first, and that by the tolerance
    gradients[0] += x / (x @ x) * (tolerance := 1.0)
    print(f"\n'Negligible' with one of {elements} elements on the tolerance: {trials} trials, delta {DELTAS[0]}\n")
    print("| delta is for | wrong | median epsilon |")
    print("|---|---|---|")
    wrong, widths = {"each": 0, "all": 0}, {"each": [], "all": []}
    for _ in range(trials):
        psi = uniform_directions(rng, count, units)
        sketch = Sketch(
            name="f",
            base=np.zeros(elements),
            coefficients=(psi @ gradients.T)[:, None],
            projection=Projection(Fixed(psi)),
            resolve=np.asarray,
        )
        for family in ("each", "all"):
            bound = sketch.bound(x[None], DELTAS[0], family=family)
            wrong[family] += bool((np.abs(bound.estimate) + bound.epsilon <= tolerance).all())
            widths[family].append(float(np.median(bound.epsilon)))
    for family, exact in (("each", True), ("all", False)):
        share = verdict(wrong[family], trials, DELTAS[0], exact=exact)
        print(f"| {family} | {share} | {np.median(widths[family]):.4f} |", flush=True)


# The digits example: widths on a real bundle.


def digits(trials: int) -> None:
    """Width of what rank 64 leaves out of the test loss, against robust means on the same bundle."""
    recipe = example.images_as_units()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"test_loss": uk.Reverse(rank=64, residual=32)}
        bundle = uk.sketch(recipe, Path(folder) / "bundle", reverse=settings, seed=0, progress=False)
        sketch = bundle.probe("test_loss")
    assert sketch.reverse is not None
    sets, rng = np.zeros((min(50, trials), 1000)), np.random.default_rng(0)
    for row in sets:
        row[rng.choice(1000, 50, replace=False)] = 1
    print("\nThe digits example: 1000 images, the test loss, rank 64, 32 directions for the rest, 5 % deleted\n")
    print("| delta | width / robust mean, median | 5 % to 95 % |")
    print("|---|---|---|")
    for delta, name in ((DELTAS[0], "0.05"), (DELTAS[0] / 40, "0.05 / 40, as for 40 elements together")):
        new = Swept(sketch.reverse).parts(sets, [2], Chance(delta, 2), "catoni")[0].epsilon
        ratio = new / _robust(sketch.reverse, sets, delta)
        low, median, high = np.quantile(ratio, [0.05, 0.5, 0.95])
        print(f"| {name} | {median:.3f} | {low:.3f} to {high:.3f} |", flush=True)


PARTS: dict[str, Callable[[int], None]] = {
    "projection": projections,
    "remainder": remainders,
    "averages": averages,
    "decisions": decisions,
    "digits": digits,
}


if __name__ == "__main__":
    main()
