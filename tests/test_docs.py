"""What is documented exists, and what exists is documented."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from unlearnkit.cli.main import main

import unlearnkit
from unlearnkit.bundle.manifest import Manifest
from unlearnkit.compliance.requests.steps import Event
from unlearnkit.verifier.certificate import Certificate, Claim

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, *sorted(ROOT.glob("*.md")), ROOT / "benchmarks" / "README.md"]
SOURCES = sorted(path for name in ("unlearnkit", "cli", "examples") for path in (ROOT / name).rglob("*.py"))
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


def of(path: Path) -> str:
    """A file's name in a test's id."""
    return path.relative_to(ROOT).as_posix()


def included(path: Path) -> str:
    """A page as the site shows it: with the file that it includes."""
    text = path.read_text()
    if found := re.fullmatch(r'--8<-- "(.+)"\n', text):
        return (ROOT / found[1]).read_text()
    return text


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """The headings of a page, as the site names them."""
    titles = re.findall(r"^#+ (.+)$", included(path), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """File and anchor of every relative link."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield (path.parent / file if file else path).resolve(), anchor


@pytest.mark.parametrize("path", TEXTS, ids=of)
def test_links_lead_somewhere(path):
    for file, anchor in links(path):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), f"{file}#{anchor}"


@pytest.mark.parametrize("path", TEXTS, ids=of)
def test_files_that_are_named_are_there(path):
    roots = "unlearnkit|tests|cli|docs|benchmarks|examples|policies"
    named = set(re.findall(rf"(?<![\w/.-])(?:{roots})/[\w./-]+\.(?:py|pyi|md|toml|svg)\b", path.read_text()))
    assert not {name for name in named if not (ROOT / name).is_file()}


def pages_of(nav: Any) -> Iterator[str]:
    for item in nav:
        for value in item.values() if isinstance(item, dict) else [item]:
            yield from [value] if isinstance(value, str) else pages_of(value)


def test_every_page_is_in_the_navigation_once():
    nav = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)


def test_every_public_name_has_a_place_in_the_reference():
    documented = re.findall(r"^::: unlearnkit\.(\w+)$", "".join(p.read_text() for p in PAGES), re.MULTILINE)
    assert sorted(documented) == sorted({"errors", *(n for n in unlearnkit.__all__ if not n.endswith("Error"))})


def cited(text: str) -> Iterator[str]:
    """The sections of the theory that a text cites: ``docs/theory.md sections 3 and 4.1``."""
    number = r"\d+(?:\.\d+)?[a-z]?"
    cites = rf"theory\.md\)?,?[\s#]+sections?[\s#]+({number}(?:(?:,|\s+and|\s+to)\s+{number})*)"
    for numbers in re.findall(cites, text):
        yield from re.findall(number, numbers)


CITING = [
    *(
        path
        for path in (*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").glob("*.py")))
    ),
    *TEXTS,
]


def test_every_citation_of_the_theory_resolves():
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?[a-z]?)\.? ", (DOCS / "theory.md").read_text(), re.MULTILINE))
    found = {(of(path), number) for path in CITING for number in cited(path.read_text())}
    assert len(found) > 30
    assert not {(path, number) for path, number in found if number not in sections}


def test_the_theory_has_one_name():
    old = re.compile(r"(?<![\w/])THEORY" + r"\.md")
    assert not [of(path) for path in CITING if path != Path(__file__) and old.search(path.read_text())]


def schemas() -> set[str]:
    """What the formats call themselves, wherever the code says it."""
    texts = "".join(path.read_text() for path in SOURCES)
    return set(re.findall(r"unlearnkit/[a-z-]+/v\d+|https://unlearnkit\.dev/[a-z-]+/v\d+", texts))


@pytest.mark.parametrize("schema", sorted(schemas() - {"unlearnkit/directions/v1", "unlearnkit/seed/v1"}))
def test_every_format_is_documented(schema):
    assert f"`{schema}`" in (DOCS / "formats.md").read_text() or f'"{schema}"' in (DOCS / "formats.md").read_text()


@pytest.mark.parametrize("event", list(Event))
def test_every_step_of_a_request_is_documented(event):
    assert f"| `{event}` |" in (DOCS / "formats.md").read_text()


@pytest.mark.parametrize("record", [Manifest, Certificate, Claim])
def test_every_member_of_a_record_is_documented(record):
    text = (DOCS / "formats.md").read_text()
    assert not [field.name for field in dataclasses.fields(record) if f"`{field.name}`" not in text]
