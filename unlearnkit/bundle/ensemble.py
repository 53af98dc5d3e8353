"""Several trainings of the same people's data: what their average would be without somebody.

Predicting this run's counterfactual and predicting the average over seeds are two questions (docs/theory.md section 8).
A bundle answers the first; bundles of runs that differ in their seed answer the second, each for its own run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.bundle.bundle import Bundle
from unlearnkit.errors import RefusedError
from unlearnkit.estimation import Prediction
from unlearnkit.estimation.prediction import MOST_ROWS
from unlearnkit.names import counted
from unlearnkit.notebook import html_table

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Average:
    """The mean of a probe over several trainings, without some units' data. Arrays ``[*P]``.

    Attributes:
        value: predicted mean over the runs.
        base: mean of the trained models.
        change: mean of what the deletion does.
        spread: standard deviation of the value from run to run.
        standard_error: of ``value``, as an estimate of the mean over all seeds: by the spread alone, asymptotic.
        members: each run's own prediction.

    """

    value: Array
    base: Array
    change: Array
    spread: Array
    standard_error: Array
    members: tuple[Prediction, ...]

    def _repr_html_(self) -> str:
        columns = [np.ravel(part) for part in (self.base, self.value, self.change, self.spread, self.standard_error)]
        shown = min(MOST_ROWS, np.size(self.value))
        rows = [[str(i), *numbers] for i, numbers in enumerate(np.stack(columns, axis=1)[:shown].tolist())]
        header = ("number", "trained", "predicted", "change", "spread of runs", "standard error")
        more = "" if shown == np.size(self.value) else f"The first {shown} of {np.size(self.value)} numbers. "
        return html_table("Average of runs", header, rows, below=f"{more}Over {len(self.members)} runs.")


class Ensemble:
    """Bundles of runs that train on the same people's data, and differ in their seed.

    Args:
        bundles: two or more.

    Raises:
        ValueError: fewer than two.
        RefusedError: two are of the same run, or hold other people.

    Example:
        >>> average = uk.Ensemble([bundle, other_seed]).predict("test_loss", ["ann"])
        >>> bool(average.spread > 0)
        True

    """

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        if len(bundles) < 2:
            raise ValueError(f"an ensemble of {len(bundles)}: expected bundles of two runs or more")
        if len({bundle.manifest.recipe_digest for bundle in bundles}) < len(bundles):
            raise RefusedError("two bundles are of one run: they tell nothing of the spread", hint="give it once")
        if not all(bundle.units.is_permutation_of(bundles[0].units) for bundle in bundles):
            hint = "sketch runs over the same people with the same pseudonym key"
            raise RefusedError("the bundles hold other people, or name them with other keys", hint=hint)
        self.bundles = tuple(bundles)

    def __repr__(self) -> str:
        return f"Ensemble of {counted(len(self.bundles), 'run')} over {counted(len(self.bundles[0].units), 'unit')}"

    def predict(self, probe: str, delete: Sequence[str | int]) -> Average:
        """Predict the mean of a probe over the runs, had these units been left out of each.

        Args:
            probe: pinned in all of them; own losses: of those who leave.
            delete: names of units.

        Returns:
            The average, its spread, and each run's own prediction.

        Raises:
            UnknownNameError: a bundle does not have the probe or a unit.
            ValueError: the probe has different shapes.

        """
        members = tuple(
            bundle.own_loss(delete) if probe == bundle.manifest.own_loss else bundle.probe(probe).predict(delete)
            for bundle in self.bundles
        )
        if len({member.value.shape for member in members}) > 1:
            raise ValueError(f"probe {probe!r} has shapes {', '.join(str(m.value.shape) for m in members)}")
        values, bases, changes = (np.stack([getattr(m, name) for m in members]) for name in ("value", "base", "change"))
        spread = values.std(axis=0, ddof=1)
        return Average(
            value=values.mean(axis=0),
            base=bases.mean(axis=0),
            change=changes.mean(axis=0),
            spread=spread,
            standard_error=spread / np.sqrt(len(members)),
            members=members,
        )
