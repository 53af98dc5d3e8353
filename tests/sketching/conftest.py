"""The digits benchmark, read once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def truth(vectors):
    from tests.sketching.digits import load_truth

    return load_truth(vectors)
