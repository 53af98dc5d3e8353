"""What sketches of a recipe cost, before anything is sketched: work, storage, and what each buys.

Work is counted in plain trainings of the same recipe, by the factors of `unlearnkit.bundle.work`; storage follows from
shapes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from unlearnkit.bundle import InformedDirections
from unlearnkit.bundle.work import ALONE, DIRECTION, FIRST_ORDER, PRODUCT, informed_work
from unlearnkit.sketching.memory import memory_for
from unlearnkit.sketching.stretches import Stretches
from unlearnkit.training.probes import probe_function
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.rows import tables_of
from unlearnkit.training.run import Run, make_run, own_precision
from unlearnkit.training.state import constant_of

_RANK, _DIRECTIONS, _COUNT, _LEADING = 64, 256, 128, 32
_TIMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to sketch. work: in plain trainings. storage: bytes beside the trained model. buys: in words."""

    name: str
    work: float
    storage: int
    buys: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of a recipe. training: seconds of a plain one, extrapolated from its first steps. elements: of all probes.

    states: how those of the run are kept for reverse sweeps, with the memory that is free now.
    """

    training: float
    weights: int
    units: int
    elements: int
    states: Stretches
    options: tuple[Option, ...]


def costs(recipe: Recipe, *, device: str | torch.device | None = None) -> Costs:
    """Time some plain steps, and say what each way to sketch would cost.

    Args:
        recipe: the training run.
        device: None takes a GPU when there is one.

    Returns:
        Seconds of a plain training, and the options, the cheapest first.

    Raises:
        RecipeError: the recipe cannot be run.

    """
    run = make_run(recipe, own_precision(recipe), device)
    weights = sum(tensor.numel() for tensor in run.initial_weights().values())
    units = len(recipe.unit_names)
    sizes = probe_sizes(run)
    elements = sum(sizes.values())
    kept = sum(1 if name == recipe.own_loss else size for name, size in sizes.items())
    options = (
        Option(
            name="first order (default)",
            work=FIRST_ORDER,
            storage=4 * elements * units,
            buys="every person's first-order effect on the pinned probes, exactly",
        ),
        Option(
            name=f"reverse, rank {_RANK}, a probe's element",
            work=2 * _RANK * PRODUCT,
            storage=4 * units * 2 * _RANK,
            buys="the second order of sets, and its certified error",
        ),
        *(
            Option(
                name=f"solo, degree {degree}",
                work=ALONE * degree * units,
                storage=4 * units * degree * kept,
                buys=f"each person alone to degree {degree}, exactly; own losses; diagonals",
            )
            for degree in (2, 3)
        ),
        Option(
            name="solo, degree 3, with weights",
            work=ALONE * 3 * units,
            storage=4 * units * 3 * (kept + weights),
            buys="corrected models",
        ),
        Option(
            name=f"informed, {_COUNT}",
            work=informed_work(_informed(units)),
            storage=4 * min(_COUNT, units) * (weights + elements),
            buys="probes that nobody named, and corrected models for many people, at first order",
        ),
        Option(
            name=f"informed, {_COUNT}, degree 2 of {_LEADING}",
            work=informed_work(_informed(units, 2)),
            storage=4 * (min(_COUNT, units) + _informed(units, 2).points(2)) * (weights + elements),
            buys="the same, and on the span of the leading ones the second order: what people do to one another",
        ),
        Option(
            name=f"forward, {_DIRECTIONS} directions, degree 2",
            work=DIRECTION * 2 * _DIRECTIONS,
            storage=8 * _DIRECTIONS * 2 * elements,
            buys="certified errors from random directions; coherent deletions",
        ),
    )
    training = plain_seconds(run)
    return Costs(
        training=training,
        weights=weights,
        units=units,
        elements=elements,
        states=Stretches.fitting(
            recipe.steps, plain_state(run), memory_for(run.device.type, None) // 2, may_spill=True
        ),
        options=tuple(sorted(options, key=lambda option: option.work)),
    )


def _informed(units: int, degree: int = 1) -> InformedDirections:
    return InformedDirections(min(_COUNT, units), degree, min(_LEADING, units) if degree > 1 else 0, 1)


def probe_shapes(run: Run) -> dict[str, torch.Size]:
    """Shapes of the pinned probes."""
    initial = run.initial_weights()
    with torch.no_grad(), run.random_numbers(run.recipe.steps):
        return {
            name: constant_of(probe_function(run, name, probe)(dict(initial), run.fixed)).shape
            for name, probe in run.recipe.probes.items()
        }


def probe_sizes(run: Run) -> dict[str, int]:
    """How many elements each pinned probe has."""
    return {name: shape.numel() for name, shape in probe_shapes(run).items()}


def plain_state(run: Run) -> int:
    """Bytes of a state of the run: weights, gradient, and what the optimizer keeps, of tables in the rows of a step."""
    weights, rows = run.initial_weights(), tables_of(run).at(0)
    elements = sum((2 + g.states) * rows.picked(n, weights[n]).numel() for g in run.recipe.groups for n in g.parameters)
    return elements * run.dtype.itemsize


def model_copies(run: Run) -> int:
    """Bytes of the run's own copy of the model, and of those that rehearsals made."""
    own: int = sum(t.numel() * t.element_size() for t in run.model.state_dict().values())
    return 3 * own


def plain_beside(run: Run) -> int:
    """Bytes of what is there once: a plain state, or the constant terms of one with tails; and plain torch beside."""
    return 2 * plain_state(run)


def plain_seconds(run: Run) -> float:
    """Of a plain training, from the fastest of its first steps: others warm up, or wait."""
    loop = PlainLoop(run, np.zeros(len(run.recipe.unit_names)))
    taken = []
    for step in range(min(_TIMED, run.recipe.steps)):
        start = time.perf_counter()
        loop.backward(step)
        loop.update(step)
        taken.append(time.perf_counter() - start)
    return min(taken) * run.recipe.steps
