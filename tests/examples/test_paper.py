"""The paper's experiments: each writes its figure and its tables, and these say what they should."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from unlearnkit.examples.paper import figure1, figure2, figure3
from unlearnkit.examples.paper.costs import EVERYTHING, Answer
from unlearnkit.examples.paper.run import Setting, initial, setting

import unlearnkit as uk

NAMES = ["anna", "emil", "lena", "nora", "otto", "ruth"]  # of one length, so that there is one trace


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> list[str]:
    file = tmp_path_factory.mktemp("names") / "names.txt"
    file.write_text("\n".join(NAMES))
    return ["--names", str(file), "--letter", "a", "--probe", "anna"]


def asked_for(*arguments: str) -> Setting:
    return setting("", arguments, reduced=(64, 3), full=(500, 2))


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def measured(small, tmp_path_factory) -> Path:
    """The tables of figure 3."""
    folder = tmp_path_factory.mktemp("paper")
    figure3.main([*small, "--directions", "64", "--out", str(folder)])
    return folder


def test_figure_1_has_intervals_from_64_directions_that_hold_the_exact_sizes(small, tmp_path):
    figure1.main([*small, "--degree", "3", "--out", str(tmp_path)])
    rows = table(tmp_path / "figure1.csv")
    assert len(rows) == 3
    for row in rows:
        assert float(row["low"]) < float(row["exact"]) < float(row["high"])
    reverse = {"loss": uk.Reverse(rank=6, residual=0)}
    recipe = asked_for(*small).recipe()
    bundle = uk.sketch(recipe, tmp_path / "bundle", reverse=reverse, seed=0, dtype="float64", device="cpu")
    for row, size in zip(rows[:2], exact_sizes(bundle.probe("loss")), strict=True):
        assert float(row["exact"]) == pytest.approx(size, rel=1e-6)
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")


def exact_sizes(swept) -> tuple[float, float]:
    """Of degrees one and two, by their coefficients over single people and pairs."""
    n = len(NAMES)
    alone = swept.predict(np.eye(n), degree=2)
    form = np.diag(alone.terms[1].value)
    for i in range(n):
        pairs = swept.predict(np.minimum(np.eye(n)[i] + np.eye(n), 1), degree=2).terms[1].value
        others = np.arange(n) != i
        form[i, others] = ((pairs - form[i, i] - form.diagonal()) / 2)[others]
    return float(np.linalg.norm(alone.terms[0].value)), float(np.linalg.norm(form))


def test_figure_2_has_the_truth_and_a_series_that_comes_nearer_with_each_degree(small, tmp_path, monkeypatch):
    monkeypatch.setattr(figure2, "POINTS", 3)
    figure2.main([*small, "--degree", "3", "--out", str(tmp_path)])
    rows = np.array([[float(cell) for cell in row.values()] for row in table(tmp_path / "figure2.csv")])
    asked = asked_for(*small)
    with torch.no_grad():
        real = float(asked.recipe().probes["loss"](uk.retrain(asked.recipe(), asked.leaving, device="cpu")))
    assert rows[-1, 1] == pytest.approx(real, rel=1e-6)
    missed = np.abs(rows[1, 2:] - rows[1, 1])  # at weight one half
    assert missed[2] < missed[1] < missed[0]
    assert (tmp_path / "figure2.png").exists()


def test_figure_3_has_errors_that_fall_and_the_retrained_loss_beside_the_averages(measured):
    rows = table(measured / "figure3.csv")
    assert [row["directions"] for row in rows] == ["8", "16"]
    assert float(rows[1]["mean"]) < float(rows[0]["mean"]) < float(rows[0]["promised"])
    curves = table(measured / "figure3_curves.csv")
    assert float(curves[0]["retrained"]) == pytest.approx(float(curves[0]["degree_3"]), rel=1e-6)
    for row in curves[:6]:  # up to weight one half, where three degrees are enough
        assert abs(float(row["degree_3"]) - float(row["retrained"])) <= 4 * float(row["error_3"]) + 1e-2


def test_its_table_has_what_comes_nearer_than_averages_and_at_which_cost(measured):
    rows = {row["method"]: row for row in table(measured / "figure3_costs.csv")}
    assert len(rows) == 7
    assert float(rows["series along this deletion, degree 3"]["off_by"]) <= min(
        float(row["off_by"]) for method, row in rows.items() if method.startswith(("mean", "median", "one"))
    )
    assert all(float(row["cost"]) > 0 for row in rows.values())


@pytest.mark.parametrize("blocks", [1, 8])
def test_its_errors_fall_as_one_over_the_root_of_the_directions(blocks):
    samples = np.random.default_rng(0).standard_normal(2**11) + 3
    counts = [2**k for k in range(4, 9)]
    found = figure3.errors(samples, 3.0, counts, blocks=blocks)
    assert np.polyfit(np.log(counts), np.log(found), 1)[0] == pytest.approx(-0.5, abs=0.06)


def test_the_mean_needs_as_many_directions_as_bring_its_expected_error_down_to_anothers():
    another = Answer(method="another", about=EVERYTHING, missed=0.5, cost=7.0)
    exact = Answer(method="exact at these degrees", about=EVERYTHING, missed=0.3, cost=7.0)
    found = figure3.Table(answers=(another, exact), spread=4.0, beyond=0.3, each=2.0)
    assert [row[4:] for row in found.rows()] == [pytest.approx((100, 200)), (math.inf, math.inf)]
    assert math.hypot(4.0 / math.sqrt(100), 0.3) == pytest.approx(0.5)


def test_a_letter_that_nobody_has_is_told(capsys):
    with pytest.raises(SystemExit):
        asked_for("--count", "6", "--letter", "q")
    assert "none of the 6 names has 'q'" in capsys.readouterr().err


def test_the_papers_size_takes_its_list(capsys):
    with pytest.raises(SystemExit):
        asked_for("--full")
    assert "give it by --names FILE" in capsys.readouterr().err


def test_a_list_of_names_is_taken_as_far_as_it_can_be_spelled(tmp_path):
    file = tmp_path / "names.txt"
    usable = [f"{a}{b}za" for a in "abcdef" for b in "aeiou"]
    file.write_text("\n".join(["Ann", "jürgen", "x" * 16, *usable, *usable]))
    asked = asked_for("--names", str(file), "--out", str(tmp_path))
    assert sorted(asked.names) == sorted(usable * 2)
    assert len(set(asked.leaving)) == 2 * len(usable)  # a name twice is two units
    large = asked_for("--names", str(file), "--full", "--letter", "a")
    assert (large.probe, large.directions, large.degree) == ("max", 500, 2)


def test_the_initial_weights_are_those_of_the_companion_code(vectors):
    """Its list of names has 32,033 lines; what shuffling it leaves of the generator depends on that number alone."""
    random = Random(7)
    random.shuffle(list(range(32033)))
    model = initial(random)
    with np.load(vectors / "names" / "golden.npz") as golden:
        parts = {"wte": model.letters, "wpe": model.positions, "lm_head": model.head, "layer0.attn_wo": model.mix}
        for theirs, part in (parts | {"layer0.mlp_fc1": model.up, "layer0.mlp_fc2": model.down}).items():
            np.testing.assert_array_equal(part.weight.detach(), golden[f"init/{theirs}"])
        attention = np.concatenate([golden[f"init/layer0.attn_{name}"] for name in ("wq", "wk", "wv")])
        np.testing.assert_array_equal(model.query_key_value.weight.detach(), attention)
