"""``unlearnkit sketch`` without random directions: reverse sweeps and informed directions on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from unlearnkit.bundle import Bundle

RECIPE = """
import torch
import unlearnkit as uk

torch.manual_seed(0)
x, y = torch.randn(12, 3), torch.randint(2, (12,))
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
recipe = uk.Recipe(
    name="tiny", model=model,
    loss=lambda model, b: torch.nn.functional.cross_entropy(model(b[0]), b[1], reduction="none"),
    optimizer=torch.optim.SGD(model.parameters(), lr=0.1), data=(x, y), units=[f"p{i % 6}" for i in range(12)],
    epochs=1, batch_size=4,
    probes={"loss": lambda m: torch.nn.functional.cross_entropy(m(x), y), "logits": lambda m: m(x[:5])},
)
"""


def run(*arguments: object):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def document(*arguments: object) -> dict:
    """The one JSON document that a command prints."""
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.py").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def informed(folder) -> dict:
    """What the command prints of a bundle with informed directions alone."""
    make = ("sketch", folder / "tiny.py:recipe", "-o", folder / "informed", "--directions", 0, "--seed", 1)
    return document(*make, "--informed", 3, "--power-iterations", 2)


def test_informed_directions_are_made_and_said(folder, informed):
    assert informed["informed"] == {"count": 3, "degree": 1, "leading": 0, "power_iterations": 2}
    assert informed["directions"] == {"kind": "random", "count": 0}
    assert informed["weight_sketches"] is True
    assert Bundle.open(folder / "informed").manifest.informed.count == 3


def test_info_tells_them_from_random_ones(folder, informed):
    assert document("info", folder / "informed") == informed
    text = run("info", folder / "informed").stdout
    assert "0 random, 3 informed" in text
    assert "kept: new probes can be evaluated" in text


def test_predict_says_that_their_error_is_not_known(folder, informed):
    ask = ("predict", folder / "informed", "--probe", "loss", "--delete", "p1")
    record = document(*ask)
    expected = Bundle.open(folder / "informed").probe("loss").predict(["p1"])
    assert record["change"] == pytest.approx(float(expected.change))
    assert record["standard_error"] == "nan"
    assert [term["method"] for term in record["terms"]] == ["exact along 3 informed directions"]
    assert "A standard error of NaN is not known" in run(*ask).stdout


def test_as_many_as_there_are_units_are_exact(folder):
    make = ("sketch", folder / "tiny.py:recipe", "--directions", 0, "--seed", 1)
    document(*make, "-o", folder / "complete", "--informed", 6)
    swept = document(*make, "-o", folder / "swept", "--reverse", "loss:0")
    assert swept["reverse"] == {"loss": {"rank": 0, "residual": 0, "cubic": 0}}
    assert swept["informed"] == {"count": 0, "degree": 0, "leading": 0, "power_iterations": 0}
    assert swept["weight_sketches"] is False
    ask = ("--probe", "loss", "--delete", "p1", "--delete", "p4")
    one, other = (document("predict", folder / name, *ask) for name in ("complete", "swept"))
    assert one["change"] == pytest.approx(other["change"], rel=1e-4)
    assert one["standard_error"] == other["standard_error"] == 0


def test_a_probe_without_a_sketch_is_an_error_with_a_cure(folder):
    make = ("sketch", folder / "tiny.py:recipe", "-o", folder / "one", "--directions", 0, "--seed", 1)
    document(*make, "--reverse", "loss:0")
    result = run("predict", folder / "one", "--probe", "logits", "--delete", "p1")
    assert result.exit_code == 1
    assert "'logits': the bundle has its base only" in result.stderr
    assert "reverse= or informed=" in result.stderr
    assert result.stdout == ""


def test_without_options_every_pinned_probe_gets_its_exact_first_order(folder):
    found = document("sketch", folder / "tiny.py:recipe", "-o", folder / "default")
    assert found["reverse"] == {name: {"rank": 0, "residual": 0, "cubic": 0} for name in ("logits", "loss")}
    assert found["directions"]["count"] == found["informed"]["count"] == 0


def test_series_along_every_unit_answer_for_single_ones(folder):
    make = ("sketch", folder / "tiny.py:recipe", "-o", folder / "solo", "--solo", 2, "--reverse", "loss:3:0:1")
    found = document(*make)
    assert found["solo"] == {"degree": 2, "units": 6}
    assert found["reverse"] == {"loss": {"rank": 3, "residual": 0, "cubic": 1}}
    assert found["salt_from"] == "chosen"
    record = document("predict", folder / "solo", "--probe", "loss", "--delete", "p1", "--degree", 2)
    assert record["terms"][0]["method"] == "exact, by reverse sweeps"
    assert record["standard_error"] == 0
    shown = run("info", folder / "solo").stdout
    assert "degree 2 along 6 units" in shown
    assert "chosen by somebody" in shown


def test_informed_directions_for_everybody_and_series_for_some(folder):
    options = ("--informed", "5:2:3", "--solo", 2, "--solo-unit", "p1", "--solo-weights")
    found = document("sketch", folder / "tiny.py:recipe", "-o", folder / "together", *options)
    assert found["informed"] == {"count": 5, "degree": 2, "leading": 3, "power_iterations": 1}
    assert found["solo"] == {"degree": 2, "units": 1}
    shown = run("info", folder / "together").stdout
    assert "0 random, 5 informed (degree 2 on the span of 3)" in shown
    said = Bundle.open(folder / "together").correction(["p1", "p2"]).explanation
    assert "Of 2 units together degree 2 on the span of 3 informed directions" in said
    record = document("predict", folder / "together", "--probe", "loss", "--delete", "p2")
    assert [term["method"] for term in record["terms"]] == [
        "exact along 5 informed directions, and series along units alone",
        "exact on the span of 3 informed directions, and series along units alone",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--solo-weights"], "--solo-unit and --solo-weights go with --solo DEGREE"),
        (["--informed", 7], "informed: 7 directions, expected at most one for each of 6 units"),
        (["--informed", -1], "got '-1', expected COUNT[:DEGREE[:LEADING]], whole numbers from 1 on"),
        (["--informed", "3:0"], "got '3:0', expected COUNT[:DEGREE[:LEADING]]"),
        (["--informed", 2, "--power-iterations", -1], "-1 is not in the range x>=0"),
        (["--reverse", "loss:2:0:3"], "cubic=3 with rank=2"),
        (["--solo", -1], "-1 is not in the range x>=0"),
        (["--reverse", "loss:7"], "loss has rank 7, expected at most one a unit, 6"),
        (["--reverse", "loss"], "loss has rank 64, expected at most one a unit, 6"),  # 64, unless said otherwise
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(folder, options, message):
    result = run("sketch", folder / "tiny.py:recipe", "-o", folder / "bad", "--directions", 0, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not (folder / "bad").exists()
    assert not (folder / ".bad.partial").exists()


def test_eval_mode_that_a_model_was_left_in_is_said_aloud(folder):
    dropped = RECIPE.replace("torch.nn.GELU(),", "torch.nn.GELU(), torch.nn.Dropout(0.1),")
    left = dropped.replace("recipe = uk.Recipe(", "model.eval()\nrecipe = uk.Recipe(")
    for name, text, says in (("trains.py", dropped, False), ("left.py", left, True)):
        (folder / name).write_text(text)
        made = run("sketch", folder / f"{name}:recipe", "-o", folder / name.removesuffix(".py"))
        assert made.exit_code == 0
        assert ("note: the model trains in eval mode" in made.stderr) is says
        checked = run("check", folder / f"{name}:recipe")
        assert checked.exit_code == 0
        assert ("model.eval(): nothing in the way, but worth knowing" in checked.stdout) is says


def test_coupled_examples_are_listed_and_in_the_way_unless_accepted(folder):
    coupled = RECIPE.replace("model(b[0])", "model(b[0] - b[0].mean(0))")
    for name, text, code in (
        ("coupled.py", coupled, 1),
        ("accepted.py", coupled.replace('name="tiny"', 'name="tiny", coupled="accept"'), 0),
    ):
        (folder / name).write_text(text)
        checked = run("check", folder / f"{name}:recipe")
        assert checked.exit_code == code
        assert "examples of a batch act on each other's losses, first in the loss itself" in checked.stdout
        assert json.loads(run("--json", "check", folder / f"{name}:recipe").stdout)["ready"] is (code == 0)
