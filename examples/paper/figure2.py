"""Figure 2: the loss of unseen names with a letter, as the names with it are left out more and more.

    python -m unlearnkit.examples.paper.figure2 --letter z --out run/paper

Truth by retraining at eleven weights, and the exact series of degrees 1 to 6 along this one deletion, from one training
over power series. The paper estimates the same series from random directions (figure 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import unlearnkit as uk

from .run import setting

DEGREE, POINTS = 6, 11


def main(arguments: Sequence[str] | None = None) -> None:
    """One training over power series, eleven plain ones, draw."""
    asked = setting(__doc__ or "", arguments)
    curve = uk.curve(asked.recipe(), asked.leaving, degree=DEGREE, retrained=np.linspace(0, 1, POINTS))["loss"]
    series = [curve.at(curve.retrained, degree=degree) for degree in range(1, DEGREE + 1)]
    header = ["weight", "retrained", *(f"degree_{degree}" for degree in range(1, DEGREE + 1))]
    asked.table("figure2", header, np.stack([curve.retrained, curve.truth, *series], axis=1).tolist())
    print(f"{asked.figure('figure2', curve.plot)}: {len(asked.leaving)} of {len(asked.names)} names")  # noqa: T201
    moved = abs(float(curve.truth[-1] - curve.base))
    for degree in range(1, DEGREE + 1):
        missed = abs(float(curve.error(degree=degree)[-1]))
        print(f"degree {degree}: off by {missed:.3g} of {moved:.3g} at weight 1")  # noqa: T201


if __name__ == "__main__":
    main()
