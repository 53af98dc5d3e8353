"""Options that several commands share."""

from __future__ import annotations

from datetime import date

import click


class _Day(click.ParamType[date]):
    name = "YYYY-MM-DD"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"got {value!r}, expected YYYY-MM-DD", param, ctx)


ON = click.option("--on", type=_Day(), help="The day it happened. Default: today.")
BY = click.option("--by", "actor", help="Who did it: a word of the policy. Default: the workspace's actor.")
