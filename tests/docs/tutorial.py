"""Runs a tutorial: its blocks in order, in one folder, and what they print against what the page says.

- A ``python`` block is executed; with a title it becomes a file of that name. A ``text`` block after one is its output.
- Lines of a ``console`` block that begin with ``$`` are commands, ``unlearnkit`` or ``cd``; what follows is their
  output. A command goes on after a backslash, and may end in ``# exit code N``.

``...`` stands for any text.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from unlearnkit.cli.main import main

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ (.*?)(?:  # exit code (\d+))?\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks(name: str) -> list[Block]:
    return [Block(*found) for found in _BLOCK.findall((TUTORIALS / f"{name}.md").read_text())]


def run(name: str) -> None:
    """In the current folder, which a ``cd`` changes."""
    names: dict[str, Any] = {"__name__": "__tutorial__"}
    printed = ""
    for number, block in enumerate(blocks(name)):
        if block.language == "console":
            _commands(block.text)
        elif block.language == "text":
            _expect(block.text, printed, f"{name}, block {number}")
        elif block.title:
            Path(block.title).write_text(block.text)
        else:
            assert block.language == "python", block
            printed = _python(block.text, names, f"block_{number}.py")


def _python(code: str, names: dict[str, Any], file: str) -> str:
    path = Path(file).resolve()
    path.write_text(code)  # the source of a loss or a probe is part of a recipe's digest, so there has to be one
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, path, "exec"), names)
    return printed.getvalue()


def _commands(text: str) -> None:
    for line, code, expected in _COMMAND.findall(text.replace("\\\n", "")):
        program, *arguments = shlex.split(line)
        if program == "cd":
            os.chdir(arguments[0])
            continue
        assert program == "unlearnkit", line
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == int(code or 0), f"{line}\n{result.output}"
        if expected:
            _expect(expected, result.stdout, line)


def _expect(expected: str, printed: str, where: str) -> None:
    assert doctest.OutputChecker().check_output(expected, printed, _OPTIONS), f"{where}\n{printed}"
