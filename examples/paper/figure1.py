"""Figure 1: how large the part of each degree is, the stability profile, with certified 95 % intervals.

    python -m unlearnkit.examples.paper.figure1 --out run/paper

The paper conjectures that the sizes fall geometrically. They are measured from random directions, by the mean of
``N_r |c_r|^2``; thin lines are what single directions say, as in the paper. Where the directions are two measurements a
dimension, which takes a run of few names (``--count 6``), the exact sizes stand beside them, by projection.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from math import comb
from pathlib import Path
from typing import Any

import numpy as np

import unlearnkit as uk
from unlearnkit.estimation.constants import moment_ratio
from unlearnkit.estimation.stability import Profile, Sizes, profile

from .run import setting

Array = np.ndarray[Any, Any]


def samples(bundle: uk.Bundle) -> Array:
    """``N_r |c_jr|^2``, ``[directions, degree]``: each by itself an unbiased estimate of the squared size."""
    coefficients, n = bundle.probe("loss").coefficients, len(bundle.units)
    root = [float(np.sqrt(comb(n + r - 1, r))) for r in range(1, coefficients.shape[1] + 1)]
    return np.asarray(np.abs(coefficients * root) ** 2)


def averaged(found: Array, units: int) -> Profile:
    """The profile from `samples` alone, with certified intervals."""
    return profile(
        [
            Sizes(squared=column.mean(keepdims=True), kurtosis=moment_ratio(units, degree), count=len(column))
            for degree, column in enumerate(found.T, start=1)
        ]
    )


def exact(bundle: uk.Bundle) -> dict[int, float]:
    """The sizes by degree, where there are as many measurements as dimensions."""
    sketch = bundle.probe("loss")
    return {row.degree: row.norm for row in sketch.stability() if not sketch.source(row.degree).is_random(row.degree)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Sketch, measure, draw."""
    asked = setting(__doc__ or "", arguments, reduced=(64, 6), full=(12, 100))
    with tempfile.TemporaryDirectory() as folder:
        forward = uk.Forward(directions=asked.directions, degree=asked.degree)
        bundle = uk.sketch(asked.recipe(), Path(folder) / "bundle", forward=forward, seed=0, dtype="float64")
        found, known = samples(bundle), exact(bundle)
    rows = averaged(found, len(asked.names))

    def draw(axes: Any) -> None:  # noqa: ANN401 - matplotlib's
        degrees, sizes = [row.degree for row in rows], np.array([row.norm for row in rows])
        high = [row.high if np.isfinite(row.high) else row.norm for row in rows]
        axes.plot(degrees, np.sqrt(found.T), color="0.85", linewidth=0.5)
        axes.errorbar(degrees, sizes, yerr=[sizes - [row.low for row in rows], high - sizes], fmt="o", capsize=3)
        axes.plot(list(known), list(known.values()), "kx", label="exact")
        axes.set(yscale="log", xlabel="degree r", ylabel="size of f_r", title=f"{len(asked.names)} names")

    header = ["degree", "size", "low", "high", "exact"]
    asked.table("figure1", header, [(r.degree, r.norm, r.low, r.high, known.get(r.degree, "")) for r in rows])
    print(f"{asked.figure('figure1', draw)}: {len(asked.names)} names, {asked.directions} directions")  # noqa: T201
    print("degree      size  at least   at most     exact  times the one before")  # noqa: T201
    ratios = [float("nan"), *(after.norm / before.norm for before, after in pairwise(rows))]
    for row, ratio in zip(rows, ratios, strict=True):
        sizes = (row.norm, row.low, row.high, known.get(row.degree, float("nan")), ratio)
        print(f"{row.degree:6}{''.join(_cell(size) for size in sizes)}")  # noqa: T201


def _cell(number: float) -> str:
    return f"{'':>10}" if np.isnan(number) else f"{number:>10.2g}"


if __name__ == "__main__":
    main()
