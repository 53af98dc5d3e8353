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

@pytest.mark.parametrize("reason", {reasons!r})
def test_what_skips(reason):
    pytest.skip(reason)
"""
EXPECTED = ["no strace on this machine", "strace may not trace here", "aics-tlog needs Python 3.12"]
UNEXPECTED = ["could not import 'torch'", "no strace", "Python 3.12", "no reference data on this machine"]


def test_the_check_installs_every_program_that_a_test_needs():
    installed = set(re.findall(r"\[(\w+)\]=", (ROOT / ".ci" / "run").read_text()))
    assert set(needs.PROGRAMS) - ALWAYS_THERE <= installed


@pytest.mark.parametrize(
    ("reasons", "strict", "code"),
    [(EXPECTED, "1", 0), (EXPECTED + UNEXPECTED, "1", 1), (EXPECTED + UNEXPECTED, "", 0)],
)
def test_only_an_unexpected_skip_fails_the_session(tmp_path, reasons, strict, code):
    (tmp_path / "test_it.py").write_text(SKIPPING.format(reasons=reasons))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    environment = {**os.environ, "UNLEARNKIT_STRICT_SKIPS": strict, "PYTHONPATH": str(ROOT)}
    command += ["-c", os.devnull, tmp_path / "test_it.py"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert f"1 passed, {len(reasons)} skipped" in ran.stdout
    assert ran.returncode == code
    listed = re.findall(r"^.*::test_what_skips\[.*\]: (.*)$", ran.stdout, re.MULTILINE)
    assert listed == (UNEXPECTED if code else [])
