"""Certificates, releases and proofs, killed by the kernel at system calls that change files: nothing is lost.

At some calls of each; `python -m benchmarks.officers` does it at all of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import unlearnkit as uk
from tests import needs
from tests.office.killed import CASES, State, killed_everywhere, workspace
from tests.traced import calls_of, may_trace

MOST = {"certify": 8, "clear": 4, "register": 5, "prove": 3}
"""So many calls of each, evenly among all."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An office in ``office``, and what tracing writes."""
    if not may_trace():
        pytest.skip("strace may not trace here")
    made = tmp_path_factory.mktemp("killed")
    workspace(made)
    return made


def states_when_killed(folder: Path, work: str) -> frozenset[State]:
    office = uk.Workspace.read(folder / "office")
    whole = Path(shutil.copytree(office.root, folder / f"whole-{work}", symlinks=True))
    calls = calls_of(f"tests.office.officer:{work}", whole, folder / "trace")
    assert {"write", "fsync"} <= {name for name, _ in calls}
    chosen = [calls[round(i * (len(calls) - 1) / (MOST[work] - 1))] for i in range(MOST[work])]
    return killed_everywhere(office, work, chosen).states


@needs.program("strace")
@pytest.mark.parametrize("work", CASES)
def test_what_the_log_has_is_on_disk_and_what_it_lacks_is_done_once(folder, work):
    states = states_when_killed(folder, work)
    assert len(states) > 1
    assert all(files >= recorded for recorded, files in states)
