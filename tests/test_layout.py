"""The architecture, read from the source: who may import whom, and who may import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    "errors", "canonical", "names", "notebook", "shapes", "records", "files", "signing", "estimation", "bundle",
    "compliance.log",
    "compliance.policy", "compliance.requests", "compliance.releases", "compliance.view", "compliance.settings",
    "compliance.workspace",
    "verifier", "taylor", "training", "sketching", "audit", "report", "office", "examples", "cli", "__main__",
]  # fmt: skip
# They load a state dict into the model that they are given; torch is named in annotations alone.
TYPES_ONLY = {"unlearnkit.bundle.bundle", "unlearnkit.bundle.correction", "unlearnkit.bundle.fit"}
MAY_IMPORT_TORCH = {"taylor", "training", "sketching", "audit", "examples"}


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


def absolute(node: ast.ImportFrom, package: list[str]) -> str:
    base = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*base, *([node.module] if node.module else [])])


def imported_modules(source: str, module: str, *, is_package: bool) -> set[str]:
    """Absolute names of everything that a module imports anywhere in it: in functions and for type checkers too.

    ``from a import b`` counts as ``a.b``.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update(f"{absolute(node, package)}.{alias.name}" for alias in node.names)
    return found


def layer(module: str) -> str:
    """The layer that a module, or a name in it, belongs to; "" for the package's own names."""
    inner = module.removeprefix("unlearnkit").removeprefix(".")
    return max((name for name in LAYERS if f"{inner}.".startswith(f"{name}.")), key=len, default=inner.split(".")[0])


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


def modules_used(module: str) -> set[str]:
    """Our own modules that a module imports: ``from a import b`` uses ``a.b`` if that is one, or else ``a``."""
    ours = {name for name in imports_of(module) if name.startswith("unlearnkit")}
    return {name if name in SOURCES else name.rpartition(".")[0] for name in ours} & SOURCES.keys() - {module}


def test_no_modules_import_each_other_in_a_circle():
    try:
        list(TopologicalSorter({module: modules_used(module) for module in SOURCES}).static_order())
    except CycleError as err:
        pytest.fail(" -> ".join(err.args[1]))


def test_only_the_writer_of_a_log_needs_posix_locks():
    assert {name for name in SOURCES if "fcntl" in imports_of(name)} == {"unlearnkit.compliance.log.lock"}


@pytest.mark.parametrize(
    "module",
    ["unlearnkit.compliance.log.reader", "unlearnkit.compliance.log.verification", "unlearnkit.bundle"],
)
def test_reading_and_verifying_needs_no_posix_locks(module):
    code = f"import sys; sys.modules['fcntl'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("module", SOURCES)
def test_only_the_training_layers_import_torch(module):
    outside = {name.split(".")[0] for name in imports_of(module)}
    torch = outside & {"torch", "sklearn", "transformers"}
    assert not torch or layer(module) in MAY_IMPORT_TORCH or module in TYPES_ONLY


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(ast.parse(SOURCES[module].read_text())), f"{module} has no docstring"


def test_every_module_belongs_to_a_layer():
    assert {layer(name) for name in SOURCES} <= {*LAYERS, "compliance", "policies", ""}


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
        ("def f():\n import a", {"a"}),
        ("if TYPE_CHECKING:\n import a", {"a"}),
        ("if x:\n import a\nelse:\n import b", {"a", "b"}),
    ],
)
def test_every_import_is_seen_wherever_it_stands(source, expected):
    assert imported_modules(source, "unlearnkit.p.m0", is_package=False) == expected
