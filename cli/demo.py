"""``unlearnkit demo``: predict what happens when people leave, then retrain for real, side by side."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .output import Document, Output, pass_output

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.sketch import Recipe

DIRECTIONS = 128  # 2 x 128 real measurements for 200 people: the first order of every deletion is exact
GROUP_SIZES = (1, 1, 1, 1, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class _Case:
    """Some people who leave, and what they own."""

    people: tuple[str, ...]
    images: int

    @property
    def title(self) -> str:
        return self.people[0] if len(self.people) == 1 else f"{len(self.people)} people"


@click.command()
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Keep the bundle here.")
@pass_output
def demo(output: Output, path: Path | None) -> None:
    """Train a digits classifier on images owned by 200 people; predict deletions, retrain for real, compare.

    \b
    Example:
      unlearnkit demo
    """
    from unlearnkit.examples import digits

    recipe = digits.recipe()
    with tempfile.TemporaryDirectory() as scratch:
        output.emit(_story(recipe, path or Path(scratch) / "bundle", output), _render)


def _story(recipe: Recipe, path: Path, output: Output) -> dict[str, Any]:
    import unlearnkit as uk

    output.say(
        f"training and sketching: {recipe.steps} steps, {DIRECTIONS} directions, {len(recipe.unit_names)} people"
    )
    start = time.perf_counter()
    show = None if output.verbosity >= 0 else False
    bundle = uk.sketch(recipe, path, directions=DIRECTIONS, degree=2, seed=0, progress=show)
    sketched = time.perf_counter() - start
    cases = _cases(recipe)
    output.say(f"retraining for real, {len(cases)} times, to compare")
    rows = [_compare(recipe, bundle, case) for case in cases]
    return {
        "schema": "unlearnkit/demo/v1",
        "units": len(recipe.unit_names),
        "examples": len(recipe.unit_of_example),
        "directions": DIRECTIONS,
        "seconds_to_sketch": round(sketched, 3),
        "base_test_loss": float(bundle.probe("test_loss").base),
        "deletions": rows,
        "agreement": _agreement(rows),
    }


def _cases(recipe: Recipe) -> list[_Case]:
    """Single people from the one with most images downwards, then random groups; fixed by a seed."""
    counts = np.bincount(recipe.unit_of_example, minlength=len(recipe.unit_names))
    largest = np.argsort(-counts, kind="stable")
    random = np.random.default_rng(0)
    cases = []
    for rank, size in enumerate(GROUP_SIZES):
        chosen = largest[rank * 3 : rank * 3 + 1] if size == 1 else random.choice(len(counts), size, replace=False)
        cases.append(_Case(tuple(recipe.unit_names[i] for i in chosen), int(counts[chosen].sum())))
    return cases


def _compare(recipe: Recipe, bundle: Bundle, case: _Case) -> dict[str, Any]:
    """Predicted and real changes of the pinned probes when these people leave."""
    import torch

    import unlearnkit as uk

    model = uk.retrain(recipe, delete=case.people)
    row: dict[str, Any] = {"who": case.title, "people": len(case.people), "images": case.images}
    with torch.no_grad():
        model.eval()
        for name, probe in recipe.probes.items():
            sketch = bundle.probe(name)
            real = probe(model).numpy() - sketch.base
            predicted = sketch.predict(case.people).change
            row[name] = {"predicted": predicted, "real": real}
    return row


def _agreement(rows: list[dict[str, Any]]) -> dict[str, float]:
    """How well predicted and real changes agree over all deletions and margins."""
    predicted = np.concatenate([row["margins"]["predicted"] for row in rows])
    real = np.concatenate([row["margins"]["real"] for row in rows])
    return {
        "margin_correlation": float(np.corrcoef(predicted, real)[0, 1]),
        "margin_error_over_change": float(np.abs(predicted - real).mean() / np.abs(real).mean()),
    }


def _render(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    yield f"A classifier learned {record['examples']} digits that belong to {record['units']} people."
    yield f"One sketch ({record['seconds_to_sketch']:.0f} s) answers for every deletion; here against real retrainings:"
    yield ""
    yield f"{'who leaves':<12} {'images':>6}   {'change of test loss':^25}   {'mean size of change of 40 margins':^37}"
    yield f"{'':<12} {'':>6}   {'predicted':>12} {'real':>12}   {'predicted':>12} {'real':>12} {'error':>11}"
    for row in record["deletions"]:
        loss, margins = row["test_loss"], row["margins"]
        error = np.abs(margins["predicted"] - margins["real"]).mean()
        yield (
            f"{row['who']:<12} {row['images']:>6}   {float(loss['predicted']):>+12.6f} {float(loss['real']):>+12.6f}   "
            f"{np.abs(margins['predicted']).mean():>12.6f} {np.abs(margins['real']).mean():>12.6f} {error:>11.6f}"
        )
    agreement = record["agreement"]
    yield ""
    yield f"Test loss with everybody: {record['base_test_loss']:.6f}. predicted: from the sketch alone, without data or"
    yield "torch; real: the same training run with these people's loss weights at zero. Over all margins and deletions"
    yield f"predicted and real changes correlate at {agreement['margin_correlation']:.4f}, and the prediction is off"
    yield f"by {agreement['margin_error_over_change']:.1%} of the average change. Measured, not certified."
