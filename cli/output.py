"""What the commands print: data on stdout, talk on stderr; text and JSON are rendered from the same document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import click
import numpy as np
import orjson

Document = Mapping[str, object]
"""One result: JSON values and numpy arrays under string keys, among them ``"schema"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How to print. verbosity: -1 errors only, 0 normal, 1 with details and tracebacks."""

    json: bool = False
    verbosity: int = 0

    def emit(self, document: Document, render: Callable[[Document], Iterable[str]]) -> None:
        """Print ``document`` on stdout: whole as JSON, or as the lines that ``render`` makes of it."""
        if self.json:
            click.echo(
                orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY, default=_as_list)
            )
        else:
            click.echo("\n".join(render(document)))

    def say(self, message: str) -> None:
        """Talk to the person at the terminal, on stderr."""
        if self.verbosity >= 0:
            click.echo(message, err=True)

    def detail(self, message: str) -> None:
        """Talk that only ``-v`` asks for, on stderr."""
        if self.verbosity >= 1:
            click.echo(message, err=True)


def _as_list(value: object) -> object:
    """Arrays that orjson does not take as they are: without dimensions, or not in row order."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a JSON document")


pass_output = click.make_pass_decorator(Output)


def fields(rows: Iterable[tuple[str, object]]) -> list[str]:
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
