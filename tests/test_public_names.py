"""``import unlearnkit`` is light, and every public name is there when it is asked for."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import pytest

import unlearnkit

HEAVY = ("torch", "numpy", "scipy", "safetensors", "cryptography", "click")
TORCH_FREE = ["unlearnkit", "unlearnkit.verifier", "unlearnkit.bundle", "unlearnkit.signing", "unlearnkit.cli.main"]


def loaded_after(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code`` ran in a fresh interpreter."""
    script = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import unlearnkit").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", TORCH_FREE)
def test_what_needs_no_training_imports_no_torch(module):
    assert "torch" not in loaded_after(f"import {module}")


def test_listing_the_names_loads_nothing():
    assert loaded_after("import unlearnkit; dir(unlearnkit)").isdisjoint(HEAVY)


@pytest.mark.parametrize("name", unlearnkit.__all__)
def test_every_public_name_is_listed_and_loads(name):
    assert name in dir(unlearnkit)
    assert callable(getattr(unlearnkit, name))


def test_sketch_is_a_plain_function():
    assert inspect.isfunction(unlearnkit.sketch)
    assert list(inspect.signature(unlearnkit.sketch).parameters)[:2] == ["recipe", "path"]
    assert "overwrite" in inspect.getdoc(unlearnkit.sketch)
    assert pickle.loads(pickle.dumps(unlearnkit.sketch)) is unlearnkit.sketch


def test_a_star_import_brings_every_public_name():
    names: dict[str, object] = {}
    exec("from unlearnkit import *", names)
    assert set(unlearnkit.__all__) <= names.keys()
    assert names["sketch"] is unlearnkit.sketch


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'unlearnkit' has no attribute 'skecth'"):
        unlearnkit.skecth  # noqa: B018
