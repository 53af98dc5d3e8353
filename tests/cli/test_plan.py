"""``unlearnkit plan`` and ``unlearnkit stability``: what a bound takes, and how large the parts of each degree are."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from tests.bundle.small import small
from unlearnkit.bundle import Bundle
from unlearnkit.estimation.planning import directions_needed


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def bundle(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    return small(tmp_path / "run", weights=False, swept=True).write(tmp_path / "bundle")


def test_a_plan_is_the_least_number_of_directions():
    asked = ["--epsilon", "0.5", "--delta", "0.05", "--units", "300", "--norm", "1", "--size", "4", "--degree", "2"]
    record = json.loads(run("--json", "plan", *asked, "--elements", "3").stdout)
    expected = directions_needed(0.5, 0.05, degree=2, units=300, size=4, norm=1.0, elements=3)
    assert record["directions"] == expected
    assert record["planned_epsilon"] <= 0.5
    assert run("plan", *asked).stdout.startswith(
        f"{directions_needed(0.5, 0.05, degree=2, units=300, size=4, norm=1.0)} "
    )


def test_a_pilot_sketch_gives_what_the_options_do_not(bundle):
    sketch = Bundle.open(bundle).probe("test_loss")
    pilot = ["--bundle", bundle, "--probe", "test_loss", "--degree", "2"]
    record = json.loads(run("--json", "plan", "--epsilon", "0.5", "--delta", "0.05", *pilot).stdout)
    assert (record["units"], record["elements"]) == (5, 1)
    assert record["norm"] == sketch.stability()[1].norm
    assert (
        json.loads(run("--json", "plan", "--epsilon", "0.5", "--delta", "0.05", *pilot, "--norm", "3").stdout)["norm"]
        == 3
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--epsilon", "0.5", "--delta", "0.05"], 2, "give --units and --norm"),
        (["--epsilon", "0.5", "--delta", "0.05", "--probe", "loss"], 2, "--bundle and --probe belong together"),
        (["--epsilon", "0", "--delta", "0.05"], 2, "Invalid value for '--epsilon'"),
        (["--epsilon", "0.5", "--delta", "1"], 2, "Invalid value for '--delta'"),
        (["--epsilon", "1e-12", "--delta", "0.05", "--units", "900", "--norm", "1", "--degree", "3"], 1, "more than"),
    ],
)
def test_what_cannot_be_planned_is_said(arguments, code, message):
    assert message in run("plan", *arguments, code=code).stderr


def test_the_profile_is_the_sketchs_own(bundle):
    result = run("--json", "stability", bundle, "--probe", "margins")
    record = json.loads(result.stdout)
    rows = Bundle.open(bundle).probe("margins").stability()
    assert [(row["degree"], row["norm"], row["low"]) for row in record["degrees"]] == [
        (row.degree, row.norm, row.low) for row in rows
    ]
    assert record["verified"] is False
    assert "UNVERIFIED" in result.stderr
    assert "certified, 95 %" in run("stability", bundle, "--probe", "margins").stdout


def test_the_plot_is_a_figure_that_stands_alone(bundle, tmp_path):
    plot = tmp_path / "profile.svg"
    run("stability", bundle, "--probe", "margins", "--plot", plot)
    root = ET.fromstring(plot.read_text())
    texts = "".join(root.itertext())
    assert root.tag.endswith("svg")
    assert "Stability profile of margins" in texts
    assert "degree 2" in texts
    before = plot.read_bytes()
    run("stability", bundle, "--probe", "margins", "--plot", plot, code=1)
    assert plot.read_bytes() == before


def test_a_probe_of_which_only_the_base_is_known_has_no_profile(tmp_path):
    (tmp_path / "run").mkdir()
    bare = small(tmp_path / "run", weights=False, count=0, swept=True).write(tmp_path / "bare")
    assert "nothing is known of it" in run("stability", bare, "--probe", "test_loss").stdout


def test_a_recipe_is_told_what_each_way_to_sketch_it_costs_and_buys():
    """Storage is what the arrays of a bundle hold."""
    record = json.loads(run("--json", "plan", "tests/cli/costly.py:recipe").stdout)
    assert (record["units"], record["elements"], record["weights"]) == (8, 7, 36)
    options = {item["name"]: item for item in record["options"]}
    assert options["solo, degree 3"]["bytes"] == 4 * 8 * 3 * 7
    assert options["solo, degree 3, with weights"]["bytes"] == 4 * 8 * 3 * (7 + 36)
    assert options["first order (default)"]["bytes"] == 4 * 7 * 8
    assert options["solo, degree 3"]["plain_trainings"] == pytest.approx(0.18 * 8, abs=0.05)
    assert all(item["seconds"] >= 0 for item in record["options"])
    table = run("plan", "tests/cli/costly.py:recipe").stdout
    assert "corrected models" in table
    assert "before, train again" in table


def test_a_plan_says_after_how_many_occasions_it_pays_and_where_never(tmp_path):
    record = json.loads(run("--json", "plan", "tests/cli/costly.py:recipe", "--policy", "research").stdout)
    assert (record["policy"], record["audit"]) == ("research", 44)
    for item in record["options"]:
        assert 0 <= item["occasions"] - 44 - item["plain_trainings"] < 1.05
    table = run("plan", "tests/cli/costly.py:recipe", "--policy", "research").stdout
    assert "The audit of policy research costs 44 trainings" in table
    assert "Never: the data are those of 8 people" in table
    cheap = (files("unlearnkit.policies") / "research.toml").read_text().replace("count = 22", "count = 1")
    cheap = cheap.replace("content = 0.9\n", "content = 0.1\n").replace("confidence = 0.9\n", "confidence = 0.1\n")
    (tmp_path / "cheap.toml").write_text(cheap)
    (row,) = [
        line
        for line in run("plan", "tests/cli/costly.py:recipe", "--policy", tmp_path / "cheap.toml").stdout.splitlines()
        if line.startswith("solo, degree 3, with weights")
    ]
    assert row.split()[8] == "4"


def test_neither_a_recipe_nor_an_error_to_reach_is_a_usage_error():
    assert "give a recipe, or --epsilon and --delta" in run("plan", code=2).stderr
