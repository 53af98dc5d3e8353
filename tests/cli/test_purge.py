"""Forgetting on the command line: what would go is said first, and what has gone is gone."""

from __future__ import annotations

import pytest

from tests.cli.test_requests import Terminal


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = Terminal(monkeypatch)
    made.run("init", "--origin", "example.com/log")
    made.run("request-delete", "ann", "bob")
    made.run("requests", "withdraw", "R2", "--reason", "requested-by-person")
    return made


def test_what_would_be_forgotten_is_said_asked_and_done(terminal, tmp_path):
    terminal.on("2028-03-05")  # 36 months later, the last day
    assert terminal.run("requests", "purge", "--due").strip() == "forgotten: the people of 0 requests"
    terminal.on("2028-03-06")
    would = terminal.run("requests", "purge", "--due", "--dry-run").strip()
    assert would == "would be forgotten: the people of 1 request: R2"
    assert [item["id"] for item in terminal.json("requests", "list", "--all", "--subject", "ann")["requests"]] == ["R2"]
    refused = terminal.fails("requests", "purge", "--due", text="n\n")
    assert refused.exit_code == 1
    assert "Forget the people of 1 request? This cannot be undone." in refused.stderr
    found = terminal.json("requests", "purge", "--due", "--yes")
    assert found == {"schema": "unlearnkit/purge/v1", "dry_run": False, "requests": ["R2"], "waiting": []}
    assert terminal.json("requests", "list", "--all", "--subject", "ann")["requests"] == []
    assert [item["id"] for item in terminal.json("requests", "list", "--subject", "bob")["requests"]] == ["R3"]
    assert "(forgotten with entry 5)" in terminal.run("requests", "show", "R2")
    terminal.run("log", "checkpoint")
    assert terminal.run("verify", "audit", "--state", "none").startswith("VERIFIED: log")


def test_a_purge_says_that_it_is_for_what_is_due(terminal):
    assert "Missing option '--due'" in terminal.fails("requests", "purge").stderr
