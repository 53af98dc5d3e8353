"""Figure 2: the loss of a name, as the names with a letter are left out more and more.

    python -m unlearnkit.examples.paper.figure2 --letter z --probe zora --out run/paper

Truth by retraining at eleven weights, and the exact series of degrees 1 to 6 along this one deletion, from one training
over power series. The paper estimates the same series from random directions (figure 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import unlearnkit as uk

from .run import setting

POINTS = 11


def main(arguments: Sequence[str] | None = None) -> None:
    """One training over power series, eleven plain ones, draw."""
    asked = setting(__doc__ or "", arguments, reduced=(1, 6), full=(1, 6))
    degrees = range(1, asked.degree + 1)
    curve = uk.curve(asked.recipe(), asked.leaving, degree=asked.degree, retrained=np.linspace(0, 1, POINTS))["loss"]
    series = [curve.at(curve.retrained, degree=degree) for degree in degrees]
    header = ["weight", "retrained", *(f"degree_{degree}" for degree in degrees)]
    asked.table("figure2", header, np.stack([curve.retrained, curve.truth, *series], axis=1).tolist())
    print(f"{asked.figure('figure2', curve.plot)}: {len(asked.leaving)} of {len(asked.names)} names leave")  # noqa: T201
    moved = float(curve.truth[-1] - curve.base)
    print(f"loss of {asked.probe}: {curve.base:.4f}, without them {curve.truth[-1]:.4f}, {moved:+.4f}")  # noqa: T201
    half = POINTS // 2
    for degree in degrees:
        missed = np.abs(curve.error(degree=degree))
        print(f"degree {degree}: off by {missed[half]:.1e} at weight 1/2, {missed[-1]:.1e} at weight 1")  # noqa: T201


if __name__ == "__main__":
    main()
