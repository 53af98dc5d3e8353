"""``unlearnkit predict``: a probe without some units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
import numpy as np

from unlearnkit.names import counted

from .errors import values_from_options
from .output import Document, Output, columns, pass_output, values
from .trust import UNVERIFIED, open_bundle, trust_option

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.estimation import Prediction


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--probe", required=True, help="Which probe; 'unlearnkit info' lists them.")
@click.option("--delete", multiple=True, metavar="UNIT", help="A unit, by name or pseudonym. May be repeated.")
@click.option("--delete-file", type=click.File("r"), help="Units, one a line; '-' reads standard input.")
@click.option("--weight", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="1 deletes, less partly.")
@click.option("--degree", type=click.IntRange(min=1), help="Use the degrees 1 to this. Default: chosen by the noise.")
@click.option("--unbiased", is_flag=True, help="The unbiased estimate, noisier than the default.")
@trust_option
@pass_output
def predict(  # the options of the command
    output: Output,
    *,
    bundle: Path,
    probe: str,
    delete: tuple[str, ...],
    delete_file: Iterable[str] | None,
    weight: float,
    degree: int | None,
    unbiased: bool,
    trust: TrustStore | None,
) -> None:
    """Predict what a probe would be had BUNDLE's model been trained without some units.

    \b
    Example:
      unlearnkit predict run/bundle --probe test_loss --delete person-017
    """
    units = [*delete, *(line.strip() for line in delete_file or () if line.strip())]
    if not units:
        raise click.UsageError("name at least one unit with --delete or --delete-file")
    opened = open_bundle(bundle, trust)
    if not opened.signers:
        output.say(UNVERIFIED)
    sketch = opened.probe(probe)
    with values_from_options():
        prediction = sketch.predict(units, weight=weight, degree=degree, unbiased=unbiased)
    output.emit(_Predicted.of(opened, probe, len(units), weight, prediction), _render)


@dataclass(frozen=True, slots=True)
class _Term:
    degree: int
    method: str
    value: np.ndarray
    standard_error: np.ndarray
    used: np.ndarray


@dataclass(frozen=True, slots=True)
class _Convergence:
    verdict: np.ndarray
    terms: np.ndarray
    norms: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Predicted(Document):
    schema: ClassVar[str] = "unlearnkit/prediction/v1"

    verified: bool
    signers: tuple[str, ...]
    probe: str
    units: int
    weight: float
    value: np.ndarray
    base: np.ndarray
    change: np.ndarray
    standard_error: np.ndarray
    convergence: _Convergence
    terms: tuple[_Term, ...]
    explanation: str

    @classmethod
    def of(cls, bundle: Bundle, probe: str, units: int, weight: float, prediction: Prediction) -> _Predicted:
        found = prediction.convergence
        return cls(
            verified=bool(bundle.signers),
            signers=bundle.signers,
            probe=probe,
            units=units,
            weight=weight,
            value=prediction.value,
            base=prediction.base,
            change=prediction.change,
            standard_error=prediction.standard_error,
            convergence=_Convergence(found.verdict, found.terms, found.norms),
            terms=tuple(_Term(t.degree, t.method, t.value, t.standard_error, t.used) for t in prediction.terms),
            explanation=prediction.explanation,
        )


def _render(predicted: _Predicted) -> Iterable[str]:
    yield f"{predicted.probe} without {counted(predicted.units, 'unit')}, at weight {predicted.weight:g}"
    rows: list[tuple[str, object]] = [
        ("base", values(predicted.base)),
        ("value", values(predicted.value)),
        ("change", values(predicted.change, signed=True)),
        ("standard error", f"{values(predicted.standard_error)} (asymptotic)"),
    ]
    rows.append(("series", ", ".join(np.unique(predicted.convergence.verdict).tolist())))
    for term in predicted.terms:
        used = np.mean(term.used)
        how = "" if used == 1 else " (left out)" if used == 0 else f" (used for {used:.0%})"
        spread = values(term.standard_error)
        rows.append((f"degree {term.degree}", f"{values(term.value, signed=True)}, standard error {spread}{how}"))
    yield from columns(rows)
    yield predicted.explanation
