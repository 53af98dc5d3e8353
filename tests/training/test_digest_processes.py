"""Digests are the same in every process, whatever Python's hashes of strings are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs() -> list[dict[str, str]]:
    """The digests of `tests.training.processes` in three processes at once."""
    pytest.importorskip("transformers")
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.training.processes"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2", "3")
    ]
    printed = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    return [json.loads(text) for text in printed]


def test_digests_are_the_same_in_three_processes(runs):
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 11


def test_what_they_cover_still_tells_things_apart(runs):
    assert len(set(runs[0].values())) == len(runs[0])
