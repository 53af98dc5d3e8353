"""The paper's experiments: each writes its figure and its table, and these say what they should."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from unlearnkit.examples.names_gpt import NamesGPT
from unlearnkit.examples.paper import figure1, figure2, figure3
from unlearnkit.examples.paper.run import setting

import unlearnkit as uk

SMALL = ["--count", "16", "--epochs", "2", "--letter", "a"]


def table(path: Path) -> np.ndarray:
    with path.open() as file:
        return np.array(list(csv.reader(file))[1:], dtype=float)


def test_figure_1_is_the_stability_profile_of_the_sketch(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figure1, "DEGREE", 2)
    figure1.main([*SMALL, "--directions", "16", "--out", str(tmp_path)])
    rows = table(tmp_path / "figure1.csv")
    assert rows[:, 0].tolist() == [1, 2]
    assert (rows[:, 2] <= rows[:, 1]).all()
    assert (rows[:, 1] <= rows[:, 3]).all()
    assert (tmp_path / "figure1.png").read_bytes().startswith(b"\x89PNG")
    assert "times the one before" in capsys.readouterr().out


def test_figure_2_has_the_truth_and_a_series_that_comes_nearer_with_each_degree(tmp_path, monkeypatch):
    monkeypatch.setattr(figure2, "DEGREE", 3)
    monkeypatch.setattr(figure2, "POINTS", 3)
    figure2.main([*SMALL, "--out", str(tmp_path)])
    rows = table(tmp_path / "figure2.csv")
    asked = setting("", SMALL)
    with torch.no_grad():
        real = float(asked.recipe().probes["loss"](uk.retrain(asked.recipe(), asked.leaving, device="cpu")))
    assert rows[-1, 1] == pytest.approx(real, rel=1e-6)
    missed = np.abs(rows[1, 2:] - rows[1, 1])  # at weight one half
    assert missed[2] < missed[1] < missed[0]
    assert (tmp_path / "figure2.png").exists()


def test_figure_3_averages_what_each_direction_says(tmp_path):
    figure3.main([*SMALL, "--directions", "16", "--out", str(tmp_path)])
    rows = table(tmp_path / "figure3.csv")
    assert rows[:, 0].tolist() == [8, 16]
    assert (rows[:, 1:] > 0).all()


@pytest.mark.parametrize("blocks", [1, 8])
def test_its_errors_fall_as_one_over_the_root_of_the_directions(blocks):
    samples = np.random.default_rng(0).standard_normal(2**16) + 3
    counts = [2**k for k in range(4, 11)]
    found = figure3.errors(samples, 3.0, counts, blocks=blocks)
    assert np.polyfit(np.log(counts), np.log(found), 1)[0] == pytest.approx(-0.5, abs=0.06)


def test_a_letter_that_nobody_has_is_told(capsys):
    with pytest.raises(SystemExit):
        setting("", ["--count", "16", "--letter", "q"])
    assert "none of the 16 names has 'q'" in capsys.readouterr().err


def test_a_list_of_names_is_taken_as_far_as_it_can_be_spelled(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\n".join(["Ann", "jürgen", "x" * 16, *[f"{a}{b}za" for a in "abcdef" for b in "aeiou"]]))
    asked = setting("", ["--names", str(file), "--out", str(tmp_path)])
    assert asked.names == tuple(f"{a}{b}za" for a in "abcdef" for b in "aeiou")[:16]
    assert asked.leaving == list(asked.names)
    assert isinstance(asked.recipe().model, NamesGPT)
