"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import click

from unlearnkit.errors import FormatError, RefusedError, UnlearnkitError, VerificationError
from unlearnkit.names import shown

from .output import Document, Output

EXIT_CODES: dict[type[UnlearnkitError], int] = {FormatError: 3, VerificationError: 4, RefusedError: 5}
"""0 done or verified, 1 any other error, 2 usage, 6 something is overdue, where that was asked."""

_EXTRAS = {
    "rfc3161_client": ("time", "rfc3161-client"),
    "torch": ("train", "PyTorch"),
    "sklearn": ("demo", "scikit-learn"),
    "jinja2": ("report", "jinja2"),
    "holidays": ("holidays", "holidays"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Error(Document):
    """Why a command did not print its own document."""

    schema: ClassVar[str] = "unlearnkit/error/v1"

    error: str
    hint: str | None
    exit_code: int


@contextmanager
def errors_reported(*, as_json: bool) -> Iterator[None]:
    """Print an expected error as ``unlearnkit: error:`` and ``unlearnkit: hint:`` on stderr, and exit with its code.

    as_json: on stdout too, as a document, if the command has not printed one.
    Anything else is a defect, in this program or in the recipe, and keeps its traceback.
    """
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as err:
        command = err.ctx.command_path if err.ctx else "unlearnkit"
        _fail(err, err.format_message(), f"see '{command} --help'", 2, as_json=as_json)
    except UnlearnkitError as err:
        _fail(err, str(err), err.hint, exit_code(err), as_json=as_json)
    except ModuleNotFoundError as err:
        if err.name not in _EXTRAS:
            raise
        extra, title = _EXTRAS[err.name]
        _fail(
            err,
            f"this command needs {title}, which is not installed",
            f'pip install "unlearnkit[{extra}]"',
            1,
            as_json=as_json,
        )
    except MemoryError as err:
        _fail(err, "there is not enough memory for that", None, 1, as_json=as_json)
    except OSError as err:
        if err.errno == errno.EPIPE:  # the reader of stdout has seen enough; click leaves quietly
            raise
        where = "" if err.filename is None else f": {err.filename}"
        _fail(err, f"{err.strerror or err}{where}", None, 1, as_json=as_json)


def exit_code(err: Exception) -> int:
    """The code that a command exits with for an error."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(err, kind)), 1)


def _fail(err: Exception, message: str, hint: str | None, code: int, *, as_json: bool) -> NoReturn:
    context = click.get_current_context(silent=True)
    output = context.find_object(Output) if context else None
    if output is not None and output.verbosity >= 1:
        click.echo(shown("".join(traceback.format_exception(err))), err=True, nl=False)
    if as_json and not (output is not None and output.has_printed):
        Output(json=True).emit(_Error(error=message, hint=hint, exit_code=code), lambda _: ())
    click.echo(shown(f"unlearnkit: error: {message}"), err=True)
    if hint:
        click.echo(shown(f"unlearnkit: hint: {hint}"), err=True)
    raise click.exceptions.Exit(code) from err


@contextmanager
def values_from_options() -> Iterator[None]:
    """Around a library call whose arguments are all from the command line: its ValueError is a usage error."""
    try:
        yield
    except ValueError as err:
        raise click.UsageError(str(err)) from err
