"""``unlearnkit curve``: a probe along one deletion, its exact series, and real retrainings beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
import numpy as np

from unlearnkit.names import counted

from .errors import values_from_options
from .output import Document, Output, number, pass_output
from .recipes import RecipeSource, RecipeType

if TYPE_CHECKING:
    from unlearnkit.sketching.curve import Curve

_POINTS = 11


@click.command()
@click.argument("recipe", type=RecipeType())
@click.option("--delete", multiple=True, required=True, metavar="UNIT", help="A unit. May be repeated.")
@click.option("--probe", required=True, help="Which pinned probe of the recipe.")
@click.option("--element", type=click.IntRange(min=0), default=0, show_default=True, help="Of a probe with several.")
@click.option("--degree", type=click.IntRange(min=1), default=6, show_default=True, help="Highest power.")
@click.option("--retrain", type=click.IntRange(min=0), default=0, show_default=True, help="Real retrainings beside it.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a figure to this new file (.png).")
@click.option(
    "--table", type=click.Path(path_type=Path, dir_okay=False), help="Write the numbers to this new CSV file."
)
@pass_output
def curve(
    output: Output,
    *,
    recipe: RecipeSource,
    delete: tuple[str, ...],
    probe: str,
    element: int,
    degree: int,
    retrain: int,
    plot: Path | None,
    table: Path | None,
) -> None:
    """Follow a probe of RECIPE while some units are left out more and more, from not at all to wholly.

    One training over power series has every degree exactly along this one deletion; each retraining trains once more.

    \b
    Example:
      unlearnkit curve examples/digits.py:recipe --delete person-017 --probe test_loss --degree 4 --retrain 3
      unlearnkit curve examples/series.py:recipe --delete meter-00 --probe street --plot meter.png --table meter.csv
    """
    import unlearnkit as uk

    if there := next((str(file) for file in (plot, table) if file is not None and file.exists()), None):
        raise click.UsageError(f"{there} is there already")
    loaded = recipe.load()
    if probe not in loaded.probes:
        raise click.UsageError(f"the recipe has no probe {probe!r}; it has: {', '.join(loaded.probes) or 'none'}")
    points = np.linspace(0, 1, retrain + 1)[1:].tolist()
    with values_from_options():
        found = uk.curve(loaded, delete, degree=degree, retrained=points)[probe]
    if element >= found.base.size:
        raise click.UsageError(f"{probe} has {found.base.size} elements, counted from 0: got --element {element}")
    if plot is not None:
        _draw(found, plot, element)
    document = _Curve.of(found, probe, element, delete, plot, table)
    if table is not None:
        _write(document, table)
    output.emit(document, _render)


@dataclass(frozen=True, slots=True)
class _Retrained:
    weight: float
    value: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve(Document):
    """values: of the series up to each degree, at each weight."""

    schema: ClassVar[str] = "unlearnkit/curve/v1"

    probe: str
    element: int
    units: int
    base: float
    terms: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    retrained: tuple[_Retrained, ...]
    plot: Path | None
    table: Path | None

    @classmethod
    def of(
        cls,
        curve: Curve,
        probe: str,
        element: int,
        delete: tuple[str, ...],
        plot: Path | None,
        table: Path | None,
    ) -> _Curve:
        weights = np.linspace(0, 1, _POINTS)
        degrees = range(1, curve.degree + 1)
        along = [curve.at(weights, degree=degree).reshape(_POINTS, -1)[:, element] for degree in degrees]
        truth = zip(curve.retrained.tolist(), curve.truth, curve.error(), strict=True)
        return cls(
            probe=probe,
            element=element,
            units=len(delete),
            base=float(curve.base.ravel()[element]),
            terms=np.ascontiguousarray(curve.terms.reshape(curve.degree, -1)[:, element]),
            weights=weights,
            values=np.stack(along, axis=1),
            retrained=tuple(
                _Retrained(weight, float(np.ravel(value)[element]), float(np.ravel(error)[element]))
                for weight, value, error in truth
            ),
            plot=plot,
            table=table,
        )

    def at(self, weight: float) -> np.ndarray:
        """The series up to each degree."""
        return self.base + np.cumsum(self.terms * weight ** np.arange(1, len(self.terms) + 1))


def _draw(curve: Curve, path: Path, element: int) -> None:
    import io

    from matplotlib.figure import Figure

    from unlearnkit.files import write_new

    raw, figure = io.BytesIO(), Figure()
    curve.plot(figure.subplots(), element=element)
    figure.savefig(raw, format=path.suffix.removeprefix(".") or "png")
    write_new(path, raw.getvalue())


def _write(curve: _Curve, path: Path) -> None:
    """A row for each weight, with what retraining gave there."""
    import csv
    import io

    from unlearnkit.files import write_new

    text, truth = io.StringIO(newline=""), {point.weight: point.value for point in curve.retrained}
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["weight", *(f"degree_{degree}" for degree in range(1, len(curve.terms) + 1)), "retrained"])
    for weight in sorted({*curve.weights.tolist(), *truth}):
        writer.writerow([f"{weight:.10g}", *curve.at(weight).tolist(), truth.get(weight, "")])
    write_new(path, text.getvalue().encode())


def _render(curve: _Curve) -> Iterable[str]:
    yield f"{curve.probe} without {counted(curve.units, 'unit')}; {number(curve.base)} with them"
    yield "weight " + "".join(f"{f'degree {degree}':>14}" for degree in range(1, len(curve.terms) + 1))
    for weight, row in zip(curve.weights.tolist(), curve.values.tolist(), strict=True):
        yield f"{weight:<7.1f}" + "".join(f"{value:>14.6g}" for value in row)
    for point in curve.retrained:
        yield f"retrained at {point.weight:.3g}: {number(point.value)}; the series is off by {point.error:.1e}"
