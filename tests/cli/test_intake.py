"""Requests by file, as a privacy officer hands them in: spellings, spreadsheets, other encodings, thousands of rows."""

from __future__ import annotations

import pytest

from tests.cli.test_requests import Terminal

ONE = ["ann@example.org", "\ufeffann@example.org\r\n", "ann@example.org\u200b\n", "Ann@Example.org"]


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = Terminal(monkeypatch)
    made.run("init", "--origin", "example.com/log")
    return made


def recorded(terminal) -> int:
    return len(terminal.json("requests", "list", "--all")["requests"])


def test_one_person_in_several_spellings_has_one_request(terminal):
    for spelling in ONE:
        terminal.run("request-delete", "--from", "-", text=spelling)
    terminal.run("request-delete", "Jos\u00e9", "Jose\u0301")
    listed = terminal.json("requests", "list", "--all")["requests"]
    assert [item["duplicate_of"] for item in sorted(listed, key=lambda item: int(item["id"][1:]))] == [
        None, "R2", "R2", "R2", None, "R6",
    ]  # fmt: skip
    assert len(terminal.json("requests", "list", "--subject", " ANN@example.org")["requests"]) == 4


def test_a_spreadsheet_is_no_list_of_names_and_its_header_is_nobody(terminal, tmp_path):
    (tmp_path / "r.csv").write_text("subject,received,source\nbob@example.org,2025-03-01,email\n")
    refused = terminal.fails("request-delete", "--from", "r.csv")
    assert refused.exit_code == 3
    assert "r.csv is a table" in refused.output
    assert "requests import" in refused.output
    assert terminal.run("requests", "import", "r.csv") == "recorded: 1, R2; duplicates among them: 0\n"
    (made,) = terminal.json("requests", "list")["requests"]
    assert (made["received"], made["due"]["day"]) == ("2025-03-01", "2025-04-01")


def test_a_latin_1_file_is_a_clear_error(terminal, tmp_path):
    (tmp_path / "l.txt").write_bytes("M\u00fcller\n".encode("latin-1"))
    refused = terminal.fails("request-delete", "--from", "l.txt")
    assert refused.exit_code == 3
    assert "l.txt line 1: expected UTF-8, got the byte 0xfc" in refused.output
    assert "iconv -f CP1252 -t UTF-8 l.txt" in refused.output


def test_a_utf_16_file_is_read(terminal, tmp_path):
    (tmp_path / "u.txt").write_bytes("M\u00fcller\r\n".encode("utf-16"))
    terminal.run("request-delete", "--from", "u.txt")
    assert len(terminal.json("requests", "list", "--subject", "M\u00fcller")["requests"]) == 1


BAD = "subject,received\nann,2025-03-01\nbob,1.3.2025\ncleo,\n"


def test_a_file_with_a_bad_row_is_recorded_whole_or_not_at_all_unless_it_may_be_in_part(terminal, tmp_path):
    (tmp_path / "bad.csv").write_text(BAD)
    refused = terminal.fails("requests", "import", "bad.csv")
    assert refused.exit_code == 3
    assert "1 of 3 rows cannot be taken, so none was:\n  - row 3: not a day" in refused.output
    assert recorded(terminal) == 0
    said = terminal.run("requests", "import", "bad.csv", "--dry-run")
    assert said.splitlines()[-1] == "would be recorded: none, for 1 row cannot be; with --skip-bad 2 rows"
    assert recorded(terminal) == 0
    said = terminal.run("requests", "import", "bad.csv", "--dry-run", "--skip-bad")
    assert said.splitlines()[-1] == "would be recorded: 2 rows"
    taken = terminal.json("requests", "import", "bad.csv", "--skip-bad")
    assert (taken["recorded"], [item["row"] for item in taken["problems"]]) == (["R2", "R3"], [3])
    assert recorded(terminal) == 2


def test_thousands_of_rows_are_one_commit_after_another_in_the_order_of_the_file(terminal, tmp_path):
    rows = "".join(f"person{i}@example.org,2025-02-{1 + i % 28:02},email,T-{i}\n" for i in range(2000))
    (tmp_path / "many.csv").write_text("subject,received,source,reference\n" + rows)
    taken = terminal.json("requests", "import", "many.csv")
    assert taken["recorded"] == [f"R{i + 2}" for i in range(2000)]
    (found,) = terminal.json("requests", "list", "--reference", "T-1999")["requests"]
    assert (found["id"], found["received"]) == ("R2001", "2025-02-12")


def test_whoever_expects_people_to_be_known_is_refused_strangers_and_nothing_is_recorded(terminal, tmp_path):
    (tmp_path / "r.csv").write_text("subject\nann\nbob\n")
    for command in (["request-delete", "ann", "bob"], ["requests", "import", "r.csv"]):
        refused = terminal.fails(*command, "--expect-known")
        assert refused.exit_code == 5
        assert "in no release in force: 2 of 2 names, number" in refused.output
    assert recorded(terminal) == 0
