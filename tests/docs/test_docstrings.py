"""The docstrings of public names: complete, and their examples run."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import unlearnkit
from tests.docs.namespace import namespace

ERRORS = [name for name in unlearnkit.__all__ if name.endswith("Error")]
OTHERS = [name for name in unlearnkit.__all__ if name not in ERRORS]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, Any]:
    return namespace(tmp_path_factory.mktemp("office"))


def section(text: str, *titles: str) -> str:
    """The lines under a Google-style title."""
    found = [re.search(rf"^{title}:\n((?:[ ]+.*\n|\n)+)", text + "\n", re.MULTILINE) for title in titles]
    return "".join(match[1] for match in found if match)


def parameters(thing: Any) -> list[str]:
    """What a caller gives: to a class that opens or makes itself otherwise, and so has attributes only, nothing."""
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing) if field.init and not field.name.startswith("_")]
    if inspect.isclass(thing) and not section(inspect.getdoc(thing) or "", "Args"):
        return []
    return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]


def methods(name: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods with several parameters that a public class defines itself; of one a sentence tells all."""
    thing = getattr(unlearnkit, name)
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function) and not member.startswith("_") and len(parameters(function)) > 1:
                yield f"{name}.{member}", function


CALLABLES = [(name, getattr(unlearnkit, name)) for name in OTHERS] + [m for name in OTHERS for m in methods(name)]


@pytest.mark.parametrize(("name", "thing"), CALLABLES, ids=[name for name, _ in CALLABLES])
def test_every_parameter_is_explained(name, thing):
    described = section(inspect.getdoc(thing) or "", "Args", "Attributes")
    missing = [p for p in parameters(thing) if not re.search(rf"^ +{re.escape(p)}: ", described, re.MULTILINE)]
    assert not missing


@pytest.mark.parametrize("name", OTHERS)
def test_every_public_name_has_an_example(name):
    assert ">>> " in section(inspect.getdoc(getattr(unlearnkit, name)) or "", "Example")


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_says_when_it_is_raised(name):
    assert len((inspect.getdoc(getattr(unlearnkit, name)) or "").split()) >= 2


@pytest.mark.parametrize("name", unlearnkit.__all__)
def test_examples_run(name, names, tmp_path):
    thing = getattr(unlearnkit, name)
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=OPTIONS)
    report: list[str] = []
    for test in finder.find(thing, name, globs={**names, "folder": tmp_path}):
        runner.run(test, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)
