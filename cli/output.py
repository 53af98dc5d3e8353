"""What the commands print: data on stdout, talk on stderr; text and JSON are made of the same record."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import click
import numpy as np
import orjson

from unlearnkit.names import UNSEEN, shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

UNSIGNED = "not signed yet"
"""Marks what no verified checkpoint covers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The result of a command: a record of plain values, paths, days, arrays, and further such records.

    Its members, under their names, are what ``--json`` prints.
    """

    schema: ClassVar[str]


D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How to print. verbosity: -1 errors only, 0 normal, 1 with what the library logs, and tracebacks."""

    json: bool = False
    verbosity: int = 0
    _printed: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def has_printed(self) -> bool:
        """Whether the command's document is on stdout."""
        return bool(self._printed)

    @property
    def progress(self) -> bool | None:
        """Whether progress is shown: None on a terminal, False never."""
        return False if self.verbosity < 0 else None

    def emit(self, document: D, render: Callable[[D], Iterable[str]], *, exact: bool = False) -> None:
        """Print ``document`` on stdout: whole as JSON, or as the lines that ``render`` makes of it.

        Control characters are shown, not sent. exact: into a file or a pipe, lines go as they are, for their digests.
        """
        self._printed.append(document.schema)
        if self.json:
            options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
            whole = {"schema": document.schema, **_members(document)}
            click.echo(_in_ascii(orjson.dumps(whole, option=options, default=_plain)))
        else:
            lines = list(render(document))
            text = "\n".join(lines)
            if lines:
                click.echo(text if exact and not sys.stdout.isatty() else shown(text))

    def say(self, message: str) -> None:
        """Talk to the person at the terminal, on stderr."""
        if self.verbosity >= 0:
            click.echo(shown(message), err=True)

    def insist(self, message: str) -> None:
        """Say on stderr what a verdict cannot be understood without: also with ``-q``."""
        click.echo(shown(message), err=True)

    @contextmanager
    def log_shown(self) -> Iterator[None]:
        """Let the library's log be read on stderr meanwhile: with ``-v`` all of it, with ``-q`` only its errors."""
        logger, handler = logging.getLogger("unlearnkit"), _Handler()
        level = logger.level
        handler.setLevel({-1: logging.ERROR, 0: logging.WARNING}.get(self.verbosity, logging.DEBUG))
        logger.addHandler(handler)
        if self.verbosity >= 1:
            logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Handler(logging.Handler):
    """Writes where click writes, line by line."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(shown(f"{record.name.removeprefix('unlearnkit.')}: {record.getMessage()}"), err=True)


def _in_ascii(raw: bytes) -> str:
    """JSON with the characters escaped that `shown` escapes; those below U+0020 are already."""
    return UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], raw.decode())


def _members(record: DataclassInstance) -> dict[str, object]:
    return {item.name: _told(getattr(record, item.name)) for item in fields(record)}


def _told(value: object) -> object:
    """What JSON has no number for is told apart by words: "nan", "inf", "-inf"."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind != "f" or np.isfinite(value).all():
            return value
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | int | None):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _members(value)
    if isinstance(value, Mapping):
        return {key: _told(item) for key, item in value.items()}
    return [_told(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: object) -> object:
    """What orjson does not take as it is: paths, and arrays without dimensions or not in row order."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")


pass_output = click.make_pass_decorator(Output)


def columns(rows: Iterable[tuple[str, object]]) -> list[str]:
    """Lines ``name  value`` with the values in one column; a row whose value is None is left out."""
    kept = [(name, value) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in kept), default=0)
    return [f"{name:<{width}}  {value}" for name, value in kept]


def number(value: float, *, signed: bool = False) -> str:
    """A number for people: six significant digits."""
    return f"{value:+.6g}" if signed else f"{value:.6g}"


def values(array: np.ndarray, *, signed: bool = False, most: int = 8) -> str:
    """A tensor for people: its numbers when there are at most ``most``, otherwise shape, mean and range."""
    flat = np.ravel(array)
    if flat.size <= most:
        return " ".join(number(x, signed=signed) for x in flat.tolist())
    mean, low, high = (number(x, signed=signed) for x in (float(flat.mean()), float(flat.min()), float(flat.max())))
    return f"mean {mean}, from {low} to {high} ({' x '.join(map(str, array.shape))} values)"
