"""``unlearnkit requests``: who works on a request, its clock, who the person is, appeals, and who else is told."""

from __future__ import annotations

from datetime import date

import click

from .options import BY, CONFIRM, DAY, ON
from .output import Output, pass_output
from .selection import Chosen, chosen, chosen_of_all, each


@click.command()
@chosen
@click.option("--to", required=True, help="Who: one of the policy's actors.")
@ON
@CONFIRM
@BY
@pass_output
def assign(output: Output, *, chosen: Chosen, to: str, on: date | None, actor: str | None) -> None:
    """Record who works on REQUEST from now on.

    \b
    Example:
      unlearnkit requests assign R2 --to support
    """
    each(output, chosen, lambda office, request: office.assign(request, to=to, on=on, by=actor), by=actor)


@click.command("correct")
@chosen
@click.option("--received", type=DAY, help="The day on which it was received.")
@click.option("--source", help="How it was made: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def correct_receipt(
    output: Output, *, chosen: Chosen, received: date | None, source: str | None, on: date | None, actor: str | None
) -> None:
    """Correct the receipt of REQUEST: another day, or another source. What is due follows from it; both stay recorded.

    Of somebody else, or made by nobody? `requests withdraw REQUEST --reason recorded-by-mistake`: later requests of the
    same person stand without it; then record it anew.

    \b
    Example:
      unlearnkit requests correct R2 --received 2026-11-02
    """
    if received is None and source is None:
        raise click.UsageError("say what was wrong: --received or --source")
    each(
        output,
        chosen,
        lambda office, request: office.correct_receipt(request, received=received, source=source, on=on, by=actor),
        by=actor,
    )


@click.command("ask-identity")
@chosen
@ON
@CONFIRM
@BY
@pass_output
def ask_identity(output: Output, *, chosen: Chosen, on: date | None, actor: str | None) -> None:
    """Record that the person behind REQUEST was asked to show who they are.

    \b
    Example:
      unlearnkit requests ask-identity R2
    """
    each(output, chosen, lambda office, request: office.ask_identity(request, on=on, by=actor), by=actor)


@click.command("fail-identity")
@chosen
@click.option("--method", required=True, help="How it was tried: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def fail_identity(output: Output, *, chosen: Chosen, method: str, on: date | None, actor: str | None) -> None:
    """Record that it was tried, and not shown, that the person behind REQUEST is who they say they are.

    \b
    Example:
      unlearnkit requests fail-identity R2 --method identity-document
    """
    each(
        output, chosen, lambda office, request: office.fail_identity(request, method=method, on=on, by=actor), by=actor
    )


@click.command()
@chosen
@click.option("--reason", required=True, help="Why: a word of the policy, which lists some where the law does.")
@ON
@CONFIRM
@BY
@pass_output
def pause(output: Output, *, chosen: Chosen, reason: str, on: date | None, actor: str | None) -> None:
    """Record that the clock of REQUEST stands still, from the day --on.

    \b
    Example:
      unlearnkit requests pause R2 --reason identity-in-doubt
    """
    each(output, chosen, lambda office, request: office.pause(request, reason=reason, on=on, by=actor), by=actor)


@click.command()
@chosen
@ON
@CONFIRM
@BY
@pass_output
def resume(output: Output, *, chosen: Chosen, on: date | None, actor: str | None) -> None:
    """Record that the clock of REQUEST runs on, from the day --on: the answer is due as many days later as it stood.

    \b
    Example:
      unlearnkit requests resume R2
    """
    each(output, chosen, lambda office, request: office.resume_clock(request, on=on, by=actor), by=actor)


@click.command()
@chosen_of_all
@click.option("--kind", required=True, help="To whom: a word of the policy. 'appeal' is to the controller.")
@ON
@CONFIRM
@BY
@pass_output
def appeal(output: Output, *, chosen: Chosen, kind: str, on: date | None, actor: str | None) -> None:
    """Record that the person behind REQUEST does not accept the answer. It is open again, and answered anew.

    \b
    Example:
      unlearnkit requests appeal R2 --kind complaint-to-authority
    """
    each(output, chosen, lambda office, request: office.appeal(request, kind=kind, on=on, by=actor), by=actor)


@click.command()
@chosen_of_all
@click.option("--recipient", required=True, help="Which kind of recipients: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def notify(output: Output, *, chosen: Chosen, recipient: str, on: date | None, actor: str | None) -> None:
    """Record that recipients of the data behind REQUEST were told to erase it.

    \b
    Example:
      unlearnkit requests notify R2 --recipient processors
    """
    each(output, chosen, lambda office, request: office.notify(request, recipient=recipient, on=on, by=actor), by=actor)


@click.command()
@chosen_of_all
@click.option("--recipient", required=True, help="Which kind of recipients: a word of the policy.")
@ON
@CONFIRM
@BY
@pass_output
def confirm(output: Output, *, chosen: Chosen, recipient: str, on: date | None, actor: str | None) -> None:
    """Record that recipients who were told have confirmed that they erased the data behind REQUEST.

    `requests list --all --where unconfirmed` lists the requests of which some have not.

    \b
    Example:
      unlearnkit requests confirm R2 --recipient processors
    """
    each(
        output, chosen, lambda office, request: office.confirm(request, recipient=recipient, on=on, by=actor), by=actor
    )


COMMANDS = (assign, correct_receipt, ask_identity, fail_identity, pause, resume, appeal, notify, confirm)
