"""``unlearnkit requests import``: requests from a table, from fides, or from OpenDSR."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .errors import values_from_options
from .options import BY, JURISDICTION, LONG_PAST, require_recent
from .output import Document, Output, pass_output
from .receipt import mention_receipts

if TYPE_CHECKING:
    from unlearnkit.office.workspace import Workspace

_LISTED = 20


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would be recorded, and record nothing.")
@click.option("--skip-bad", is_flag=True, help="Record the good rows although there are bad ones.")
@click.option(
    "--identity", default="email", show_default=True, help="Which identity of a JSON document names the person."
)
@JURISDICTION
@click.option("--confirm", is_flag=True, help=f"Days more than {LONG_PAST} days ago are meant.")
@click.option("--expect-known", is_flag=True, help="Refuse names that are in no release in force.")
@BY
@pass_output
def import_requests(
    output: Output,
    *,
    file: Path,
    dry_run: bool,
    skip_bad: bool,
    identity: str,
    jurisdiction: str | None,
    confirm: bool,
    expect_known: bool,
    actor: str | None,
) -> None:
    """Record the deletion requests in FILE, all together or none of them.

    A table (CSV, UTF-8 or UTF-16) has a header with the columns subject, received (YYYY-MM-DD), source, reference and
    jurisdiction, in any order; only the first has to be there. A JSON document is as fides or OpenDSR have it.
    Each request is under the policy of its jurisdiction. Names are stored as pseudonyms only.

    \b
    Example:
      unlearnkit requests import requests.csv --dry-run
    """
    import unlearnkit as uk

    office = uk.Workspace.find()
    intake = office.read_intake(file, identity=identity, jurisdiction=jurisdiction)
    problems = tuple(_Row(problem.row, problem.what) for problem in intake.problems)
    if not (skip_bad or dry_run):
        intake.require_whole(str(file))
    for arrival in () if dry_run else intake.arrivals:
        require_recent(arrival.received, name=f"row {arrival.row}: received", confirm=confirm)
    with values_from_options():
        names = [arrival.subject for arrival in intake.arrivals]
        rows = [arrival.row for arrival in intake.arrivals]
        mention_strangers(output, office, names, refuse=expect_known, rows=rows)
        made = () if dry_run else office.take_in(intake, by=actor)
    found = _Imported(
        recorded=tuple(request.id for request in made),
        duplicates=sum(request.duplicate_of is not None for request in made),
        good=len(intake.arrivals),
        problems=problems,
        dry_run=dry_run,
    )
    output.emit(found, partial(_render, skip_bad=skip_bad))
    mention_receipts(output, found.recorded)


def mention_strangers(
    output: Output, office: Workspace, names: Sequence[str], *, refuse: bool, rows: Sequence[int] = ()
) -> None:
    """Say which names are in no release in force, by their places; RefusedError if they shall be refused."""
    from unlearnkit.errors import RefusedError, UnknownNameError

    if not names or (not refuse and not office.registry().in_force):
        return
    try:
        places = office.strangers(names)
    except (RefusedError, UnknownNameError) as err:
        if refuse:
            raise
        output.say(f"note: whether these people are in a release in force was not looked up: {err}")
        return
    if not places:
        return
    which = ", ".join(str(rows[i] if rows else i + 1) for i in places[:_LISTED])
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    message = f"in no release in force: {len(places)} of {counted(len(names), 'name')}, number {which}{more}"
    if refuse:
        raise RefusedError(message, hint="mend their spelling, or leave --expect-known out")
    output.say(f"note: {message}")


@dataclass(frozen=True, slots=True)
class _Row:
    row: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Imported(Document):
    """What became of a file. good: rows that can be recorded. duplicates: of those recorded."""

    schema: ClassVar[str] = "unlearnkit/import/v1"

    recorded: tuple[str, ...]
    duplicates: int
    good: int
    problems: tuple[_Row, ...]
    dry_run: bool


def _foretold(bad: int, good: str, *, skip_bad: bool) -> str:
    """What an import would do."""
    if not bad or skip_bad:
        return f"would be recorded: {good}"
    return f"would be recorded: none, for {counted(bad, 'row')} cannot be; with --skip-bad {good}"


def _render(found: _Imported, *, skip_bad: bool) -> Iterable[str]:
    for item in found.problems:
        yield f"row {item.row}: {item.problem}"
    if found.dry_run:
        yield _foretold(len(found.problems), counted(found.good, "row"), skip_bad=skip_bad)
    elif not found.recorded:
        yield "no request was recorded"
    else:
        first, last = found.recorded[0], found.recorded[-1]
        which = first if first == last else f"{first} to {last}"
        yield f"recorded: {len(found.recorded)}, {which}; duplicates among them: {found.duplicates}"
