"""What is installed is what is on disk; what is imported is only what is needed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
MOVED = {"cli": "unlearnkit.cli", "examples": "unlearnkit.examples", "policies": "unlearnkit.policies"}


def packages_on_disk() -> set[str]:
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "unlearnkit").rglob("__init__.py")}
    for folder, package in MOVED.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    return found


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout


def test_the_listed_packages_are_the_packages_on_disk():
    assert sorted(SETTINGS["packages"]) == sorted(packages_on_disk())
    assert SETTINGS["package-dir"] == {package: folder for folder, package in MOVED.items()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Names in a wheel built from a copy of what the package is made of."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("unlearnkit", *MOVED):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = source / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(target)!r})"
    subprocess.run([sys.executable, "-c", build], check=True, capture_output=True, cwd=source)
    (file,) = target.glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def test_the_wheel_holds_every_module_and_the_moved_folders(wheel):
    for folder in ("unlearnkit", *MOVED):
        place = MOVED.get(folder, folder).replace(".", "/")
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{place}/{path.relative_to(ROOT / folder).as_posix()}" in wheel
    assert "unlearnkit/py.typed" in wheel


def test_the_wheel_holds_policies_letters_and_templates(wheel):
    kinds = (("policies", "policies", "*.toml"), ("policies", "policies", "letters/*/*"))
    for folder, place, pattern in (*kinds, ("unlearnkit/report", "report", "templates/*")):
        found = list((ROOT / folder).glob(pattern))
        assert len(found) > 3
        for path in found:
            assert f"unlearnkit/{place}/{path.relative_to(ROOT / folder).as_posix()}" in wheel


def test_the_wheel_holds_nothing_outside_the_package(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"unlearnkit"}


def test_the_repository_folders_are_not_importable_by_their_bare_names():
    import unlearnkit.cli.main  # noqa: F401

    assert "cli" not in sys.modules
    assert "examples" not in sys.modules
    code = "import importlib.util as u; print([u.find_spec(n) for n in ('cli', 'policies', 'examples', 'tests')])"
    assert run(code).strip() == "[None, None, None, None]"


def test_policies_are_readable_as_package_data():
    assert resources.files("unlearnkit.policies").joinpath("__init__.py").is_file()
