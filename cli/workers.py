"""``--workers`` and ``torchrun``: one command in many processes, of which rank 0 alone speaks, signs and writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import click

from unlearnkit.errors import UnlearnkitError

from .output import Output

_Command = Callable[..., None]
ARGUMENTS = "unlearnkit.arguments"
"""Under this name the context keeps the arguments of the whole command line."""


def workers_option(command: _Command) -> _Command:
    """Adds ``--workers`` to a command that is `ranked`."""

    @click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Processes on this machine, each with OMP_NUM_THREADS threads, or one. With torchrun, on many.",
    )
    @wraps(command)
    def run(output: Output, /, *, workers: int, **parameters: object) -> None:
        from unlearnkit.sketching.ranks import is_launched

        context = click.get_current_context()
        if workers == 1 or is_launched():
            command(output, **parameters)
            return
        from unlearnkit.sketching.launch import launch

        _require_no_prompt(context)
        context.exit(launch(context.meta[ARGUMENTS], workers, output.say))

    return run


def ranked(assist: _Command) -> Callable[[_Command], _Command]:
    """Of the processes of a group, lets rank 0 alone do a command, and the others assist. They take the same."""

    def decorated(command: _Command) -> _Command:
        @wraps(command)
        def run(output: Output, /, **parameters: object) -> None:
            from unlearnkit.sketching.ranks import LOST, PeerLostError, Ranks, is_launched, joined

            context, ranks = click.get_current_context(), Ranks()
            if is_launched():
                _require_no_prompt(context)
            try:
                with joined() as ranks:
                    (command if ranks.leads else assist)(output, **parameters)
            except PeerLostError:
                context.exit(LOST)
            except KeyboardInterrupt as err:
                if not ranks.leads:
                    context.exit(1)
                raise UnlearnkitError("interrupted", hint="the same command goes on from what was finished") from err

        return run

    return decorated


def _require_no_prompt(context: click.Context) -> None:
    if context.params.get("ask"):
        raise click.UsageError("--passphrase asks at a terminal: give processes --passphrase-file or --passphrase-env")
