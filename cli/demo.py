"""``unlearnkit demo``: a deletion request, from the sketch of a model to a certificate that an outsider verifies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import click
import numpy as np

from .demo_story import DeletionRow, RequestRow, Scale, compare, handle, prepare
from .output import Document, Output, pass_output


@click.command()
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Keep everything in this new directory.")
@pass_output
def demo(output: Output, path: Path | None) -> None:
    """Train a classifier on digits that belong to 200 people, and handle deletion requests of some of them.

    Sketches and signs the training run; retrains for real, as evidence that the policy plans; receives requests;
    certifies what each person's data did to the test loss, and to the loss on their own images; decides by the policy;
    verifies the certificates with public keys alone; writes a report; and in the end retrains without each person to
    see whether what was certified is so.

    \b
    Example:
      unlearnkit demo -o run/demo
    """
    with tempfile.TemporaryDirectory() as scratch:
        told = tell(path or Path(scratch) / "demo", output, Scale())
        output.emit(replace(told, kept=path), render)


def tell(root: Path, output: Output, scale: Scale) -> Told:
    """Let it all happen in a new directory ``root``."""
    office = prepare(root, output, scale)
    return Told(
        units=len(office.recipe.unit_names),
        examples=len(office.recipe.unit_of_example),
        base_test_loss=float(office.bundle.probe("test_loss").base),
        requests=handle(office),
        deletions=compare(office),
        kept=root,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Document):
    """The whole story. kept: where its files are, if they stay."""

    schema: ClassVar[str] = "unlearnkit/demo/v3"

    units: int
    examples: int
    base_test_loss: float
    requests: tuple[RequestRow, ...]
    deletions: tuple[DeletionRow, ...]
    kept: Path | None


def render(told: Told) -> Iterable[str]:
    """The story for people."""
    yield f"A classifier learned {told.examples} digits that belong to {told.units} people."
    yield f"Its test loss is {told.base_test_loss:.6f}. Four of them ask for the deletion of their data:"
    yield ""
    yield from _render_requests(told.requests)
    yield ""
    yield "Verified with public keys alone, from the bundle, the log and the evidence:"
    yield from (f"  {name}: {found}" for name, found in told.requests[0].checks)
    yield ""
    yield from _render_deletions(told.deletions)
    if told.kept is not None:
        yield ""
        yield f"Everything is in {told.kept}: bundle, audit log, evidence, certificates, report.html."


def _render_requests(requests: tuple[RequestRow, ...]) -> Iterable[str]:
    heads = f"{'':<10} {'change, as certified':<26} {'really':>11}   {'inside':<6}  tolerated"
    yield f"{'request':<8} {'images':>6}   {heads}"
    for row in requests:
        yield f"{row.request:<8} {row.images:>6}   {row.decision}"
        for claim in row.claims:
            claimed = f"{claim.change:+.6f} +- {claim.epsilon:.6f}"
            inside = "yes" if claim.inside else "NO"
            told = f"{claim.probe:<10} {claimed:<26} {claim.real:>+11.6f}   {inside:<6}  {claim.tolerance}"
            yield f"{'':<15}   {told}"
    kinds = ", ".join(sorted({claim.kind for row in requests for claim in row.claims}))
    yield f"Claims are {kinds}: from real retrainings that the policy planned, of people drawn like those who ask."


def _render_deletions(rows: tuple[DeletionRow, ...]) -> Iterable[str]:
    yield "What the sketch predicts, and what retraining gives (mean size over 40 margins, and the test loss):"
    yield ""
    yield f"{'who leaves':<22} {'images':>6}   {'change of margins':>17} {'error of 1st':>12} {'and 2nd order':>13}"
    for row in rows:
        real, first, second = (row.margins[name] for name in ("real", "first", "second"))
        yield f"{row.who:<22} {row.images:>6}   {real:>17.5f} {first:>12.5f} {second:>13.5f}"
    yield ""
    yield f"{'':<22} {'':>6}   {'change of loss':>17} {'1st order':>12} {'and 2nd order':>13}"
    for row in rows:
        real, first, second = (row.test_loss[name] for name in ("real", "first", "second"))
        yield f"{row.who:<22} {row.images:>6}   {real:>+17.6f} {first:>+12.6f} {second:>+13.6f}"
    yield ""
    correlation = np.mean([row.rank_correlation for row in rows])
    yield f"Rank correlation of predicted and real changes over the margins: {correlation:.3f} on average."
