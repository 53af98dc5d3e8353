"""An office at work: several laws, honest days, copies of logs, odd file systems and locales; errors as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_requests import Terminal


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Terminal(monkeypatch)
    made.run("init", "--policy", "gdpr", "--policy", "uk-gdpr", "--policy", "us-states")
    return made


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["requests", "acknowledge", "R9"], 1),
        (["requests", "show"], 2),
        (["request-delete", "ann", "--on", "tomorrow"], 2),
        (["request-delete", "ann", "--jurisdiction", "br"], 5),
        (["no-such-command"], 2),
    ],
)
def test_an_error_is_one_document_wherever_the_option_stands(terminal, command, code):
    for arguments in (["--json", *command], [*command, "--json"]):
        failed = terminal.fails(*arguments)
        said = json.loads(failed.stdout)
        assert (failed.exit_code, said["exit_code"], said["schema"]) == (code, code, "unlearnkit/error/v1")
        assert f"unlearnkit: error: {said['error']}" in failed.stderr


def test_a_command_that_says_what_became_of_each_prints_no_second_document(terminal):
    terminal.run("request-delete", "ann", "bob")
    terminal.run("requests", "acknowledge", "R3")
    failed = terminal.fails("requests", "acknowledge", "R3", "R2", "--json", "-q")
    said = json.loads(failed.stdout)
    assert ([item["id"] for item in said["requests"]], [item["id"] for item in said["failed"]]) == (["R2"], ["R3"])


def test_after_two_dashes_nothing_is_an_option(terminal):
    assert json.loads(terminal.run("--json", "request-delete", "--", "--json"))["requests"][0]["id"] == "R2"


def test_what_is_written_is_utf_8_whatever_the_locale_says(terminal):
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "LC_ALL": "C"}
    code = "from unlearnkit.cli.main import main; main(['policy', 'show', 'uber.toml'])"
    Path("uber.toml").write_text('schema = "unlearnkit/policy/v1"\nname = "ours"\ntitle = "Über — 規則"\n', "utf-8")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.decode("utf-8") == Path("uber.toml").read_text("utf-8")


def test_where_locks_do_nothing_no_workspace_is_made_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(monkeypatch)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    failed = terminal.fails("init", "deep/office")
    assert failed.exit_code == 5
    assert "locks do nothing on the file system of" in failed.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_hard_links_it_says_so_and_nothing_is_left(tmp_path, monkeypatch):
    def unlinkable(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.chdir(tmp_path)
    terminal = Terminal(monkeypatch)
    monkeypatch.setattr(Path, "hardlink_to", unlinkable)
    failed = terminal.fails("init", "office")
    assert failed.exit_code == 1
    assert "this file system has no hard links" in failed.stderr
    assert list(tmp_path.iterdir()) == []


def test_each_row_is_under_the_law_of_its_jurisdiction_and_steps_follow_it(terminal):
    Path("r.csv").write_text("subject,jurisdiction\nann,eu\nbob,uk\ncleo,us-va\ndan,br\n")
    assert (
        "no policy of this workspace is for jurisdiction 'br'" in terminal.fails("requests", "import", "r.csv").stderr
    )
    terminal.run("requests", "import", "r.csv", "--skip-bad")
    assert [item["id"] for item in terminal.json("requests", "list", "--where", "policy=us-states")["requests"]] == [
        "R4"
    ]
    paused = terminal.fails("requests", "pause", "--open", "--reason", "identity-in-doubt", "--json")
    said = json.loads(paused.stdout)
    assert paused.exit_code == 5
    assert ([item["id"] for item in said["requests"]], said["failed"][0]["id"]) == (["R2", "R3"], "R4")
    assert said["requests"][0]["paused_since"] == "2025-03-05"
    terminal.on("2025-03-15")
    terminal.run("requests", "resume", "--where", "state=paused")
    due = {item["id"]: item["due"]["day"] for item in terminal.json("requests", "list")["requests"]}
    assert due == {"R2": "2025-04-15", "R3": "2025-04-15", "R4": "2025-04-19"}  # 5 April and ten days


def test_days_are_iso_and_one_long_past_is_asked_about(terminal):
    for day in ("20250301", "2025-W10-1", "1.3.2025"):
        assert "expected YYYY-MM-DD" in terminal.fails("request-delete", "ann", "--on", day).stderr
    asked = terminal.fails("request-delete", "ann", "--on", "2015-03-01")
    assert asked.exit_code == 2
    assert "2015-03-01 is 3657 days ago: if it is not mistyped, say --confirm" in asked.stderr
    Path("r.csv").write_text("subject,received\nann,2015-03-01\n")
    assert "row 2: received 2015-03-01 is 3657 days ago" in terminal.fails("requests", "import", "r.csv").stderr
    terminal.run("requests", "import", "r.csv", "--confirm")
    assert terminal.json("requests", "show", "R2")["received"] == "2015-03-01"


def test_a_day_in_the_past_hides_nothing(terminal):
    """The day of a step and the moment of its record stand side by side; what came late is marked, and verified."""
    terminal.run("request-delete", "ann", "--on", "2025-01-05")
    terminal.run("requests", "refuse", "R2", "--reason", "art-17-3-e-legal-claims", "--on", "2025-03-01")
    found = terminal.json("requests", "show", "R2")
    assert (found["answered_late"], found["recorded_late"]) == (24, 2)  # due on Wednesday, 5 February
    assert [(step["on"], step["recorded"], step["days_later"]) for step in found["steps"]] == [
        ("2025-01-05", "2025-03-05T12:00:00Z", 59),
        ("2025-03-01", "2025-03-05T12:00:00Z", 4),
    ]
    shown = terminal.run("requests", "show", "R2")
    assert "ANSWERED 24 DAYS LATE" in shown
    assert "2025-03-01  refused            recorded 2025-03-05T12:00:00Z, 4 DAYS LATER, entry 3" in shown
    assert "R2" in terminal.run("requests", "list", "--where", "recorded-late")
    terminal.run("log", "checkpoint")
    said = terminal.run("verify", "audit", "--state", "none")
    assert "answers after their day: 1 (R2 refused on 2025-03-01, due 2025-02-05)" in said
    assert "steps recorded days after they happened: 2 (R2 received on 2025-01-05, recorded 2025-03-05, R2" in said


def test_a_copy_of_a_log_is_looked_at_without_a_workspace(terminal, tmp_path, monkeypatch):
    terminal.run("request-delete", "ann", "bob")
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree("audit", "elsewhere/copy")
    for name in ("unlearnkit.toml", "keys"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / f"{name}.away")
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = terminal.json("requests", "list", "--log", "copy")["requests"]
    assert [(item["id"], item["signed"]) for item in found] == [("R2", None), ("R3", None)]
    assert terminal.json("requests", "show", "R3", "--log", "copy")["state"] == "received"
    assert terminal.json("requests", "summary", "--log", "copy")["open"] == 2
    assert (
        "a copy of a log names nobody" in terminal.fails("requests", "list", "--log", "copy", "--subject", "x").stderr
    )
