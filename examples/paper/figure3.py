"""Figure 3: the prediction by averaging, its error against the number of directions, and what reaches it at which cost.

    python -m unlearnkit.examples.paper.figure3 --directions 256 --out run/paper

Left: the loss as the names with a letter leave, retrained and averaged, with one standard error, as in the paper.
Right: the error of the mean and of the median of means of ``sum_r N_r h_j^r c_jr`` over m directions
(docs/theory.md section 3), against the exact terms of the same degrees. The table has what else answers, what it costs
in plain trainings, and how many directions the mean would need to come as near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, hypot, inf, log, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import unlearnkit as uk

from .costs import EVERYTHING, Answer, Measured, measure
from .run import Setting, setting

BLOCKS, DELTA, GROUPS, ORDERS, POINTS = 8, 0.05, 4, 100, 11

Array = np.ndarray[Any, Any]


def samples(bundle: uk.Bundle, leaving: Sequence[str]) -> Array:
    """``Re N_r h_j^r c_jr``, ``[directions, degree]``: each by itself an unbiased estimate of the term of degree r."""
    sketch, n = bundle.probe("loss"), len(bundle.units)
    x = np.zeros(n)
    x[sketch.resolve(leaving)] = 1
    h = bundle.directions.block(0, bundle.directions.count).conj() @ x
    degrees = range(1, sketch.coefficients.shape[1] + 1)
    return np.stack([(comb(n + r - 1, r) * h**r * sketch.coefficients[:, r - 1]).real for r in degrees], axis=1)


def errors(found: Array, exact: float, counts: Sequence[int], *, blocks: int) -> list[float]:
    """Root mean square over groups of m samples, in ORDERS random orders, those of one order without overlap.

    blocks: 1 for the mean, more for the median of means.
    """
    random = np.random.default_rng(0)
    shuffled = random.permuted(np.broadcast_to(found, (ORDERS, len(found))), axis=1)
    result = []
    for count in counts:
        groups = shuffled[:, : len(found) // count * count].reshape(ORDERS, -1, blocks, count // blocks)
        result.append(float(np.sqrt(np.mean((np.median(groups.mean(3), axis=2) - exact) ** 2))))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Averages:
    """Of some samples: errors by number of directions. promised: of the median of means, but for a chance of DELTA."""

    counts: list[int]
    mean: list[float]
    median: list[float]
    promised: list[float]

    @classmethod
    def of(cls, total: Array, exact: float) -> Averages:
        """total: samples of all degrees together. Up to as many directions as leave some groups of them."""
        counts = [2**k for k in range(3, (len(total) // GROUPS).bit_length())]
        mean, median = (errors(total, exact, counts, blocks=blocks) for blocks in (1, BLOCKS))
        promised = [sqrt(32 * float(total.var()) * log(1 / DELTA) / count) for count in counts]
        return cls(counts=counts, mean=mean, median=median, promised=promised)

    def slope(self, line: Sequence[float]) -> float:
        """Of a line of errors, both axes logarithmic."""
        return float(np.polyfit(np.log(self.counts), np.log(line), 1)[0])

    def draw(self, axes: Any) -> None:  # noqa: ANN401 - matplotlib's
        """Errors against directions."""
        axes.loglog(self.counts, self.mean, "o-", label="mean")
        axes.loglog(self.counts, self.median, "s-", label=f"median of {BLOCKS} means")
        axes.loglog(self.counts, self.promised, ":", label=f"promised of it, but for {DELTA:.0%}")
        axes.loglog(
            self.counts, self.mean[0] * np.sqrt(self.counts[0] / np.array(self.counts)), "k:", label="1/sqrt(m)"
        )
        axes.set(xlabel="directions m", ylabel="error of the change")
        axes.legend()


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Predictions at some weights, ``[weights, degrees]``, and their standard errors; and the retrained loss."""

    weights: Array
    truth: Array
    predicted: Array
    error: Array

    @classmethod
    def of(cls, found: Array, curve: uk.Curve) -> Curves:
        """found: samples. One standard error of the sum up to each degree."""
        powers = curve.retrained[:, None] ** np.arange(1, found.shape[1] + 1)
        sums = np.cumsum(found[:, None, :] * powers, axis=2)  # [directions, weights, degrees]
        error = sums.std(axis=0) / sqrt(len(found))
        return cls(weights=curve.retrained, truth=curve.truth, predicted=curve.base + sums.mean(axis=0), error=error)

    def draw(self, axes: Any) -> None:  # noqa: ANN401 - matplotlib's
        """Predictions against the weight."""
        axes.plot(self.weights, self.truth, "k", linewidth=4, alpha=0.3, label="retrained")
        for degree, (line, error) in enumerate(zip(self.predicted.T, self.error.T, strict=True), start=1):
            axes.plot(self.weights, line, label=f"averaged, degree {degree}")
            axes.fill_between(self.weights, line - error, line + error, alpha=0.2)
        axes.set(xlabel="weight of the deletion", ylabel="loss")
        axes.legend()

    def rows(self) -> list[list[float]]:
        """For a table: weight, retrained, and each degree with its standard error."""
        pairs = np.stack([self.predicted, self.error], axis=2).reshape(len(self.weights), -1)
        return [[*row] for row in np.column_stack([self.weights, self.truth, pairs]).tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Answers, and how many directions the mean would need to come as near.

    spread: standard deviation of one sample. beyond: what the degrees leave out, which no number of directions makes
    good. each: cost of a direction in plain trainings.
    """

    answers: tuple[Answer, ...]
    spread: float
    beyond: float
    each: float

    @classmethod
    def of(cls, found: Measured, total: Array, averages: Averages) -> Table:
        """total: samples of all degrees together."""
        count, beyond = len(total), float(found.curve.at(1.0)) - found.truth
        root = sqrt(averages.counts[-1] / count)  # from the most directions that there are groups of, on to all
        lines = {f"mean, {count} directions": averages.mean, f"median of {BLOCKS} means": averages.median}
        averaging = tuple(
            Answer(
                method=name, about=EVERYTHING, missed=hypot(root * line[-1], beyond), cost=found.sketching / found.plain
            )
            for name, line in lines.items()
        )
        each = found.sketching / found.plain / count
        return cls(answers=averaging + found.answers, spread=float(total.std()), beyond=abs(beyond), each=each)

    def directions(self, missed: float) -> float:
        """For the mean to come as near; infinite where its degrees do not."""
        return inf if missed <= self.beyond else self.spread**2 / (missed**2 - self.beyond**2)

    def rows(self) -> list[tuple[str, str, float, float, float, float]]:
        """Method, what it answers, its error, its cost, directions of the mean, their cost."""
        needed = [self.directions(answer.missed) for answer in self.answers]
        return [
            (a.method, a.about, a.missed, a.cost, m, m * self.each) for a, m in zip(self.answers, needed, strict=True)
        ]

    def text(self) -> str:
        """A line each."""
        lines = [f"{'':40}{'answers':27}{'off by':>9}{'cost':>8}{'as near by the mean':>25}"]
        for method, about, missed, cost, needed, theirs in self.rows():
            mean = "never at these degrees" if needed == inf else f"{needed:,.0f} directions, {theirs:,.0f}"
            lines.append(f"{method:40}{about:27}{missed:>9.1e}{cost:>8,.0f}{mean:>25}")
        return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Sketch once, average over more and more directions, draw; then what else there is."""
    asked = setting(__doc__ or "", arguments, reduced=(256, 3), full=(500, 3))
    if asked.directions < 16 * GROUPS:
        raise SystemExit(f"{asked.directions} directions: errors are measured over groups, which takes {16 * GROUPS}")
    with TemporaryDirectory() as folder:
        found = measure(asked, Path(folder), points=POINTS)
        terms = samples(found.sketch, asked.leaving)
    total = terms.sum(axis=1)
    averages, curves = Averages.of(total, float(found.curve.terms.sum())), Curves.of(terms, found.curve)
    table = Table.of(found, total, averages)
    path = asked.figure("figure3", curves.draw, averages.draw)
    _write(asked, averages, curves, table)
    print(f"{path}: {len(asked.leaving)} of {len(asked.names)} names leave, {asked.directions} directions")  # noqa: T201
    base, truth = float(found.curve.base), found.truth
    print(f"loss of {asked.probe}: {base:.4f}, without them {truth:.4f}, {truth - base:+.4f}")  # noqa: T201
    for degree, (mean, error) in enumerate(zip(curves.predicted[-1], curves.error[-1], strict=True), start=1):
        print(f"averaged up to degree {degree}: {mean - base:+.2g} with standard error {error:.2g}")  # noqa: T201
    counts, slopes = averages.counts, [averages.slope(line) for line in (averages.mean, averages.median)]
    print(f"slope of the error, {counts[0]} to {counts[-1]} directions: mean {slopes[0]:.2f}, median {slopes[1]:.2f}")  # noqa: T201
    print(f"\n{table.text()}\ncost: plain trainings, {found.plain:.2g} s of processor time each")  # noqa: T201


def _write(asked: Setting, averages: Averages, curves: Curves, table: Table) -> None:
    lines = zip(averages.counts, averages.mean, averages.median, averages.promised, strict=True)
    asked.table("figure3", ["directions", "mean", "median_of_means", "promised"], lines)
    degrees = [name for r in range(1, curves.predicted.shape[1] + 1) for name in (f"degree_{r}", f"error_{r}")]
    asked.table("figure3_curves", ["weight", "retrained", *degrees], curves.rows())
    header = ["method", "answers", "off_by", "cost", "directions_of_the_mean", "their_cost"]
    asked.table("figure3_costs", header, table.rows())


if __name__ == "__main__":
    main()
