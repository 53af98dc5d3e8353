"""The commands for deletion requests, as a privacy officer uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from unlearnkit.compliance.log import clock
from unlearnkit.compliance.policy.policy import packaged_policies


class Terminal:
    """Runs commands, and moves the clock."""

    def __init__(self, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self.on("2025-03-05")

    def on(self, day: str) -> None:
        time = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)
        self._monkeypatch.setattr(clock, "utc_now", lambda: time)

    def fails(self, *arguments: str, text: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, input=text)

    def run(self, *arguments: str, text: str | None = None) -> str:
        result = self.fails(*arguments, text=text)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run("--json", *arguments))


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = Terminal(monkeypatch)
    made.run("init", "--origin", "example.com/log")
    return made


def attesting(folder: Path) -> None:
    """A policy that takes documents for new trainings."""
    text = packaged_policies()["gdpr"].replace(b"attested = []", b'attested = ["retrained"]')
    (folder / "policy.toml").write_bytes(text)
    settings = folder / "unlearnkit.toml"
    settings.write_text(settings.read_text().replace('policy = "gdpr"', 'policy = "policy.toml"'))


def test_a_request_goes_from_receipt_to_fulfilment(terminal, tmp_path):
    (tmp_path / "certificate.json").write_bytes(b"{}")
    attesting(tmp_path)
    assert terminal.run("request-delete", "jane@example.com").startswith("R2  received           received 2025-03-05")
    assert "due 2025-04-07 (GDPR Art. 12(3)), in 33 days" in terminal.run("requests", "list")
    terminal.run("requests", "acknowledge", "R2")
    terminal.run("requests", "verify-identity", "R2", "--method", "account-login")
    terminal.run("requests", "extend", "R2", "--reason", "complexity")
    terminal.run("requests", "assess", "R2", "--decision", "fulfil", "--records", "3")
    how = ["--method", "retrained", "--evidence", "certificate.json", "--notified", "processors"]
    assert "R2  fulfilled (attested)" in terminal.run("requests", "fulfil", "R2", *how)
    shown = terminal.json("requests", "show", "R2")
    assert [step["state"] for step in shown["steps"]] == [
        "received",
        "acknowledged",
        "identity verified",
        "extended",
        "assessed",
        "fulfilled",
    ]
    assert shown["state"] == "fulfilled (attested)"
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256sum of {}
    assert shown["steps"][-1]["evidence"] == [digest]
    assert shown["closed"] is True
    text = terminal.run("requests", "show", "R2")
    assert (
        "2025-03-05  extended           recorded 2025-03-05T12:00:00Z, entry 5: by privacy-officer, reason complexity, "
        "respond until 2025-06-05" in text
    )
    assert terminal.run("requests", "list").strip() == ""
    assert "fulfilled" in terminal.run("requests", "list", "--all")


def test_the_most_urgent_is_listed_first_and_the_overdue_stand_out(terminal):
    terminal.run("request-delete", "jane", "--on", "2025-03-03")
    terminal.run("request-delete", "joe", "--on", "2025-02-10")
    terminal.on("2025-03-12")
    listed = terminal.run("requests", "list").splitlines()
    assert [line.split()[0] for line in listed] == ["R3", "R2"]
    assert "due 2025-03-10 (GDPR Art. 12(3)), OVERDUE by 2 days" in listed[0]
    overdue = json.loads(terminal.fails("--json", "requests", "list", "--overdue").stdout)["requests"]
    assert [(item["id"], item["due"]["days_left"]) for item in overdue] == [("R3", -2)]
    terminal.on("2025-03-10")
    assert "(GDPR Art. 12(3)), today" in terminal.run("requests", "list")


def test_subjects_come_from_a_file_or_standard_input_thousands_at_once(terminal, tmp_path):
    people = "\n".join(f"person-{n:04}" for n in range(3000)) + "\n\n"
    made = terminal.run("request-delete", "--from", "-", "--source", "email", text=people)
    assert len(made.splitlines()) == 3000
    (tmp_path / "people.txt").write_text("person-0007\nJürgen\n", encoding="utf-8")
    made = terminal.json("request-delete", "--from", "people.txt")["requests"]
    assert [(item["state"], item["duplicate_of"]) for item in made] == [("duplicate", "R9"), ("received", None)]
    found = terminal.json("requests", "list", "--subject", "person-0007")["requests"]
    assert [item["id"] for item in found] == ["R9", "R3002"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "audit").rglob("*") if path.is_file())
    assert b"person-" not in written
    assert "Jürgen".encode() not in written


def test_a_reference_finds_a_request_again(terminal):
    terminal.run("request-delete", "jane", "--reference", "T-1")
    terminal.run("request-delete", "joe", "--reference", "T-2")
    found = terminal.json("requests", "list", "--reference", "T-2")["requests"]
    assert [item["id"] for item in found] == ["R3"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["requests", "acknowledge", "R9"], 1, "no request 'R9'"),
        (["requests", "acknowledge", "nine"], 3, "request must be the id of a request, such as R17: got 'nine'"),
        (["requests", "acknowledge", "R2", "--on", "2025-03-06"], 2, "a day in the future: got 2025-03-06"),
        (["requests", "acknowledge", "R2", "--on", "yesterday"], 2, "got 'yesterday', expected YYYY-MM-DD"),
        (["requests", "acknowledge", "R2", "--by", "me"], 5, "does not list 'me' among its actors"),
        (["requests", "verify-identity", "R2", "--method", "Jane called"], 5, "does not list 'Jane called'"),
        (["requests", "refuse", "R2", "--reason", "she is rude"], 5, "does not list 'she is rude'"),
        (["requests", "fulfil", "R2", "--method", "retrained"], 5, "without evidence"),
        (["requests", "fulfil", "R2", "--method", "forgotten"], 2, "'forgotten' is not one of"),
        (["request-delete"], 2, "no subject: give one, or a file with --from"),
        (["request-delete", " "], 2, "a name must have 1 to 1000 characters: got 0"),
        (["request-delete", "joe", "--source", "a friend"], 5, "does not list 'a friend' among its sources"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_no_trace(terminal, tmp_path, arguments, code, message):
    terminal.run("request-delete", "jane")
    written = (tmp_path / "audit" / "log.jsonl").read_bytes()
    result = terminal.fails(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert (tmp_path / "audit" / "log.jsonl").read_bytes() == written


def test_looking_changes_nothing_not_even_what_a_crash_left(terminal, tmp_path):
    terminal.run("request-delete", "jane")
    file = tmp_path / "audit" / "log.jsonl"
    file.write_bytes(file.read_bytes() + b'{"body":')
    written = file.read_bytes()
    assert "R2" in terminal.run("requests", "list")
    assert "R2" in terminal.run("requests", "show", "R2")
    assert "request-received" in terminal.run("log", "show")
    assert "unfinished      8 bytes" in terminal.run("log", "verify")
    assert file.read_bytes() == written
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == ["checkpoint", "log.jsonl", "policies"]


def test_outside_a_workspace_the_way_into_one_is_shown(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["requests", "list"])
    assert result.exit_code == 1
    assert "no workspace at" in result.stderr
    assert "hint: `unlearnkit init` makes one" in result.stderr


def test_a_workspace_is_not_made_twice(terminal):
    result = terminal.fails("init")
    assert result.exit_code == 1
    assert "there is a workspace, or a part of one, in" in result.stderr


def test_the_compliance_commands_need_no_torch(terminal):
    code = """
import sys
sys.modules["torch"] = None
from unlearnkit.cli.main import main
for arguments in (["request-delete", "jane"], ["requests", "list"], ["log", "checkpoint"], ["log", "verify"],
                  ["policy", "check", "gdpr"]):
    main(arguments, standalone_mode=False)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "VERIFIED" in result.stdout
