"""Every tutorial runs as it stands, and prints what it says."""

from __future__ import annotations

import pytest

from tests.docs.tutorial import TUTORIALS, blocks, run
from unlearnkit.taylor.rules.registry import SMOOTH

# Audit somebody goes on in the folder of Answer a request.
CHAINS = [("adopt-your-run",), ("answer-a-request", "audit-somebody"), ("extend-the-engine",), ("pipelines",)]


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_a_tutorial_runs(chain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rules = dict(SMOOTH)
    try:
        for name in chain:
            run(name)
    finally:
        SMOOTH.clear()
        SMOOTH.update(rules)


def test_every_tutorial_is_run():
    assert sorted(path.stem for path in TUTORIALS.glob("*.md")) == sorted(name for chain in CHAINS for name in chain)


@pytest.mark.parametrize("name", [name for chain in CHAINS for name in chain])
def test_a_tutorial_shows_what_comes_out(name):
    assert any(block.language in ("text", "console") for block in blocks(name))
