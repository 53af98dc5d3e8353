"""docs/architecture.md against the source: its layers are the layers, its walks follow the import direction."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.picture import PICTURE, draw, rows
from tests.test_layout import LAYERS, MAY_IMPORT_TORCH, layer, module_name, modules_used

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()


def section(title: str) -> str:
    return re.split(r"^## ", TEXT.split(f"\n## {title}\n")[1], flags=re.MULTILINE)[0]


def table(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_has_the_layers_in_the_order_of_the_imports():
    assert [name for name, *_ in table("Layers")] == LAYERS


def test_the_table_says_which_layers_import_torch():
    assert {name for name, _, torch in table("Layers") if torch} == MAY_IMPORT_TORCH


def test_the_picture_is_drawn_from_the_layers():
    assert [name for row in rows() for name in row] == LAYERS
    assert PICTURE.read_text() == draw(), "python -m tests.docs.picture"


@pytest.mark.parametrize("walk", ["The way of a deletion", "The way of a tensor"])
def test_a_walk_goes_through_files_that_exist_in_the_order_of_the_imports(walk):
    files = [file for file, *_ in table(walk)]
    missing = [file for file in files if not (ROOT / file).is_file()]
    assert not missing
    assert len(set(files)) == len(files) >= 20
    places = [LAYERS.index(layer(module_name(ROOT / file))) for file in files]
    assert places == sorted(places)


@pytest.mark.parametrize("walk", ["The way of a deletion", "The way of a tensor"])
def test_a_walk_leaves_out_no_moment(walk):
    moments = {int(number) for *_, when in table(walk) for number in when.split(",") if number.strip()}
    assert moments == set(range(1, max(moments) + 1))
    assert f"({max(moments)})" in section(walk)


@pytest.mark.parametrize("walk", ["The way of a deletion", "The way of a tensor"])
def test_a_file_of_a_walk_uses_only_what_stands_above_it(walk):
    modules = [module_name(ROOT / file) for file, *_ in table(walk)]
    below = {module: modules_used(module) & set(modules[place:]) for place, module in enumerate(modules)}
    assert not {module: used for module, used in below.items() if used}
