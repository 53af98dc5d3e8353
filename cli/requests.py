"""``unlearnkit request-delete`` and ``unlearnkit requests``: deletion requests, from receipt to the answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from .errors import values_from_options
from .options import BY, ON
from .output import Output, pass_output
from .request_views import OneRequest, Requests, RequestView, render_list, render_one

if TYPE_CHECKING:
    from unlearnkit.compliance.requests.register import Request
    from unlearnkit.office.workspace import Workspace


_EVIDENCE = click.option(
    "--evidence",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A document that shows it; only its SHA-256 is recorded. May be repeated.",
)


@click.command("request-delete")
@click.argument("subjects", nargs=-1)
@click.option(
    "--from",
    "file",
    type=click.File(encoding="utf-8"),
    help="One subject a line, from a file or from - (standard input).",
)
@click.option("--source", help="How it was made: a word of the policy. Default: the policy's first.")
@click.option("--reference", help="Its number in another system; stored as a pseudonym.")
@ON
@BY
@pass_output
def request_delete(
    output: Output,
    *,
    subjects: tuple[str, ...],
    file: IO[str] | None,
    source: str | None,
    reference: str | None,
    on: date | None,
    actor: str | None,
) -> None:
    """Record deletion requests of SUBJECTS, all together or none of them.

    Names are stored as pseudonyms only. Other users of this computer can see arguments: --from - keeps names to itself.

    \b
    Example:
      unlearnkit request-delete person-017
      unlearnkit request-delete --from people.txt --source email --on 2025-03-01
    """
    names = [*subjects, *(line for line in file or () if line.strip())]
    if not names:
        raise click.UsageError("no subject: give one, or a file with --from")
    office = _office()
    with values_from_options():
        made = office.receive(names, source=source, on=on, reference=reference, by=actor)
    _emit(output, office, made)


@click.group()
def requests() -> None:
    """Deletion requests: what is due, and each step from receipt to the answer."""


@requests.command("list")
@click.option("--all", "everything", is_flag=True, help="Closed requests too.")
@click.option("--overdue", is_flag=True, help="Only those whose day has passed.")
@click.option("--subject", help="Only those of this person; needs the pseudonym key.")
@click.option("--reference", help="Only those with this number in another system; needs the pseudonym key.")
@pass_output
def list_requests(
    output: Output, *, everything: bool, overdue: bool, subject: str | None, reference: str | None
) -> None:
    """List open requests, the most urgent first, with what is due when and by which rule.

    \b
    Example:
      unlearnkit requests list --overdue
    """
    office = _office()
    with values_from_options():
        found = office.requests(everything=everything, overdue=overdue, subject=subject, reference=reference)
    _emit(output, office, found)
    late = sum(item.next_due is not None and item.next_due.day < office.today for item in found)
    output.say(f"{len(found)} requests, {late} overdue on {office.today}")


@requests.command()
@click.argument("request")
@pass_output
def show(output: Output, *, request: str) -> None:
    """Show everything that the log says about REQUEST.

    \b
    Example:
      unlearnkit requests show R2
    """
    office = _office()
    view = office.view()
    output.emit(OneRequest.of(view.register.get(request), view, office.today), render_one)


@requests.command()
@click.argument("request")
@ON
@BY
@pass_output
def acknowledge(output: Output, *, request: str, on: date | None, actor: str | None) -> None:
    """Record that receipt of REQUEST was confirmed to the person.

    \b
    Example:
      unlearnkit requests acknowledge R2
    """
    office = _office()
    with values_from_options():
        done = office.acknowledge(request, on=on, by=actor)
    _emit(output, office, [done])


@requests.command("verify-identity")
@click.argument("request")
@click.option("--method", required=True, help="How: a word of the policy.")
@ON
@BY
@pass_output
def verify_identity(output: Output, *, request: str, method: str, on: date | None, actor: str | None) -> None:
    """Record that the person behind REQUEST is who they say they are.

    \b
    Example:
      unlearnkit requests verify-identity R2 --method account-login
    """
    office = _office()
    with values_from_options():
        done = office.verify_identity(request, method=method, on=on, by=actor)
    _emit(output, office, [done])


@requests.command()
@click.argument("request")
@click.option("--reason", required=True, help="Why it takes longer: a word of the policy.")
@ON
@BY
@pass_output
def extend(output: Output, *, request: str, reason: str, on: date | None, actor: str | None) -> None:
    """Record that the person behind REQUEST was told, with the reason, that it takes longer.

    \b
    Example:
      unlearnkit requests extend R2 --reason complexity
    """
    office = _office()
    with values_from_options():
        done = office.extend(request, reason=reason, on=on, by=actor)
    _emit(output, office, [done])


@requests.command()
@click.argument("request")
@click.option("--decision", type=click.Choice(["fulfil", "refuse"]), required=True, help="What will be done.")
@click.option("--ground", help="Why the data must go: a word of the policy.")
@click.option("--records", type=click.IntRange(min=0), help="How many examples the person has in the data.")
@_EVIDENCE
@ON
@BY
@pass_output
def assess(
    output: Output,
    *,
    request: str,
    decision: str,
    ground: str | None,
    records: int | None,
    evidence: tuple[Path, ...],
    on: date | None,
    actor: str | None,
) -> None:
    """Record what was decided about REQUEST, before it is done. A later assessment replaces an earlier one.

    \b
    Example:
      unlearnkit requests assess R2 --decision fulfil --ground art-17-1-b-consent-withdrawn --records 12
    """
    office = _office()
    with values_from_options():
        done = office.assess(
            request, decision=decision, ground=ground, records=records, evidence=evidence, on=on, by=actor
        )
    _emit(output, office, [done])


@requests.command()
@click.argument("request")
@click.option("--reason", required=True, help="Why: a word of the policy.")
@_EVIDENCE
@ON
@BY
@pass_output
def refuse(
    output: Output, *, request: str, reason: str, evidence: tuple[Path, ...], on: date | None, actor: str | None
) -> None:
    """Record that the person behind REQUEST was told that it is refused, and why.

    \b
    Example:
      unlearnkit requests refuse R2 --reason art-12-5-excessive
    """
    office = _office()
    with values_from_options():
        done = office.refuse(request, reason=reason, evidence=evidence, on=on, by=actor)
    _emit(output, office, [done])


@requests.command()
@click.argument("request")
@click.option(
    "--method",
    type=click.Choice(["retrained", "negligible-effect", "no-data-held"]),
    required=True,
    help="How it was met.",
)
@click.option("--records", type=click.IntRange(min=0), help="How many examples were deleted.")
@click.option("--notified", multiple=True, help="Who else was told: a word of the policy. May be repeated.")
@_EVIDENCE
@ON
@BY
@pass_output
def fulfil(
    output: Output,
    *,
    request: str,
    method: str,
    records: int | None,
    notified: tuple[str, ...],
    evidence: tuple[Path, ...],
    on: date | None,
    actor: str | None,
) -> None:
    """Record that REQUEST was fulfilled, and the person told.

    Needs the certificates that show it. negligible-effect: of the effect, the newest of each release in force that
    holds the person's data, with nobody else answered without retraining since. retrained: of exclusion. no-data-held:
    of absence. A document of another kind is an attestation: it counts only where the policy says so, and is recorded
    and listed as one.

    \b
    Example:
      unlearnkit requests fulfil R2 --method negligible-effect --evidence R2.certificate.json
      unlearnkit requests fulfil R5 --method retrained --evidence R5.exclusion.json
    """
    office = _office()
    with values_from_options():
        done = office.fulfil(
            request, method=method, records=records, notified=notified, evidence=evidence, on=on, by=actor
        )
    _emit(output, office, [done])


@requests.command()
@click.argument("request")
@click.option("--reason", required=True, help="Why: a word of the policy.")
@ON
@BY
@pass_output
def withdraw(output: Output, *, request: str, reason: str, on: date | None, actor: str | None) -> None:
    """Record that the person does not want REQUEST any more.

    \b
    Example:
      unlearnkit requests withdraw R2 --reason requested-by-person
    """
    office = _office()
    with values_from_options():
        done = office.withdraw(request, reason=reason, on=on, by=actor)
    _emit(output, office, [done])


def _office() -> Workspace:
    import unlearnkit as uk

    return uk.Workspace.find()


def _emit(output: Output, office: Workspace, found: Iterable[Request]) -> None:
    today, view = office.today, office.view()
    views = tuple(RequestView.of(request, view, today) for request in found)
    output.emit(Requests(today=today, requests=views), render_list)
