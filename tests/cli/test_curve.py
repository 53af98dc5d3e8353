"""``unlearnkit curve``: the series along one deletion, printed, and drawn."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

import unlearnkit as uk
from tests.training.small import recipe

RECIPE = "from tests.training.small import recipe as made\n\n\ndef recipe():\n    return made()\n"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def asked(tmp_path) -> list[str]:
    file = tmp_path / "made.py"
    file.write_text(RECIPE)
    return ["curve", f"{file}:recipe", "--delete", "b", "--probe", "probe"]


def test_it_prints_what_the_library_finds(asked, tmp_path):
    figure = tmp_path / "curve.png"
    table = tmp_path / "curve.csv"
    more = ["--element", "2", "--degree", "3", "--retrain", "3", "--plot", str(figure), "--table", str(table)]
    record = json.loads(run("--json", *asked, *more).stdout)
    found = uk.curve(recipe(), ["b"], degree=3, retrained=[1 / 3, 2 / 3, 1.0])["probe"]
    np.testing.assert_allclose(record["terms"], found.terms[:, 0, 2], rtol=1e-12)
    np.testing.assert_allclose([row[1] for row in record["values"]], found.at(record["weights"], degree=2)[:, 0, 2])
    assert [point["weight"] for point in record["retrained"]] == pytest.approx([1 / 3, 2 / 3, 1.0])
    np.testing.assert_allclose([point["error"] for point in record["retrained"]], found.error()[:, 0, 2], atol=1e-12)
    assert figure.read_bytes().startswith(b"\x89PNG")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    weights = [float(row["weight"]) for row in rows]
    assert weights == pytest.approx(sorted([*np.linspace(0, 1, 11), 1 / 3, 2 / 3]), abs=1e-9)
    np.testing.assert_allclose([float(row["degree_2"]) for row in rows], found.at(weights, degree=2)[:, 0, 2])
    beside = [(float(row["weight"]), float(row["retrained"])) for row in rows if row["retrained"]]
    np.testing.assert_allclose(beside, np.stack([found.retrained, found.truth[:, 0, 2]], axis=1), rtol=1e-9)


def test_for_people_it_is_a_table(asked):
    lines = run(*asked, "--degree", "2", "--retrain", "1").stdout.splitlines()
    assert lines[1].split() == ["weight", "degree", "1", "degree", "2"]
    assert [line.split()[0] for line in lines[2:13]] == [f"{i / 10:.1f}" for i in range(11)]
    assert lines[13].startswith("retrained at 1: ")


def test_what_is_not_there_is_told_before_any_work(asked, tmp_path):
    assert "no probe 'prob'" in run(*asked[:-1], "prob", code=2).stderr
    assert "counted from 0: got --element 6" in run(*asked, "--degree", "1", "--element", "6", code=2).stderr
    there = tmp_path / "there.png"
    there.write_bytes(b"")
    assert "is there already" in run(*asked, "--plot", there, code=2).stderr
    assert "is there already" in run(*asked, "--table", there, code=2).stderr
