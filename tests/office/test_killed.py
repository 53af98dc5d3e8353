"""Certificates, releases and proofs, killed by the kernel at system calls that change files: nothing is lost.

At some calls of each; `python -m benchmarks.officers` does it at all of them.
"""

from __future__ import annotations

import pytest

import unlearnkit as uk
from tests import needs
from tests.office.killed import CASES, changes_of, killed_at, workspace
from tests.traced import may_trace

MOST = {"certify": 8, "clear": 4, "register": 5, "prove": 3}
"""So many calls of each, evenly among all."""


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> uk.Workspace:
    if not may_trace():
        pytest.skip("strace may not trace here")
    return workspace(tmp_path_factory.mktemp("killed"))


@needs.program("strace")
@pytest.mark.parametrize("work", CASES)
def test_what_the_log_has_is_on_disk_and_what_it_lacks_is_done_once(office, work):
    calls = changes_of(office, work)
    assert {"write", "fsync"} <= {name for name, _ in calls}
    chosen = [calls[round(i * (len(calls) - 1) / (MOST[work] - 1))] for i in range(MOST[work])]
    states = killed_at(office, work, chosen)
    assert len(states) > 1
    assert all(files >= recorded for recorded, files in states)
