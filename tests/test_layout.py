"""The architecture of DESIGN.md, read from the source: who may import whom, and who may import torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    "errors", "canonical", "files", "signing", "verifier", "bundle", "compliance", "taylor", "sketch", "report",
    "examples", "cli",
]  # fmt: skip
MAY_IMPORT_TORCH = {"taylor", "sketch", "examples"}


def module_name(path: Path) -> str:
    """Installed dotted name of a source file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] != "unlearnkit":
        parts.insert(0, "unlearnkit")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for folder in ("unlearnkit", "examples", "cli", "policies")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def import_time(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, wherever they are nested; type-checking blocks do not run."""
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or is_type_checking(node):
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from import_time(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from import_time(handler.body)


def absolute(node: ast.ImportFrom, package: list[str]) -> str:
    base = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def imported_modules(source: str, module: str, *, is_package: bool) -> set[str]:
    """Absolute names of everything that importing the module imports; ``from a import b`` counts as ``a.b``."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found: set[str] = set()
    for node in import_time(ast.parse(source).body):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{absolute(node, package)}.{alias.name}" for alias in node.names)
    return found


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports_of(module: str) -> set[str]:
    path = SOURCES[module]
    return imported_modules(path.read_text(), module, is_package=path.name == "__init__.py")


@pytest.mark.parametrize("module", [name for name in SOURCES if layer(name) in LAYERS])
def test_a_module_imports_only_from_layers_to_its_left(module):
    own = LAYERS.index(layer(module))
    ours = {name for name in imports_of(module) if name.startswith("unlearnkit.")}
    backwards = {name for name in ours if layer(name) in LAYERS[own + 1 :]}
    assert not backwards
    assert all(layer(name) in LAYERS for name in ours if layer(name) != "examples"), ours


@pytest.mark.parametrize("module", SOURCES)
def test_only_the_training_layers_import_torch(module):
    torch = {name for name in imports_of(module) if name.split(".")[0] in {"torch", "sklearn", "transformers"}}
    assert not torch or layer(module) in MAY_IMPORT_TORCH


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(ast.parse(SOURCES[module].read_text())), f"{module} has no docstring"


def test_every_module_belongs_to_a_layer():
    assert {layer(name) for name in SOURCES} <= {*LAYERS, "policies", ""}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b", {"a.b"}),
        ("from a import b, c", {"a.b", "a.c"}),
        ("from . import x", {"unlearnkit.p.x"}),
        ("from .m import x", {"unlearnkit.p.m.x"}),
        ("from ..q import x", {"unlearnkit.q.x"}),
        (
            "try:\n import a\nexcept ImportError:\n import b\nelse:\n import c\nfinally:\n import d",
            {"a", "b", "c", "d"},
        ),
        ("class C:\n import a", {"a"}),
        ("def f():\n import a", set()),
        ("if TYPE_CHECKING:\n import a", set()),
        ("if x:\n import a\nelse:\n import b", {"a", "b"}),
    ],
)
def test_the_reader_sees_what_runs_at_import_time(source, expected):
    assert imported_modules(source, "unlearnkit.p.m0", is_package=False) == expected
