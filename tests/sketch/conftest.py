"""The digits benchmark, read once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def truth(shared):
    from digits import load_truth

    return load_truth(shared)
