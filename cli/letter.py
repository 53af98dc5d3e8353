"""``unlearnkit requests letter``: what people are told about their requests, from the log alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .errors import exit_code, values_from_options
from .output import Document, Output, pass_output
from .request_views import FailedView
from .selection import Chosen, chosen_of_all

if TYPE_CHECKING:
    from unlearnkit.errors import UnlearnkitError
    from unlearnkit.office.workspace import Workspace

_KINDS = ("receipt", "identity", "extension", "refusal", "completion", "recipients")


@click.command()
@chosen_of_all
@click.argument("kind", type=click.Choice(_KINDS))
@click.option("--language", default="en", show_default=True, help="en, de, or a folder in letters/ of the workspace.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="This new file; of several letters, a folder. Default: print."
)
@pass_output
def letter(output: Output, *, chosen: Chosen, kind: str, language: str, out: Path | None) -> None:
    """Write a letter about each REQUEST: what the log says, in plain words; refused where the log does not say it.

    KIND is a receipt, a question of identity, an extension, a refusal, the answer (completion), or a notice to others.
    Who writes stands in [sender] of unlearnkit.toml. A file in letters/LANGUAGE of the workspace takes the place of the
    packaged template of the same name. Several letters go into a folder, R2-receipt.txt and so on.

    \b
    Example:
      unlearnkit requests letter R2 receipt --language de -o R2.txt
      unlearnkit requests letter --where state=fulfilled completion -o letters
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    with values_from_options():
        names = chosen.of(office)
    if len(names) == 1 and not (out and out.is_dir()):
        (text,) = (item for _, item in _written(office, names, kind, language))
        if isinstance(text, Exception):
            raise text
        _keep(out, text)
        output.emit(_Letter(request=names[0], kind=kind, language=language, path=out, text=text), _render)
        return
    if out is None:
        raise click.UsageError("several letters go into a folder: give one with -o")
    out.mkdir(exist_ok=True)
    made, failed = [], []
    for name, found in _written(office, names, kind, language):
        if isinstance(found, str):
            made.append(_keep(out / f"{name}-{kind}.txt", found))
        else:
            failed.append((name, found))
    failures = tuple(FailedView.of(name, err) for name, err in failed)
    output.emit(_Letters(kind=kind, language=language, paths=tuple(made), failed=failures), _render_all)
    output.say(f"{len(made)} of {counted(len(names), 'letter')}: written")
    if failed:
        raise click.exceptions.Exit(exit_code(failed[0][1]))


def _written(
    office: Workspace, names: Sequence[str], kind: str, language: str
) -> Iterator[tuple[str, str | UnlearnkitError]]:
    """Each letter, or why there is none."""
    from unlearnkit.errors import RefusedError, UnknownNameError
    from unlearnkit.office.letters import Kind, write_letter
    from unlearnkit.report.letters import FOLDER, Letters

    view, sender = office.view(), office.sender()
    letters = Letters(language, office.root / FOLDER)
    for name in names:
        try:
            yield (
                name,
                write_letter(
                    view.register.get(name),
                    Kind(kind),
                    view=view,
                    policy=office.policy_of([name]),
                    sender=sender,
                    letters=letters,
                    today=office.today,
                ),
            )
        except (RefusedError, UnknownNameError) as err:
            yield name, err


def _keep(path: Path | None, text: str) -> Path | None:
    from unlearnkit.files import write_new

    if path is not None:
        write_new(path, text.encode(), mode=0o600)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter(Document):
    """A letter; path: where it was written."""

    schema: ClassVar[str] = "unlearnkit/letter/v1"

    request: str
    kind: str
    language: str
    path: Path | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letters(Document):
    """Several letters: where they were written. failed: those that were not, and why."""

    schema: ClassVar[str] = "unlearnkit/letters/v1"

    kind: str
    language: str
    paths: tuple[Path | None, ...]
    failed: tuple[FailedView, ...]


def _render(made: _Letter) -> Iterable[str]:
    return [made.text.removesuffix("\n") if made.path is None else f"{made.path}: {made.kind} of {made.request}"]


def _render_all(made: _Letters) -> Iterator[str]:
    yield from (str(path) for path in made.paths)
    yield from (f"{item.id}  {item}" for item in made.failed)
