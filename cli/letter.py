"""``unlearnkit requests letter``: what a person is told about their request, from the log alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from .output import Document, Output, pass_output

_KINDS = ("receipt", "identity", "extension", "refusal", "completion", "recipients")


@click.command()
@click.argument("request")
@click.argument("kind", type=click.Choice(_KINDS))
@click.option("--language", default="en", show_default=True, help="en, de, or a folder in letters/ of the workspace.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write it to this new file. Default: print it.")
@pass_output
def letter(output: Output, *, request: str, kind: str, language: str, out: Path | None) -> None:
    """Write a letter about REQUEST: what the log says, in plain words; refused where the log does not say it.

    KIND is a receipt, a question of identity, an extension, a refusal, the answer (completion), or a notice to others.
    Who writes stands in [sender] of unlearnkit.toml. A file in letters/LANGUAGE of the workspace takes the place of the
    packaged template of the same name.

    \b
    Example:
      unlearnkit requests letter R2 receipt --language de -o R2.txt
    """
    import unlearnkit as uk
    from unlearnkit.files import write_new
    from unlearnkit.office.letters import Kind, write_letter
    from unlearnkit.report.letters import FOLDER, Letters

    office = uk.Workspace.find()
    view = office.view()
    text = write_letter(
        view.register.get(request),
        Kind(kind),
        view=view,
        policy=office.policy_of([request]),
        sender=office.sender(),
        letters=Letters(language, office.root / FOLDER),
        today=office.today,
    )
    if out is not None:
        write_new(out, text.encode(), mode=0o600)
    output.emit(_Letter(request=request, kind=kind, language=language, path=out, text=text), _render)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter(Document):
    """A letter; path: where it was written."""

    schema: ClassVar[str] = "unlearnkit/letter/v1"

    request: str
    kind: str
    language: str
    path: Path | None
    text: str


def _render(made: _Letter) -> Iterable[str]:
    return [made.text.removesuffix("\n") if made.path is None else f"{made.path}: {made.kind} of {made.request}"]
