"""``unlearnkit predict``: a probe without some units."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .errors import values_from_options
from .output import Document, Output, fields, pass_output, values
from .trust import UNVERIFIED, open_bundle, trust_option

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.trust import TrustStore


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
    document = {
        "schema": "unlearnkit/prediction/v1",
        "verified": bool(opened.signers),
        "signers": list(opened.signers),
        "probe": probe,
        "units": len(units),
        "weight": weight,
        "value": prediction.value,
        "base": prediction.base,
        "change": prediction.change,
        "standard_error": prediction.standard_error,
        "convergence": {
            "verdict": np.asarray(prediction.convergence.verdict).tolist(),
            "terms": prediction.convergence.terms,
            "norms": prediction.convergence.norms,
        },
        "terms": [
            {
                "degree": term.degree,
                "method": term.method,
                "value": term.value,
                "standard_error": term.standard_error,
                "used": np.asarray(term.used).tolist(),
            }
            for term in prediction.terms
        ],
        "explanation": prediction.explanation,
    }
    output.emit(document, _render)


def _render(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    yield f"{record['probe']} without {record['units']} unit(s), at weight {record['weight']:g}"
    rows: list[tuple[str, object]] = [
        ("base", values(record["base"])),
        ("value", values(record["value"])),
        ("change", values(record["change"], signed=True)),
        ("standard error", f"{values(record['standard_error'])} (asymptotic)"),
    ]
    verdicts = np.unique(record["convergence"]["verdict"]).tolist()
    rows.append(("series", ", ".join(verdicts)))
    for term in record["terms"]:
        used = np.mean(term["used"])
        how = "" if used == 1 else " (left out)" if used == 0 else f" (used for {used:.0%})"
        spread = values(term["standard_error"])
        rows.append((f"degree {term['degree']}", f"{values(term['value'], signed=True)}, standard error {spread}{how}"))
    yield from fields(rows)
    yield record["explanation"]
