"""Hundreds of requests: picked, sorted, counted, worked on together, and handed to spreadsheets and calendars."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, timedelta

import pytest

from tests.cli.test_requests import Terminal
from tests.report.pages import read
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.log import AuditLog

SOURCES = ("email", "letter", "phone")


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    """Thirty requests, received on thirty days from 4 February on; today is 5 March, when the first is overdue."""
    monkeypatch.chdir(tmp_path)
    made = Terminal(monkeypatch)
    made.run("init", "--origin", "example.com/log")
    days = [date(2025, 2, 4) + timedelta(days=i) for i in range(30)]
    rows = "".join(f"p{i},{day},{SOURCES[i % 3]},eu\n" for i, day in enumerate(days))
    (tmp_path / "r.csv").write_text(f"subject,received,source,jurisdiction\n{rows}")
    made.run("requests", "import", "r.csv")
    return made


def ids(terminal, *options: str) -> list[str]:
    return [item["id"] for item in terminal.json("requests", "list", *options)["requests"]]


def numbers(*which: int) -> list[str]:
    return [f"R{i + 2}" for i in which]


def test_terms_pick_and_all_must_hold(terminal):
    assert len(ids(terminal)) == 30
    assert ids(terminal, "--where", "source=letter,received<2025-02-12") == numbers(1, 4, 7)
    assert ids(terminal, "--where", "source=letter", "--where", "received>2025-02-27") == numbers(25, 28)
    assert ids(terminal, "--where", "jurisdiction=us-ca") == []
    assert ids(terminal, "--where", "uncertified,due<2025-03-06") == numbers(0, 1)
    terminal.run("requests", "withdraw", "R2", "--reason", "requested-by-person")
    assert ids(terminal, "--where", "due<2025-03-06") == numbers(1)
    assert ids(terminal, "--where", "state=withdrawn") == ids(terminal, "--where", "closed") == ["R2"]
    assert len(ids(terminal, "--all")) == 30


@pytest.mark.parametrize(
    "term", ["state=lost", "due<soon", "colour=red", "state", "overdue=yes", "due=2025-03-05", "<"]
)
def test_terms_that_are_none_are_usage_errors(terminal, term):
    refused = terminal.fails("requests", "list", "--where", term)
    assert refused.exit_code == 2
    assert term.partition("=")[0].partition("<")[0] in refused.output


def test_lists_are_sorted_as_asked_and_else_by_urgency(terminal):
    by_source = terminal.json("requests", "list", "--sort", "source")["requests"]
    assert [item["source"] for item in by_source] == sorted(SOURCES * 10)
    assert ids(terminal, "--sort", "received") == numbers(*range(30))


def test_the_exit_code_tells_cron_that_something_is_overdue(terminal):
    assert terminal.fails("requests", "list", "--overdue").exit_code == 6
    assert terminal.fails("requests", "summary", "--overdue").exit_code == 6
    assert terminal.fails("requests", "summary").exit_code == 0
    terminal.run("requests", "withdraw", "--where", "overdue", "--reason", "requested-by-person")
    assert terminal.fails("requests", "list", "--overdue").exit_code == 0
    assert terminal.fails("requests", "summary", "--overdue").exit_code == 0


def test_a_summary_counts_what_the_list_lists(terminal):
    terminal.run("request-delete", "p29")
    terminal.run("requests", "verify-identity", "R2", "R5", "--method", "in-person")
    terminal.run("requests", "refuse", "R2", "--reason", "art-17-1-no-ground")
    found = terminal.json("requests", "summary")
    assert (found["open"], found["closed"], found["duplicates"]) == (29, 1, 1)
    assert found["by_state"] == {"identity verified": 1, "received": 28, "refused": 1}
    assert found["by_jurisdiction"] == {"eu": 30}
    assert found["overdue"] == len(terminal.json("requests", "list", "--where", "overdue")["requests"]) == 0 + 1 - 1
    assert found["answered_late"] == 1  # received on 4 February, due on 4 March, refused on 5 March
    assert "answered late            1" in terminal.run("requests", "summary")


def test_the_table_has_a_row_for_each_and_reads_back(terminal):
    terminal.run("requests", "refuse", "R2", "--reason", "art-17-1-no-ground")
    rows = list(csv.DictReader(io.StringIO(terminal.run("requests", "list", "--all", "--csv", "--sort", "received"))))
    assert [row["id"] for row in rows] == numbers(*range(30))
    assert rows[0] | {"id": "R2", "state": "refused", "answered": "2025-03-05", "late": "yes", "due": ""} == rows[0]
    assert rows[2] | {"due": "2025-03-06", "days_left": "1", "source": "phone", "late": "no"} == rows[2]


def test_the_calendar_has_an_event_for_each_day_on_which_something_is_due(terminal):
    text = terminal.fails("requests", "list", "--ics", "--where", "due<2025-03-08").stdout_bytes.decode()
    lines = text.split("\r\n")
    assert lines[0] == "BEGIN:VCALENDAR"
    assert lines[-2:] == ["END:VCALENDAR", ""]
    assert all(len(line.encode()) <= 75 for line in lines)
    unfolded = text.replace("\r\n ", "").split("\r\n")
    assert [line for line in unfolded if line.startswith("DTSTART")] == [
        f"DTSTART;VALUE=DATE:2025030{day}" for day in (4, 5, 6, 7)
    ]
    assert "SUMMARY:Deletion request R2 is due (GDPR Art. 12(3))" in unfolded


def test_a_step_is_taken_for_all_that_are_picked(terminal):
    done = terminal.json("requests", "acknowledge", "--where", "source=phone")
    assert [item["id"] for item in done["requests"]] == numbers(*range(2, 30, 3))
    assert {item["state"] for item in done["requests"]} == {"acknowledged"}
    assert ids(terminal, "--where", "state=acknowledged") == numbers(*range(2, 30, 3))


def test_a_step_goes_on_after_a_refusal_and_says_what_became_of_each(terminal):
    terminal.run("requests", "acknowledge", "R3")
    result = terminal.fails("--json", "requests", "acknowledge", "R2", "R3", "R999", "R4")
    assert result.exit_code == 5
    said = json.loads(result.stdout)
    assert [item["id"] for item in said["requests"]] == ["R2", "R4"]
    assert [item["id"] for item in said["failed"]] == ["R3", "R999"]
    assert "it is already" in said["failed"][0]["error"]
    assert "2 of 4 requests: done" in result.stderr
    shown = terminal.fails("requests", "acknowledge", "R4", "R5").stdout
    assert "NOT DONE: R4 cannot become acknowledged: it is already" in shown


def test_closed_requests_and_duplicates_are_never_picked_for_a_step(terminal):
    terminal.run("requests", "withdraw", "R2", "--reason", "requested-by-person")
    terminal.run("request-delete", "p1")
    done = terminal.json("requests", "acknowledge", "--open")["requests"]
    assert [item["id"] for item in done] == numbers(*range(1, 30))


def test_a_step_for_nobody_or_in_two_ways_is_a_usage_error(terminal):
    for options in ([], ["R2", "--open"], ["R2", "--where", "late"]):
        refused = terminal.fails("requests", "acknowledge", *options)
        assert refused.exit_code == 2
        assert "name requests, or pick them" in refused.output
    assert terminal.json("requests", "acknowledge", "--where", "jurisdiction=us-ca")["requests"] == []


def test_certificates_are_told_with_the_requests_that_they_are_about(terminal, tmp_path):
    body = {
        "account": "7" * 64,
        "bundle": "5" * 64,
        "certificate": "a" * 64,
        "policy_digest": "b" * 64,
        "questions": [],
        "release": "digits@1",
    }
    log = AuditLog.open(tmp_path / "audit", now=clock.utc_now)
    log.record("certificate-issued", {**body, "decision": "insufficient", "requests": ["R2", "R3"]})
    log.record("certificate-issued", {**body, "decision": "keep", "requests": ["R3"]})
    assert ids(terminal, "--where", "decision=keep") == ["R3"]
    assert ids(terminal, "--where", "release=digits@1") == ["R2", "R3"]
    assert ids(terminal, "--where", "uncertified,received<2025-02-08") == numbers(2, 3)
    assert "certified: keep digits@1" in terminal.run("requests", "list", "--where", "decision=keep")
    assert terminal.json("requests", "show", "R3")["certificates"] == ["insufficient digits@1", "keep digits@1"]
    (row,) = csv.DictReader(io.StringIO(terminal.run("requests", "list", "--csv", "--where", "decision=keep")))
    assert (row["decision"], row["releases"]) == ("keep", "digits@1")


SENDER = '[sender]\nname = "Example Ltd"\ncontact = "p@example.org"\nauthority = "the Authority"\n'


def test_a_letter_is_printed_or_written_once_and_needs_somebody_who_writes(terminal, tmp_path):
    refused = terminal.fails("requests", "letter", "R2", "receipt")
    assert refused.exit_code == 1
    assert "add [sender]" in refused.output
    with (tmp_path / "unlearnkit.toml").open("a") as settings:
        settings.write(SENDER)
    printed = terminal.run("requests", "letter", "R2", "receipt", "--language", "de")
    assert "Ihr Antrag R2: Wir haben ihn erhalten" in printed
    assert terminal.run("requests", "letter", "R2", "receipt", "-o", "a.txt") == "a.txt: receipt of R2\n"
    assert "Your request R2: we have received it" in (tmp_path / "a.txt").read_text()
    assert terminal.fails("requests", "letter", "R2", "receipt", "-o", "a.txt").exit_code == 1
    assert terminal.fails("requests", "letter", "R2", "refusal").exit_code == 5


def test_letters_of_many_go_into_a_folder_and_each_failure_is_told(terminal, tmp_path):
    with (tmp_path / "unlearnkit.toml").open("a") as settings:
        settings.write(SENDER)
    terminal.run("requests", "refuse", "R2", "R3", "--reason", "art-17-1-no-ground")
    assert "give one with -o" in terminal.fails("requests", "letter", "R2", "R3", "refusal").stderr
    made = terminal.run("requests", "letter", "--where", "state=refused", "refusal", "-o", "letters").splitlines()
    assert sorted(made) == ["letters/R2-refusal.txt", "letters/R3-refusal.txt"]
    found = terminal.fails("--json", "requests", "letter", "R4", "R2", "completion", "-o", "more")
    assert found.exit_code == 5
    assert [item["id"] for item in json.loads(found.stdout)["failed"]] == ["R4", "R2"]


def test_the_register_is_a_page_that_counts_as_the_summary_does(terminal, tmp_path):
    terminal.run("requests", "refuse", "R2", "--reason", "art-17-1-no-ground")
    assert terminal.run("report", "--register", "-o", "r.html") == "register: r.html\n"
    text = read((tmp_path / "r.html").read_text()).text
    assert "Nothing is overdue" in text
    assert "29 open, 8 of them due within a week" in text
    assert "1 day late" in text
    assert "29 days after" in text  # what was received on 4 February was recorded on 5 March
    assert "Recorded late28" in text.replace(" ", " ").replace("late 28", "late28")
    assert "31 of 33 entries are not signed yet." in text
    assert terminal.fails("report", "--register", "-o", "r.html").exit_code == 1
    assert terminal.fails("report", "-o", "s.html").exit_code == 2
