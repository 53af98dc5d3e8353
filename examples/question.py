"""A question about people's data, answered twice: by prediction, and by training again without them."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch

import unlearnkit as uk


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A probe's one number without some people. base: of the trained model, which had everybody.

    series: what the prediction says of its own convergence.
    """

    leaving: str
    people: int
    base: float
    predicted: float
    real: float
    series: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was asked, and seconds: to sketch once, to predict all answers, to train again for one of them.

    notes: what else there is to compare with, a line each.
    """

    rows: tuple[Answer, ...]
    sketching: float
    predicting: float
    retraining: float
    notes: tuple[str, ...] = ()

    @property
    def largest(self) -> float:
        """The largest true change."""
        return max(abs(row.real - row.base) for row in self.rows)

    @property
    def missed(self) -> float:
        """Largest error of a prediction, as a share of the largest true change."""
        return max(abs(row.predicted - row.real) for row in self.rows) / self.largest

    def _decimals(self) -> int:
        """So many that the largest change has four digits."""
        return max(0, 3 - math.floor(math.log10(self.largest)))

    def table(self) -> str:
        """As text, a line each."""
        width, digits = max(len(row.leaving) for row in self.rows), self._decimals()
        lines = [f"{'without':{width}}  people     trained   predicted   retrained  series"]
        lines += [
            f"{row.leaving:{width}}  {row.people:6}  {row.base:10.{digits}f}  {row.predicted:10.{digits}f}  "
            f"{row.real:10.{digits}f}  {row.series}"
            for row in self.rows
        ]
        lines.extend(self.notes)
        lines.append(f"largest error: {self.missed:.1%} of the largest change")
        lines.append(
            f"sketched once in {self.sketching:.1f} s; then {1000 * self.predicting / len(self.rows):.1f} ms a "
            f"prediction, {self.retraining:.2f} s a retraining"
        )
        return "\n".join(lines)


def ask(
    recipe: uk.Recipe,
    leaving: Mapping[str, Sequence[str]],
    *,
    probe: str,
    element: int = 0,
    rank: int = 16,
    dtype: Literal["float32", "float64"] = "float32",
) -> Answers:
    """Sketch a run, and compare what it predicts with real retrainings.

    Args:
        recipe: of the run.
        leaving: what to call a set of units, and the units.
        probe: pinned; own losses: the mean over who leaves.
        element: of the probe, in C order.
        rank: of the second order of sets, at most; single people have series of their own, and own losses no others.
        dtype: precision of the sketch.

    """
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        most = 0 if _is_own(recipe, probe) else min(rank, len(recipe.unit_names) // 2)
        reverse = {probe: uk.Reverse(rank=most, residual=0)}
        bundle = uk.sketch(recipe, Path(folder) / "bundle", reverse=reverse, solo=uk.Solo(degree=3), dtype=dtype)
        sketched = time.perf_counter()
        predictions = [_predicted(bundle, recipe, probe, units, element) for units in leaving.values()]
        predicted = time.perf_counter()
        truth = [_real(recipe, probe, units, element) for units in leaving.values()]
        ended = time.perf_counter()
    rows = [
        Answer(leaving=name, people=len(units), base=base, predicted=value, real=real, series=series)
        for (name, units), (base, value, series), real in zip(leaving.items(), predictions, truth, strict=True)
    ]
    return Answers(
        rows=tuple(rows),
        sketching=sketched - started,
        predicting=predicted - sketched,
        retraining=(ended - predicted) / len(rows),
    )


def _is_own(recipe: uk.Recipe, probe: str) -> bool:
    return isinstance(recipe.probes[probe], uk.OwnLoss)


def _predicted(
    bundle: uk.Bundle, recipe: uk.Recipe, probe: str, units: Sequence[str], element: int
) -> tuple[float, float, str]:
    """Of the trained model, and predicted; and whether the series converges."""
    if _is_own(recipe, probe):
        own = bundle.own_loss(units)
        return float(own.base.mean()), float(own.value.mean()), own.convergence.worst
    found = bundle.probe(probe).predict(units)
    return (
        float(found.base.reshape(-1)[element]),
        float(found.value.reshape(-1)[element]),
        str(found.convergence.verdict.reshape(-1)[element]),
    )


def _real(recipe: uk.Recipe, probe: str, units: Sequence[str], element: int) -> float:
    """By training again, in plain PyTorch."""
    model = uk.retrain(recipe, units, device="cpu").eval()
    with torch.no_grad():
        found = recipe.probes[probe](model).reshape(-1)
    if _is_own(recipe, probe):
        return float(found[[recipe.unit_names.index(unit) for unit in units]].mean())
    return float(found[element])


def command(description: str | None, answers: Callable[..., Iterable[tuple[str, Answers]]]) -> Callable[..., None]:
    """The command of an example: says its questions, and each answer. answers: takes whether it is to be small."""

    def main(arguments: Sequence[str] | None = None) -> None:
        """Ask, and print."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--small", action="store_true", help="a smaller run, in seconds")
        for question, found in answers(small=parser.parse_args(arguments).small):
            print(f"{question}\n{found.table()}\n")  # noqa: T201

    return main
