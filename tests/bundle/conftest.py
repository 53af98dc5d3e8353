"""A small bundle on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle.small import KEY, Small, small


@pytest.fixture
def contents(tmp_path) -> Small:
    """What goes into the bundle; random directions, with weight sketches, float64."""
    (tmp_path / "run").mkdir()
    return small(tmp_path / "run")


@pytest.fixture
def path(tmp_path, contents) -> Path:
    """A bundle, with its pseudonym key beside it."""
    (tmp_path / "out").mkdir()
    KEY.save(tmp_path / "out" / "pseudonym.key")
    return contents.write(tmp_path / "out" / "bundle")
