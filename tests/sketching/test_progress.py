"""Every stage of a sketch has a progress bar of its own, which counts steps and ends full."""

from __future__ import annotations

from pathlib import Path

import pytest
from tqdm import tqdm

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import recipe, scalar_probe
from unlearnkit.sketching import forward, stages

SWEPT = uk.Reverse(rank=2, residual=1)


def make(path: Path, **changed) -> uk.Bundle:
    """Six steps with every stage that there is."""
    call = {"directions": 2, "degree": 1, "seed": 1, "dtype": "float64", "device": "cpu", "chunk": 1}
    r = recipe("sgd", probes={"scalar": scalar_probe})
    return sketched(r, path, **call, reverse={"scalar": SWEPT}, informed=2, **changed)


@pytest.fixture
def bars(monkeypatch) -> list[tqdm]:
    """All bars that are made from now on."""
    made: list[tqdm] = []

    def make_bar(*args, **settings) -> tqdm:
        made.append(tqdm(*args, **settings))
        return made[-1]

    for module in (forward, stages):
        monkeypatch.setattr(module, "tqdm", make_bar)
    return made


def test_directions_sweeps_and_informed_directions_have_bars_that_end_full(bars, tmp_path, capsys):
    make(tmp_path / "bundle", progress=True)
    assert [bar.desc for bar in bars] == ["small", "small: reverse sweeps", "small: informed directions"]
    assert [bar.n for bar in bars] == [bar.total for bar in bars]
    # Two directions; four sweeps there and back; pull, push, pull, push, where a pull goes there and back.
    assert [bar.total for bar in bars] == [6 * 2, 6 * 2 * 4, 6 * (2 + 1 + 2 + 1)]
    shown = capsys.readouterr()
    assert "small: reverse sweeps: 100%" in shown.err
    assert shown.out == ""


def test_there_are_none_where_stderr_is_no_terminal(bars, tmp_path, capsys):
    make(tmp_path / "bundle")
    assert len(bars) == 3
    assert all(bar.disable for bar in bars)
    assert capsys.readouterr() == ("", "")
