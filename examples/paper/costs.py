"""What answers for one deletion, how near it comes to retraining, and what it costs in plain trainings.

Costs are processor time, which other work on the machine leaves alone. Tracing is part of them, of a small run the
largest; the first of the sweeps pays for the others' traces too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

import unlearnkit as uk

from .run import Setting

RANK = 16
EVERYTHING = "all deletions and probes"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A method's. about: what it answers besides this deletion. missed: how far from retraining. cost: in plain
    trainings.
    """

    method: str
    about: str
    missed: float
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of one deletion. sketch: along random directions. truth: the loss, retrained. answers: without random directions.

    plain, sketching: processor seconds of a plain training, and of the sketch.
    """

    sketch: uk.Bundle
    curve: uk.Curve
    truth: float
    answers: tuple[Answer, ...]
    plain: float
    sketching: float


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What some work gives, and its processor seconds."""
    started = time.process_time()
    return work(), time.process_time() - started


def measure(asked: Setting, folder: Path, *, points: int) -> Measured:
    """Retrain, sketch in every way, predict. points: weights of the deletion at which it is retrained."""
    recipe = asked.recipe()
    model, plain = timed(lambda: uk.retrain(recipe, asked.leaving, device="cpu"))
    with torch.no_grad():
        truth = float(recipe.probes["loss"](model))
    _, along = timed(lambda: uk.curve(recipe, asked.leaving, degree=asked.degree))
    forward = uk.Forward(directions=asked.directions, degree=asked.degree)
    sketch, sketching = timed(lambda: uk.sketch(recipe, folder / "forward", forward=forward, seed=0))
    curve = uk.curve(recipe, asked.leaving, degree=asked.degree, retrained=np.linspace(0, 1, points))["loss"]
    exact = Answer(
        method=f"series along this deletion, degree {asked.degree}",
        about="all probes",
        missed=abs(float(curve.at(1.0)) - truth),
        cost=along / plain,
    )
    projected = Answer(
        method=f"projection, {asked.directions} directions",
        about=EVERYTHING,
        missed=abs(float(sketch.probe("loss").predict(asked.leaving).value) - truth),
        cost=sketching / plain,
    )
    answers = (projected, *_swept(asked, recipe, folder, truth, plain), exact)
    return Measured(sketch=sketch, curve=curve, truth=truth, answers=answers, plain=plain, sketching=sketching)


def _swept(asked: Setting, recipe: uk.Recipe, folder: Path, truth: float, plain: float) -> list[Answer]:
    """Reverse sweeps, and series of those who leave alone beside them."""
    rank = min(RANK, len(recipe.unit_names) // 2)
    low_rank = {"loss": uk.Reverse(rank=rank, residual=0)}
    alone = uk.Solo(degree=asked.degree, units=asked.leaving)
    ways: dict[str, Callable[[Path], uk.Bundle]] = {
        "one reverse sweep": lambda path: uk.sketch(recipe, path, seed=0),
        f"reverse sweeps, rank {rank}": lambda path: uk.sketch(recipe, path, reverse=low_rank, seed=0),
        "the same, and series of each alone": lambda path: uk.sketch(
            recipe, path, reverse=low_rank, solo=alone, seed=0
        ),
    }
    found = []
    for number, (method, sketch) in enumerate(ways.items()):
        bundle, seconds = timed(lambda: sketch(folder / f"swept-{number}"))  # noqa: B023 - called at once
        missed = abs(float(bundle.probe("loss").predict(asked.leaving).value) - truth)
        about = "all deletions, best these" if "alone" in method else "all deletions"
        found.append(Answer(method=method, about=about, missed=missed, cost=seconds / plain))
    return found
