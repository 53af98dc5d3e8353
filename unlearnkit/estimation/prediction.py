"""A prediction: a probe without some units' data, for programs, frames, figures and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation.convergence import Convergence
from unlearnkit.notebook import html_table

Array = np.ndarray[Any, Any]

MOST_ROWS = 20
"""A notebook shows so many numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """The estimate of one degree's part of the change. Arrays ``[*P]``, or ``[sets, *P]`` for many sets."""

    degree: int
    value: Array
    standard_error: Array
    used: Array  # bool
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A probe without some units' data. Arrays ``[*P]``, or ``[sets, *P]`` when many sets were asked at once.

    Attributes:
        value: base + change, in the probe's unit.
        base: the probe of the trained model.
        change: what the deletion does to it.
        standard_error: of the terms that were used, over the randomness of the directions; NaN where not known;
            asymptotic, not a certified bound, silent about terms that were not used and degrees beyond the last one.
        convergence: whether the series converges there.
        terms: all degrees that were estimated, used or not.
        explanation: choice and convergence in words.

    Example:
        >>> prediction = bundle.probe("test_loss").predict(["ann"])
        >>> bool(prediction.value == prediction.base + prediction.change)
        True
        >>> [term.degree for term in prediction.terms]
        [1, 2]

    """

    value: Array
    base: Array
    change: Array
    standard_error: Array
    convergence: Convergence
    terms: tuple[Term, ...]
    explanation: str

    def to_frame(self, sets: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - a pandas DataFrame
        """A row for each number, in C order.

        Args:
            sets: what to call each set, where many were asked at once: a row for each set and number.

        Returns:
            A `pandas.DataFrame` with the columns base, value, change, standard_error and convergence.

        Raises:
            ModuleNotFoundError: there is no pandas: `pip install "unlearnkit[notebook]"`.
            ValueError: another number of names than of sets.

        Example:
            >>> prediction = bundle.probe("test_loss").predict(np.eye(5))  # everybody alone
            >>> frame = prediction.to_frame(sets=recipe.unit_names)
            >>> bool(frame.loc[("ann", 0), "value"] == prediction.value[0])
            True

        """
        import pandas as pd  # noqa: PLC0415 - an extra

        columns = {name: np.ravel(column) for name, column in self._columns().items()}
        elements = range(np.size(self.value))
        if sets is None:
            return pd.DataFrame(columns, index=pd.Index(elements, name="element"))
        if np.ndim(self.value) == 0 or len(sets) != len(self.value):
            raise ValueError(f"{len(sets)} names of sets for values of shape {np.shape(self.value)}")
        elements = range(np.size(self.value) // len(sets))
        return pd.DataFrame(columns, index=pd.MultiIndex.from_product([list(sets), elements], names=["set", "element"]))

    def plot(self, axes: Any = None) -> Any:  # noqa: ANN401 - matplotlib's axes
        """Draw each number of the trained model, and as predicted with its standard error.

        Args:
            axes: matplotlib axes; None: new ones.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: there is no matplotlib: `pip install "unlearnkit[plot]"`.

        """
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra

        drawn = plt.subplots()[1] if axes is None else axes
        base, value, error = (np.ravel(part) for part in (self.base, self.value, self.standard_error))
        numbers = np.arange(len(value))
        drawn.plot(numbers, base, "o", color="0.6", label="trained")
        drawn.errorbar(numbers, value, yerr=np.nan_to_num(error), fmt="k.", label="predicted")
        drawn.set_xlabel("number of the probe")
        drawn.legend()
        return drawn

    def _columns(self) -> dict[str, Array]:
        return {
            "base": self.base,
            "value": self.value,
            "change": self.change,
            "standard_error": self.standard_error,
            "convergence": self.convergence.verdict,
        }

    def _repr_html_(self) -> str:
        columns = [np.ravel(column)[:MOST_ROWS].tolist() for column in self._columns().values()]
        size = np.size(self.value)
        shown = "" if size <= MOST_ROWS else f"The first {MOST_ROWS} of {size} numbers. "
        rows = [(str(i), *row) for i, row in enumerate(zip(*columns, strict=True))]
        header = ("number", "trained", "predicted", "change", "standard error", "series")
        return html_table("Prediction", header, rows, below=shown + self.explanation)
