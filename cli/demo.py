"""``unlearnkit demo``: deletion requests, from the sketch of a model to certificates that an outsider verifies."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from .demo_story import Answers, Scale, Stage, answer, prepare, report
from .demo_truth import Truth, certificates, correction, exclusions, images, losses
from .demo_views import RequestRow, Told, VerifiedRow, render
from .output import Output, pass_output


@click.command()
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Keep everything in this new directory.")
@pass_output
def demo(output: Output, path: Path | None) -> None:
    """Train a classifier on digits that belong to 200 people, and answer ten who ask for the deletion of their data.

    Sketches the training run along directions from the audit log, and signs it; retrains for real, as evidence that the
    policy plans; receives requests; certifies what the data of all who ask did to the test loss, and to the loss on
    their own images; answers those whom the model does not show; corrects the weights for one whom it remembers; trains
    again without everybody, and certifies that the rest are excluded; verifies all certificates with public keys alone;
    writes a report; and retrains without each set of people to see whether what was certified is so.

    \b
    Example:
      unlearnkit demo -o run/demo
    """
    from unlearnkit.audit.retraining import one_thread

    with tempfile.TemporaryDirectory() as scratch, one_thread():  # so small a model waits for its threads
        told = tell(path or Path(scratch) / "demo", output, Scale())
        output.emit(replace(told, kept=path), render)


def tell(root: Path, output: Output, scale: Scale) -> Told:
    """Let it all happen in a new directory ``root``."""
    stage = prepare(root, output, scale)
    answers, truth = answer(stage), Truth(stage)
    report(stage, answers.effects["eight together"])
    output.say("retraining without all of them, to see whether what was certified is so")
    audit = stage.workspace.policy().audit
    return Told(
        units=len(stage.recipe.unit_names),
        examples=len(stage.recipe.unit_of_example),
        base_test_loss=float(stage.bundle.probe("test_loss").base),
        content=str(audit.content),
        confidence=str(audit.confidence),
        strata=tuple(f"{stratum.count} without {stratum}" for stratum in audit.strata),
        tolerances={name: str(value) for name, value in stage.workspace.policy().certificate.tolerances.items()},
        requests=tuple(_requests(stage, answers)),
        certificates=tuple(certificates(stage, answers, truth)),
        correction=correction(stage, answers, truth),
        in_use=answers.in_use,
        exclusions=tuple(exclusions(stage, answers, truth)),
        verified=tuple(VerifiedRow.of(found) for found in answers.verified),
        losses=tuple(losses(stage, truth)),
        kept=root,
    )


def _requests(stage: Stage, answers: Answers) -> list[RequestRow]:
    counts = images(stage)
    return [
        RequestRow(request=request.id, images=count, answer=answers.methods[request.id])
        for request, count in zip(answers.requests, counts, strict=True)
    ]
