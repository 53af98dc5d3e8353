"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import click

from unlearnkit.names import counted

LONG_PAST = 183
"""Days after which a day is so long past that it is asked whether it was mistyped."""


class _Day(click.ParamType[date]):
    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        from unlearnkit.records import read_day

        if isinstance(value, date):
            return value
        try:
            return read_day(str(value))
        except ValueError:
            self.fail(f"got {value!r}, expected YYYY-MM-DD", param, ctx)


DAY = _Day()


def CONFIRM(command: Callable[..., None]) -> Callable[..., None]:  # noqa: N802 - used as an option is
    """Give a command the option --confirm, and refuse a day long past in ``on`` or ``received`` without it."""

    @click.option("--confirm", is_flag=True, help=f"A day more than {LONG_PAST} days ago is meant.")
    @wraps(command)
    def run(*args: Any, confirm: bool, **options: Any) -> None:
        for name in ("on", "received"):
            require_recent(options.get(name), name=f"--{name}", confirm=confirm)
        command(*args, **options)

    return run


def require_recent(day: date | None, *, name: str, confirm: bool) -> None:
    """UsageError for a day that is long past, unless that was confirmed."""
    from unlearnkit.compliance.log import clock

    past = 0 if day is None else (clock.utc_now().date() - day).days
    if past > LONG_PAST and not confirm:
        raise click.UsageError(f"{name} {day} is {counted(past, 'day')} ago: if it is not mistyped, say --confirm")


LOG = click.option(
    "--log",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A copy of a log, where there is no workspace. Its chain is checked; 'unlearnkit verify' checks signatures.",
)
ON = click.option("--on", type=DAY, help="The day it happened. Default: today.")
JURISDICTION = click.option(
    "--jurisdiction", metavar="WORD", help="Whose law it is under, such as uk. Default: that of the source, or policy."
)
BY = click.option("--by", "actor", help="Who did it: a word of the policy. Default: the workspace's actor.")
