"""What is documented exists, and what exists is documented."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from unlearnkit.cli.main import main

import unlearnkit

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
LINES = re.findall(r"^    (unlearnkit .*?)(?:  +#.*)?$", README, re.MULTILINE)


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize(("path", "command"), [pytest.param(p, c, id=" ".join(p)) for p, c in commands(main)])
def test_every_command_has_help_with_an_example(path, command):
    assert command.help, path
    if not isinstance(command, click.Group):
        assert f"unlearnkit {' '.join(path)}" in command.help.replace("--json ", "")


@pytest.mark.parametrize("name", main.commands)
def test_readme_names_every_command(name):
    assert f"unlearnkit {name}" in README


@pytest.mark.parametrize("line", LINES)
def test_readme_commands_exist(line):
    command: click.Command = main
    for word in shlex.split(line)[1:]:
        if not isinstance(command, click.Group):
            break
        assert word in command.commands, line
        command = command.commands[word]


@pytest.mark.parametrize("block", BLOCKS)
def test_readme_python_uses_names_that_exist(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "uk":
            assert hasattr(unlearnkit, node.attr), node.attr


def test_there_is_something_to_check():
    assert BLOCKS
    assert len(LINES) >= 10
