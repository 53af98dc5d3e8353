"""``import unlearnkit`` is light, and every public name is there when it is asked for."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    "name",
    [
        "Adam",
        "Bundle",
        "Prediction",
        "PseudonymKey",
        "Recipe",
        "Sketch",
        "check",
        "retrain",
        "sketch",
        "UnlearnkitError",
    ],
)
def test_every_public_name_is_listed_and_loads(name):
    assert name in dir(unlearnkit)
    assert callable(getattr(unlearnkit, name))


def test_sketch_is_both_the_subpackage_and_the_function():
    code = (
        "import unlearnkit as uk; first = uk.sketch; import unlearnkit.sketch; "
        "assert first is uk.sketch; assert callable(first); assert uk.sketch.Recipe is uk.Recipe"
    )
    assert "torch" in loaded_after(code)


def test_calling_the_subpackage_calls_its_function(tmp_path):
    with pytest.raises(TypeError, match="path"):
        unlearnkit.sketch("no recipe")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'unlearnkit' has no attribute 'skecth'"):
        unlearnkit.skecth  # noqa: B018
