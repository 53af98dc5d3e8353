"""The root command and the options that every command shares."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from .audit import audit
from .certify import certify
from .check import check
from .completion import offer_completions
from .correct import correct
from .curve import curve
from .demo import demo
from .errors import errors_reported
from .info import info
from .init import init
from .keys import keys
from .log import log
from .output import Output
from .plan import plan
from .policy import policy
from .predict import predict
from .release import release
from .report import report
from .requests import request_delete, requests
from .sketch import sketch
from .stability import stability
from .verify import verify
from .witness import witness
from .workers import ARGUMENTS


class RootGroup(click.Group):
    """A group whose errors, its own and those of its commands, are reported in one form; its options stand anywhere."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Speak UTF-8, whatever the locale says: what is written here is read elsewhere."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        return super().main(*args, **extra)

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        """Parse the root options, wherever they stand."""
        with errors_reported(as_json="--json" in args):
            context = super().make_context(info_name, _first(args), *rest, **extra)
        context.meta[ARGUMENTS] = args
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run the command."""
        with errors_reported(as_json=ctx.params.get("as_json", False)):
            return super().invoke(ctx)


_ROOT_OPTIONS = ("--json", "-q", "--quiet", "-v", "--verbose")


def _first(args: list[str]) -> list[str]:
    """The arguments with the root options first; what follows ``--`` is no option."""
    end = args.index("--") if "--" in args else len(args)
    found = [argument for argument in args[:end] if argument in _ROOT_OPTIONS]
    return [*found, *(argument for argument in args[:end] if argument not in _ROOT_OPTIONS), *args[end:]]


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unlearnkit", message="%(package)s %(version)s")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing on stderr but errors.")
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Say on stderr what is read, checked and trusted, and how long it takes; show the traceback of an error.",
)
@click.pass_context
def main(ctx: click.Context, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Sketch a training run once; predict what its model would do without anybody's data.

    Results go to stdout, everything else to stderr. Exit codes: 0 done or verified, 1 other error, 2 usage,
    3 malformed input, 4 verification failed, 5 refused, 6 something is overdue, where that was asked. Options may stand
    anywhere; with --json, errors are a document, too.

    \b
    Example:
      unlearnkit sketch examples/digits.py:recipe -o run/bundle
      unlearnkit predict run/bundle --probe test_loss --delete person-017
    """
    if quiet and verbose:
        raise click.UsageError("-q and -v exclude each other")
    ctx.obj = Output(json=as_json, verbosity=verbose - quiet)
    ctx.with_resource(ctx.obj.log_shown())


for command in (
    sketch,
    info,
    predict,
    stability,
    curve,
    plan,
    check,
    demo,
    init,
    release,
    request_delete,
    requests,
    certify,
    correct,
    verify,
    report,
    audit,
    log,
    policy,
    keys,
    witness,
):
    main.add_command(command)

offer_completions(main)
