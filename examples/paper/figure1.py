"""Figure 1: how large the part of each degree is, the stability profile, with certified 95 % intervals.

    python -m unlearnkit.examples.paper.figure1 --out run/paper

The paper conjectures that the sizes fall geometrically. They are measured here from random directions, by the mean of
``N_r |c_r|^2``, and where two measurements a dimension are there, exactly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

import unlearnkit as uk

from .run import setting

DEGREE = 6


def main(arguments: Sequence[str] | None = None) -> None:
    """Sketch, measure, draw."""
    asked = setting(__doc__ or "", arguments)
    with tempfile.TemporaryDirectory() as folder:
        forward = uk.Forward(directions=asked.directions, degree=DEGREE)
        bundle = uk.sketch(asked.recipe(), Path(folder) / "bundle", forward=forward, seed=0)
        rows = bundle.probe("loss").stability()
    high = [row.high if np.isfinite(row.high) else row.norm for row in rows]

    def draw(axes) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - matplotlib's
        degrees, sizes = [row.degree for row in rows], np.array([row.norm for row in rows])
        axes.errorbar(degrees, sizes, yerr=[sizes - [row.low for row in rows], high - sizes], fmt="o", capsize=3)
        axes.set(yscale="log", xlabel="degree r", ylabel="size of f_r", title=f"{len(asked.names)} names")

    asked.table("figure1", ["degree", "size", "low", "high"], [(r.degree, r.norm, r.low, r.high) for r in rows])
    print(f"{asked.figure('figure1', draw)}: sizes {', '.join(f'{row.norm:.3g}' for row in rows)}")  # noqa: T201
    ratios = [after.norm / before.norm for before, after in pairwise(rows)]
    print(f"each is {', '.join(f'{ratio:.2f}' for ratio in ratios)} times the one before")  # noqa: T201


if __name__ == "__main__":
    main()
