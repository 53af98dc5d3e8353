"""A sketch may be killed at any moment: the same call then makes the same bundle, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_sketch_killed_before_any_operation_on_the_disk_goes_on_to_the_same_bundle(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "tests.sketching.interruptions", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["wrong"] == []
    assert 0 < report["published"] < report["operations"]
    assert report["operations"] > 50
