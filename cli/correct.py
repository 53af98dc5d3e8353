"""``unlearnkit correct``: weights without some people, certified, to be served in the place of the trained ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
import numpy as np

from .certificate_views import Decided, recorded
from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, columns, number, pass_output
from .selection import NARROWED, narrowed

if TYPE_CHECKING:
    from unlearnkit.office.correcting import CorrectedModel

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("requests", nargs=-1)
@click.option("--open", "everybody", is_flag=True, help="All open requests of people whose data the release holds.")
@NARROWED
@click.option("--release", metavar="RELEASE", help="Such as digits@1. Default: the one in force that holds their data.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit of the bundle. May be repeated.")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="For the weights.")
@click.option(
    "--certificate", type=click.Path(path_type=Path), help="Its file. Default: named after the first request."
)
@click.option(
    "--like",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A Hugging Face folder: write another, with its other files.",
)
@click.option("--force", is_flag=True, help="Replace a certificate that is there.")
@passphrase_options
@pass_output
def correct(
    output: Output,
    *,
    requests: tuple[str, ...],
    everybody: bool,
    where: tuple[str, ...],
    release: str | None,
    evidence: tuple[Path, ...],
    path: Path,
    certificate: Path | None,
    like: Path | None,
    force: bool,
    passphrase: PassphraseSource,
) -> None:
    """Write the weights that the sketch predicts without the data of whoever made REQUESTS, and certify them.

    Always from the trained weights, for everybody who asks and everybody who was answered without retraining before.
    The file is safetensors; with the ending .pt, .pth or .bin a state dict for torch; with --like a folder as Hugging
    Face's save_pretrained writes it. The same bytes wherever they are made; how near the model is to one trained
    without these people is what audits of the release have shown. `unlearnkit release add CERTIFICATE` records that
    it is in use, `unlearnkit verify CERTIFICATE --model` looks whether it is.

    \b
    Example:
      unlearnkit correct R2 R5 --release digits@1 -o digits-1.1.safetensors
      unlearnkit correct --open -o digits-1.1.pt
      unlearnkit correct --open -o served-1.1 --like served
    """
    import unlearnkit as uk

    office = uk.Workspace.find().unlocked(passphrase.read())
    if everybody == bool(requests):
        raise click.UsageError("give requests, or --open")
    with values_from_options():
        asked = narrowed(office, office.open_requests(release), where) if everybody else requests
        made = office.correct(
            asked, out=path, release=release, evidence=evidence, certificate=certificate, like=like, force=force
        )
    output.say(recorded(made.path, made.entry, made.missing))
    output.emit(_Corrected.of(made), _render)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Predicted:
    probe: str
    base: np.ndarray
    value: np.ndarray

    def __str__(self) -> str:
        if self.base.size == 1:
            return f"{number(self.base.item())} now, {number(self.value.item())} corrected, by prediction"
        return f"{self.base.size} numbers move by {number(np.abs(self.value - self.base).max())} at most, by prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corrected(Document):
    """people: whom the weights leave out. series: whether that of the weights converges, and how they were found."""

    schema: ClassVar[str] = "unlearnkit/correct/v1"

    model: Path
    sha256: str
    certificate: Path
    release: str
    requests: tuple[str, ...]
    people: int
    decision: Decided
    series: str
    explanation: str
    predictions: tuple[_Predicted, ...]
    missing_signatures: int
    entry: int | None

    @classmethod
    def of(cls, made: CorrectedModel) -> _Corrected:
        said, decision = made.certificate, made.certificate.decision
        return cls(
            model=made.model,
            sha256=said.model,
            certificate=made.path,
            release=said.release,
            requests=said.requests,
            people=len(said.without),
            decision=Decided.of(decision),
            series=f"{said.convergence}, with a ratio of {said.ratio}",
            explanation=said.explanation,
            predictions=tuple(
                _Predicted(probe=name, base=found.base, value=found.value) for name, found in made.predictions.items()
            ),
            missing_signatures=made.missing,
            entry=None if made.entry is None else made.entry.index,
        )


def _render(made: _Corrected) -> Iterable[str]:
    """The decision first."""
    from unlearnkit.office.serving import is_safetensors

    yield f"{made.decision.outcome} (by {made.decision.rule})"
    yield from made.decision.reasons
    for prediction in made.predictions:
        yield f"{prediction.probe}: {prediction}"
    yield made.explanation
    yield from columns(
        [
            ("corrected from", made.release),
            ("requests", " ".join(made.requests)),
            ("people", f"{made.people}, with those answered without retraining before"),
            ("series", made.series),
            ("weights", made.model),
            ("sha256", made.sha256 if is_safetensors(made.model) else f"{made.sha256}, of the same as safetensors"),
            ("certificate", made.certificate),
            ("log entry", "none yet" if made.entry is None else made.entry),
        ]
    )
