"""Sketch a training run once; then predict what its model would do without anybody's data.

``uk.sketch(recipe, path)`` runs the training once and writes a bundle; ``uk.Bundle.open(path)`` answers from it, and
needs neither torch nor the data; ``uk.retrain(recipe, delete=[...])`` is the real thing to compare with.

Public names are loaded when they are first used (PEP 562): ``import unlearnkit`` imports no torch, numpy or scipy.
Their one list is ``__init__.pyi`` beside this file, which type checkers read too.
"""

from __future__ import annotations

import ast
import logging
from importlib import import_module
from pathlib import Path


def _homes() -> dict[str, str]:
    """The module of each public name, as ``__init__.pyi`` imports it."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8"))
    return {
        alias.asname or alias.name: str(node.module)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is logged is for whoever asks for it

_HOMES = _homes()
__all__ = sorted(_HOMES)  # noqa: PLE0605  the one list is in the stub


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, loaded or not."""
    return sorted({*globals(), *_HOMES})
