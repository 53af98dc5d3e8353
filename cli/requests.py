"""``unlearnkit request-delete`` and ``unlearnkit requests``: deletion requests, from receipt to the answer."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import IO

import click

from .errors import values_from_options
from .handling import COMMANDS
from .intake import import_requests, mention_strangers
from .letter import letter
from .options import BY, CONFIRM, JURISDICTION, LOG, ON
from .output import Output, pass_output
from .purge import purge
from .receipt import mention_receipts, receipt
from .request_views import Look, OneRequest, render_one
from .seeing import list_requests, summary
from .selection import Chosen, chosen, each, emit

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
    type=click.File("rb"),
    help="One subject a line, in UTF-8 or UTF-16, from a file or from - (standard input).",
)
@click.option("--source", help="How it was made: a word of the policy. Default: the policy's first.")
@click.option("--reference", help="Its number in another system; stored as a pseudonym.")
@JURISDICTION
@click.option("--expect-known", is_flag=True, help="Refuse names that are in no release in force.")
@ON
@CONFIRM
@BY
@pass_output
def request_delete(
    output: Output,
    *,
    subjects: tuple[str, ...],
    file: IO[bytes] | None,
    source: str | None,
    reference: str | None,
    jurisdiction: str | None,
    expect_known: bool,
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
    import unlearnkit as uk
    from unlearnkit.compliance.requests.intake import read_subjects

    listed = () if file is None else read_subjects(file.read(), where=getattr(file, "name", "standard input"))
    names = [*subjects, *listed]
    if not names:
        raise click.UsageError("no subject: give one, or a file with --from")
    office = uk.Workspace.find()
    with values_from_options():
        mention_strangers(output, office, names, refuse=expect_known)
        made = office.receive(names, source=source, on=on, reference=reference, jurisdiction=jurisdiction, by=actor)
    emit(output, office, made)
    mention_receipts(output, [request.id for request in made])


@click.group()
def requests() -> None:
    """Deletion requests: what is due, and each step from receipt to the answer."""


for command in (import_requests, list_requests, summary, letter, receipt, purge, *COMMANDS):
    requests.add_command(command)


@requests.command()
@click.argument("request")
@LOG
@pass_output
def show(output: Output, *, request: str, log: Path | None) -> None:
    """Show everything that the log says about REQUEST: of each step its day, and when it was recorded.

    \b
    Example:
      unlearnkit requests show R2
    """
    from unlearnkit.office.cases import cases

    look = Look.at(log)
    found = look.view.register.get(request)
    case = next(case for case in cases(look.view, look.today) if case.request is found)
    output.emit(OneRequest.of(found, look, case), render_one)


@requests.command()
@chosen
@ON
@CONFIRM
@BY
@pass_output
def acknowledge(output: Output, *, chosen: Chosen, on: date | None, actor: str | None) -> None:
    """Record that receipt of REQUEST was confirmed to the person.

    \b
    Example:
      unlearnkit requests acknowledge R2
    """
    each(output, chosen, lambda office, request: office.acknowledge(request, on=on, by=actor), by=actor)


@requests.command("verify-identity")
@chosen
@click.option("--method", required=True, help="How: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def verify_identity(output: Output, *, chosen: Chosen, method: str, on: date | None, actor: str | None) -> None:
    """Record that the person behind REQUEST is who they say they are.

    \b
    Example:
      unlearnkit requests verify-identity R2 --method account-login
    """
    each(
        output,
        chosen,
        lambda office, request: office.verify_identity(request, method=method, on=on, by=actor),
        by=actor,
    )


@requests.command()
@chosen
@click.option("--reason", required=True, help="Why it takes longer: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def extend(output: Output, *, chosen: Chosen, reason: str, on: date | None, actor: str | None) -> None:
    """Record that the person behind REQUEST was told, with the reason, that it takes longer.

    While their appeal is open, that it takes longer to answer that, where the law has a day and a later one for it.

    \b
    Example:
      unlearnkit requests extend R2 --reason complexity
    """
    each(output, chosen, lambda office, request: office.extend(request, reason=reason, on=on, by=actor), by=actor)


@requests.command()
@chosen
@click.option("--decision", type=click.Choice(["fulfil", "refuse"]), required=True, help="What will be done.")
@click.option("--ground", help="Why the data must go: a word of the policy.")
@click.option("--records", type=click.IntRange(min=0), help="How many examples the person has in the data.")
@_EVIDENCE
@ON
@CONFIRM
@BY
@pass_output
def assess(
    output: Output,
    *,
    chosen: Chosen,
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
    each(
        output,
        chosen,
        lambda office, request: office.assess(
            request, decision=decision, ground=ground, records=records, evidence=evidence, on=on, by=actor
        ),
        by=actor,
    )


@requests.command()
@chosen
@click.option("--reason", required=True, help="Why: a word of the policy.")
@_EVIDENCE
@ON
@CONFIRM
@BY
@pass_output
def refuse(
    output: Output, *, chosen: Chosen, reason: str, evidence: tuple[Path, ...], on: date | None, actor: str | None
) -> None:
    """Record that the person behind REQUEST was told that it is refused, and why.

    \b
    Example:
      unlearnkit requests refuse R2 --reason art-12-5-excessive
    """
    each(
        output,
        chosen,
        lambda office, request: office.refuse(request, reason=reason, evidence=evidence, on=on, by=actor),
        by=actor,
    )


@requests.command()
@chosen
@click.option(
    "--method",
    type=click.Choice(["retrained", "negligible-effect", "corrected", "no-data-held"]),
    required=True,
    help="How it was met.",
)
@click.option("--records", type=click.IntRange(min=0), help="How many examples were deleted.")
@click.option("--notified", multiple=True, help="Who else was told: a word of the policy. May be repeated.")
@click.option("--refused", help="Done for a part only: why the rest is kept, one of the policy's reasons to refuse.")
@_EVIDENCE
@ON
@CONFIRM
@BY
@pass_output
def fulfil(
    output: Output,
    *,
    chosen: Chosen,
    method: str,
    records: int | None,
    notified: tuple[str, ...],
    refused: str | None,
    evidence: tuple[Path, ...],
    on: date | None,
    actor: str | None,
) -> None:
    """Record that REQUEST was fulfilled, and the person told.

    Needs the certificates that show it. negligible-effect: of the effect, the newest of each release in force that
    holds the person's data, with nobody else answered without retraining since. retrained: of exclusion. corrected: of
    correction, once the corrected model is in use. no-data-held: of absence. A document of another kind is an
    attestation: it counts only where the policy says so, and is recorded and listed as one.

    \b
    Example:
      unlearnkit requests fulfil R2 --method negligible-effect --evidence R2.certificate.json
      unlearnkit requests fulfil R5 --method retrained --evidence certificates/R5.exclusion.json
      unlearnkit requests fulfil R7 --method corrected --evidence certificates/R7-digits@1.correction.json
    """
    each(
        output,
        chosen,
        lambda office, request: office.fulfil(
            request,
            method=method,
            records=records,
            notified=notified,
            refused=refused,
            evidence=evidence,
            on=on,
            by=actor,
        ),
        by=actor,
    )


@requests.command()
@chosen
@click.option("--reason", required=True, help="Why: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def withdraw(output: Output, *, chosen: Chosen, reason: str, on: date | None, actor: str | None) -> None:
    """Record that the person does not want REQUEST any more.

    \b
    Example:
      unlearnkit requests withdraw R2 --reason requested-by-person
    """
    each(output, chosen, lambda office, request: office.withdraw(request, reason=reason, on=on, by=actor), by=actor)
