"""Fixtures that every test folder shares."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data and published vectors beside the checkout; not part of the project."""
    if not _SHARED.is_dir():
        pytest.skip(f"reference data not found at {_SHARED.name}/ beside the checkout")
    return _SHARED
