"""Fixtures that every test folder shares, and what a skip is allowed for."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from tests.needs import is_allowed

# Of several processes one begins with it, and makes its bundles once; at the end two would share it, and make them all.
LONGEST = "test_digits.py"

# A busy machine makes no test wrong.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory):
    """What is remembered of earlier runs is kept in a folder of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Folder of published vectors and reference data; its ORIGIN.md says where each comes from."""
    return Path(__file__).parent / "vectors"


def pytest_configure(config):
    """With UNLEARNKIT_STRICT_SKIPS=1 a skip fails the session, unless a program is missing or Python is too old."""
    if os.environ.get("UNLEARNKIT_STRICT_SKIPS") == "1" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(UnexpectedSkips(), "unexpected-skips")


def pytest_collection_modifyitems(items):
    """Tests marked ``gpu`` are listed as skipped where torch finds none. What takes longest comes first."""
    items.sort(key=lambda item: item.path.name != LONGEST)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no GPU on this machine"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


class UnexpectedSkips:
    """Collects skips of the whole session; with several processes, in the one that reports."""

    def __init__(self):
        self.found = []

    def pytest_collectreport(self, report):
        self._note(report)

    def pytest_runtest_logreport(self, report):
        self._note(report)

    def _note(self, report):
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not is_allowed(reason):
                self.found.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.found:
            terminalreporter.section("unexpected skips, which fail the session", red=True)
            for line in self.found:
                terminalreporter.line(line)
