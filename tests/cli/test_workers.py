"""``--workers``: what a command does before it starts processes."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from unlearnkit.sketching import launch, ranks


@pytest.fixture
def sketch(tmp_path, monkeypatch):
    """The command, up to the processes that it would start: what it asks for is noted."""
    asked: list[tuple] = []
    monkeypatch.setattr(launch, "launch", lambda arguments, workers, _: asked.append((list(arguments), workers)) or 5)
    (tmp_path / "r.py").touch()
    command = ["sketch", f"{tmp_path / 'r.py'}:r", "-o", str(tmp_path / "b"), "--workers", "2"]

    def run(*further: str):
        result = CliRunner().invoke(main, [*command, *further])
        return result, command, asked

    return run


def test_the_same_command_is_started_in_each_process_and_its_exit_code_is_theirs(sketch):
    result, command, asked = sketch("--solo", "1", "-q")
    assert result.exit_code == 5
    assert asked == [([*command, "--solo", "1", "-q"], 2)]
    assert result.output == ""


def test_in_a_process_that_was_started_no_more_are(sketch, monkeypatch):
    monkeypatch.setattr(ranks, "is_launched", lambda: True)
    monkeypatch.setattr(ranks, "joined", lambda: nullcontext(ranks.Ranks()))
    result, _, asked = sketch()
    assert "defines no 'r'" in result.stderr
    assert not asked


def test_processes_cannot_ask_for_a_passphrase(sketch):
    result, _, asked = sketch("--passphrase")
    assert result.exit_code == 2
    assert "give processes --passphrase-file or --passphrase-env" in result.stderr
    assert not asked


def test_an_interruption_is_an_error_that_says_how_to_go_on(tmp_path):
    (tmp_path / "r.py").write_text("raise KeyboardInterrupt")
    result = CliRunner().invoke(main, ["sketch", f"{tmp_path / 'r.py'}:r", "-o", str(tmp_path / "b")])
    assert result.exit_code == 1
    assert "error: interrupted\nunlearnkit: hint: the same command goes on" in result.stderr
