"""A skip says which program is missing, or which Python it takes; every other one fails the check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).resolve().parents[1]
ALWAYS_THERE = {"base64", "sha256sum"}  # coreutils
SKIPPING = """
import pytest

def test_what_runs():
    assert True

@pytest.mark.skipif(True, reason={reason!r})
def test_what_skips():
    assert False
"""


def test_the_check_installs_every_program_that_a_test_needs():
    installed = set(re.findall(r"\[(\w+)\]=", (ROOT / ".ci" / "run").read_text()))
    assert set(needs.PROGRAMS) - ALWAYS_THERE <= installed


@pytest.mark.parametrize(
    ("reason", "code"),
    [("no strace on this machine", 0), ("aics-tlog needs Python 3.12", 0), ("could not import 'torch'", 1)],
)
@pytest.mark.parametrize("strict", ["1", ""])
def test_only_an_unexpected_skip_fails_the_session(tmp_path, reason, code, strict):
    (tmp_path / "test_it.py").write_text(SKIPPING.format(reason=reason))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    environment = {**os.environ, "UNLEARNKIT_STRICT_SKIPS": strict, "PYTHONPATH": str(ROOT)}
    command += ["-c", os.devnull, tmp_path / "test_it.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert "1 passed, 1 skipped" in ran.stdout
    assert ran.returncode == (code if strict else 0)
    assert (f"test_what_skips: {reason}" in ran.stdout) == bool(ran.returncode)
