"""``unlearnkit requests purge``: forget people whose requests are needed no longer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .options import BY
from .output import Document, Output, pass_output

if TYPE_CHECKING:
    from unlearnkit.office.workspace import Workspace


@click.command()
@click.option("--due", is_flag=True, required=True, help="Everybody whose requests are needed no longer.")
@click.option("--dry-run", is_flag=True, help="Say who would be forgotten, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@BY
@pass_output
def purge(output: Output, *, due: bool, dry_run: bool, yes: bool, actor: str | None) -> None:  # noqa: ARG001 - required
    """Forget who people were whose requests are needed no longer, by the retention time of their policy.

    The pseudonym key is replaced by one that does not know them: nobody can tell from then on whose requests these
    were, in the log, in bundles and in certificates. The log stays as it is, and verifies. Whoever asks later is
    somebody new. Those whose data a release in force holds have to wait for its end. Copies of the key are yours to
    find and destroy.

    \b
    Example:
      unlearnkit requests purge --due --dry-run
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    found = _Purged.of(office, dry_run=dry_run)
    if not dry_run:
        if found.requests and not yes:
            question = f"Forget the people of {counted(len(found.requests), 'request')}? This cannot be undone."
            click.confirm(question, abort=True, err=True)
        office.purge(by=actor)  # also if nothing is due: it finishes what was interrupted
    output.emit(found, _render)


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Purged(Document):
    """requests: of those who are forgotten. waiting: needed no longer, but of people whom a release in force holds."""

    schema: ClassVar[str] = "unlearnkit/purge/v1"

    dry_run: bool
    requests: tuple[str, ...]
    waiting: tuple[_Waiting, ...]

    @classmethod
    def of(cls, office: Workspace, *, dry_run: bool) -> _Purged:
        found, requests = office.purging(), office.all_requests().requests.values()
        return cls(
            dry_run=dry_run,
            requests=tuple(item.id for item in requests if item.subject in found.due),
            waiting=tuple(
                _Waiting(item.id, found.waiting[item.subject]) for item in requests if item.subject in found.waiting
            ),
        )


def _render(found: _Purged) -> Iterable[str]:
    done = "would be forgotten" if found.dry_run else "forgotten"
    which = f": {_some(found.requests)}" if found.requests else ""
    yield f"{done}: the people of {counted(len(found.requests), 'request')}{which}"
    for item in found.waiting:
        yield f"waits: {item.request}, whose data {item.release} holds, which is in use"


def _some(names: tuple[str, ...], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
