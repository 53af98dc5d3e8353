"""Receipts on the command line: written in the workspace, verified anywhere with the log's public key."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.cli.test_requests import Terminal


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    (tmp_path / "office").mkdir()
    monkeypatch.chdir(tmp_path / "office")
    made = Terminal(monkeypatch)
    made.run("init", "--origin", "example.com/log")
    return made


def test_who_records_requests_is_told_how_people_get_receipts(terminal, tmp_path):
    made = terminal.fails("request-delete", "ann")
    assert "a receipt for each person: unlearnkit requests receipt R2" in made.stderr
    (tmp_path / "people.csv").write_text("subject\nbob\n")
    made = terminal.fails("requests", "import", str(tmp_path / "people.csv"))
    assert "unlearnkit requests receipt R3" in made.stderr


def test_a_receipt_verifies_far_from_the_office_with_the_public_key_alone(terminal, tmp_path, monkeypatch):
    terminal.run("request-delete", "ann", "bob")
    assert terminal.run("requests", "receipt", "--open", "-o", "out").splitlines() == [
        "out/R2.receipt.json: receipt of R2",
        "out/R3.receipt.json: receipt of R3",
    ]
    far = tmp_path / "far"
    far.mkdir()
    shutil.copy("out/R3.receipt.json", far)
    shutil.copy("keys/log.vkey", far)
    monkeypatch.chdir(far)
    said = terminal.run("verify", "R3.receipt.json", "--trust", "log.vkey", "--state", "none")
    assert said.startswith("VERIFIED: receipt R3.receipt.json")
    assert "R3 was received on 2025-03-05 under policy gdpr; its answer is due by 2025-04-07 (GDPR Art. 12(3))" in said
    assert "not checked: what was done about the request since" in said
    assert "not checked: whose request it is" in said


def test_with_the_log_at_hand_a_receipt_says_what_became_of_the_request(terminal):
    terminal.run("request-delete", "ann")
    terminal.run("requests", "receipt", "R2")
    terminal.run("requests", "acknowledge", "R2")
    terminal.run("log", "checkpoint")
    assert "R2 is acknowledged there" in terminal.run("verify", "R2.receipt.json", "--state", "none")


def test_a_changed_receipt_is_told(terminal, tmp_path):
    terminal.run("request-delete", "ann")
    terminal.run("requests", "receipt", "R2")
    file = tmp_path / "office" / "R2.receipt.json"
    file.write_text(file.read_text().replace("2025-03-05", "2025-03-04"))
    said = terminal.fails("verify", "R2.receipt.json", "--state", "none")
    assert said.exit_code == 4
    assert "NOT VERIFIED: receipt" in said.stdout


def test_no_receipt_is_overwritten_and_json_lists_them(terminal):
    terminal.run("request-delete", "ann")
    found = json.loads(terminal.run("--json", "requests", "receipt", "R2"))
    assert found == {"schema": "unlearnkit/receipts/v1", "receipts": [{"request": "R2", "path": "R2.receipt.json"}]}
    again = terminal.fails("requests", "receipt", "R2")
    assert again.exit_code == 1
    assert "there is a receipt of R2 in . already" in again.stderr
