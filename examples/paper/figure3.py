"""Figure 3: the error of the averaged prediction against the number of directions, and what reaches it at which cost.

    python -m unlearnkit.examples.paper.figure3 --directions 256 --out run/paper

The mean, and the median of means, of ``N_r h_j^r c_jr`` over m directions (docs/theory.md section 3), against the exact
terms of the same degrees: the error falls as one over the root of m. Beside it what the same sketch gives by
projection, and what one reverse sweep and one series along the deletion give.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

import unlearnkit as uk

from .run import Setting, setting

DEGREE, BLOCKS = 2, 8

Array = np.ndarray[Any, Any]


def samples(bundle: uk.Bundle, leaving: Sequence[str]) -> Array:
    """``sum_r Re N_r h_j^r c_jr``, ``[directions]``: each by itself an unbiased estimate of the change."""
    sketch, n = bundle.probe("loss"), len(bundle.units)
    x = np.zeros(n)
    x[sketch.resolve(leaving)] = 1
    h = bundle.directions.block(0, bundle.directions.count).conj() @ x
    terms = [comb(n + r - 1, r) * h**r * sketch.coefficients[:, r - 1] for r in range(1, DEGREE + 1)]
    return np.asarray(np.sum(terms, axis=0).real)


def errors(found: Array, exact: float, counts: Sequence[int], *, blocks: int) -> list[float]:
    """Root mean square over disjoint groups of m samples. blocks: 1 for the mean, more for the median of means."""
    result = []
    for count in counts:
        groups = found[: len(found) // count * count].reshape(-1, blocks, count // blocks)
        result.append(float(np.sqrt(np.mean((np.median(groups.mean(2), axis=1) - exact) ** 2))))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Sketch once, average over more and more directions, draw."""
    asked = setting(__doc__ or "", arguments, directions=256)
    recipe, leaving = asked.recipe(), asked.leaving
    exact = float(uk.curve(recipe, leaving, degree=DEGREE)["loss"].terms.sum())
    with tempfile.TemporaryDirectory() as folder:
        forward = uk.Forward(directions=asked.directions, degree=DEGREE)
        bundle = uk.sketch(recipe, Path(folder) / "bundle", forward=forward, seed=0)
        found = samples(bundle, leaving)
        projected = float(bundle.probe("loss").predict(leaving).change)
        swept = uk.sketch(recipe, Path(folder) / "swept", seed=0)
        first = float(swept.probe("loss").predict(leaving).change)
    counts = [2**k for k in range(3, asked.directions.bit_length())]
    mean, median = (errors(found, exact, counts, blocks=blocks) for blocks in (1, BLOCKS))
    slope = float(np.polyfit(np.log(counts), np.log(mean), 1)[0])
    _write(asked, counts, mean, median)
    print(f"the change, degrees 1 to {DEGREE}: {exact:.4g}; slope of the mean's error: {slope:.2f}")  # noqa: T201
    print(f"{asked.directions} directions, averaged: off by {mean[-1]:.3g}; projected: {abs(projected - exact):.3g}")  # noqa: T201
    print(f"first order by one reverse sweep, about 5 plain trainings: off by {abs(first - exact):.3g}")  # noqa: T201
    print("the series along this deletion, one real direction: exact")  # noqa: T201


def _write(asked: Setting, counts: Sequence[int], mean: Sequence[float], median: Sequence[float]) -> None:
    def draw(axes) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - matplotlib's
        axes.loglog(counts, mean, "o-", label="mean")
        axes.loglog(counts, median, "s-", label=f"median of {BLOCKS} means")
        axes.loglog(counts, mean[0] * np.sqrt(counts[0] / np.array(counts)), "k:", label="one over the root")
        axes.set(xlabel="directions", ylabel="error of the change")
        axes.legend()

    asked.table("figure3", ["directions", "mean", "median_of_means"], zip(counts, mean, median, strict=True))
    print(asked.figure("figure3", draw))  # noqa: T201


if __name__ == "__main__":
    main()
