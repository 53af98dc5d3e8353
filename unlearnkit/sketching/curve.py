"""Partial deletion along one given set of people: the exact series, and the truth beside it (docs/theory.md section 3).

One real lane through the training run, along the deletion itself, has every degree of every pinned probe without any
sampling: what figure 2 of the paper estimates from random directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unlearnkit.names import counted
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.training.recipe import Array, Recipe
from unlearnkit.training.retrain import retrain
from unlearnkit.training.run import make_run, own_precision


@dataclass(frozen=True, eq=False)
class Curve:
    """A probe against the weight with which some people are left out, from 0 (kept) to 1 (left out).

    Attributes:
        base: ``[*P]``, of the trained model.
        terms: ``[degree, *P]``, the degrees of its series at weight 1.
        retrained: weights of real retrainings, ``[T]``.
        truth: what they gave, ``[T, *P]``.

    Example:
        >>> along = uk.curve(recipe, ["ann"], degree=2)["logits"]
        >>> along.at([0.0, 0.5, 1.0], degree=1).shape == (3, *along.base.shape)
        True

    """

    base: Array
    terms: Array
    retrained: Array
    truth: Array

    @property
    def degree(self) -> int:
        """Highest degree."""
        return len(self.terms)

    def at(self, weights: float | Sequence[float] | Array, *, degree: int | None = None) -> Array:
        """The series up to a degree at some weights.

        Args:
            weights: a number, or ``[W]``.
            degree: the highest that counts; None: all.

        Returns:
            ``[*P]``, or ``[W, *P]``.

        Raises:
            ValueError: a degree that is not there.

        """
        highest = self.degree if degree is None else degree
        if not 0 <= highest <= self.degree:
            raise ValueError(f"degree={degree}: the curve has degrees 0 to {self.degree}")
        powers = np.asarray(weights, dtype=np.float64)[..., None] ** np.arange(1, highest + 1)
        return np.asarray(self.base + np.tensordot(powers, self.terms[:highest], axes=1))

    def error(self, *, degree: int | None = None) -> Array:
        """How far the series is from each retraining, ``[T, *P]``, signed."""
        return np.asarray(self.at(self.retrained, degree=degree) - self.truth)

    def plot(self, axes: Any = None, *, element: int = 0) -> Any:  # noqa: ANN401 - matplotlib's axes
        """Draw the series of each degree, and the retrainings as dots.

        Args:
            axes: matplotlib axes; None: new ones.
            element: of the probe, in C order.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: there is no matplotlib: `pip install "unlearnkit[plot]"`.

        """
        from matplotlib import pyplot as plt  # noqa: PLC0415 - an extra

        drawn = plt.subplots()[1] if axes is None else axes
        weights = np.linspace(0, 1, 101)
        for degree in range(1, self.degree + 1):
            drawn.plot(weights, self.at(weights, degree=degree).reshape(101, -1)[:, element], label=f"degree {degree}")
        if len(self.retrained):
            drawn.plot(self.retrained, self.truth.reshape(len(self.truth), -1)[:, element], "k.", label="retrained")
        drawn.set_xlabel("weight of the deletion")
        drawn.legend()
        return drawn


def curve(
    recipe: Recipe,
    delete: Sequence[str | int],
    *,
    degree: int = 6,
    retrained: Iterable[float] = (),
    dtype: str | None = None,
    device: str | torch.device | None = None,
) -> Mapping[str, Curve]:
    """The exact series of every pinned probe along one deletion, from one training over power series.

    Args:
        recipe: the training run.
        delete: the units.
        degree: highest power.
        retrained: weights at which to retrain for real, from 0 to 1, to compare with.
        dtype: "float32" or "float64"; None: the model's own.
        device: None takes a GPU when there is one.

    Returns:
        A curve for each pinned probe, by name.

    Raises:
        UnknownNameError: the recipe does not have such a unit.
        ValueError: a degree below 1, a weight outside 0 to 1, or a recipe without probes.
        RecipeError: the run cannot be sketched; see `check`.

    Example:
        >>> curve = uk.curve(recipe, ["ann"], degree=3, retrained=[0.5, 1.0])["test_loss"]
        >>> bool(abs(curve.error()).max() < abs(curve.error(degree=1)).max())
        True

    """
    weights = np.array(list(retrained), dtype=np.float64)
    if degree < 1 or not recipe.probes or not ((weights >= 0) & (weights <= 1)).all():
        got = f"degree={degree}, {counted(len(recipe.probes), 'probe')}, retrained={weights.tolist()}"
        raise ValueError(f"{got}: expected a degree >= 1, a probe, and weights from 0 to 1")
    run = make_run(recipe, dtype or own_precision(recipe), device)
    forward = ForwardSketching(run, degree)
    row = torch.from_numpy(recipe.weights_of(delete, 1.0)[None]).to(device=run.device, dtype=run.dtype)
    forward.prepare()
    found = forward.along(row, beside_plain=True).probes
    truth = [_probes(forward, recipe, delete, float(weight)) for weight in weights]
    return {
        name: Curve(
            base=np.asarray(base, dtype=np.float64),
            terms=np.ascontiguousarray(block[0].real).astype(np.float64),
            retrained=weights,
            truth=np.array([values[name] for values in truth]).reshape(len(weights), *base.shape),
        )
        for name, (base, block) in found.items()
    }


def _probes(forward: ForwardSketching, recipe: Recipe, delete: Sequence[str | int], weight: float) -> dict[str, Array]:
    """Of a real retraining, in plain torch."""
    run = forward.run
    model = retrain(recipe, delete, weight=weight, dtype=run.precision, device=run.device)
    parameters = dict(model.named_parameters())
    trained = {name: parameters[name] for name in run.trained_names}
    found = {}
    for name, probe in recipe.probes.items():
        with torch.no_grad(), run.evaluating(), run.random_numbers(recipe.steps):
            found[name] = run.call(probe, trained, run.fixed).to(torch.float64).cpu().numpy()
    return found
