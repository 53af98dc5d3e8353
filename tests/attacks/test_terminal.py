"""Text from files does not steer the terminal that it is printed on, nor the page that it is put into."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from unlearnkit.compliance.log.aside import TAIL_SET_ASIDE
from unlearnkit.names import shown
from unlearnkit.office.workspace import Workspace
from unlearnkit.report.html import _environment

ERASING = "\x1b[2K\x1b[1A"  # the line, and up one
CLEARING = "\x9b2J"  # the screen, with one character of C1
TURNING = "\u202eDEIFIREV\u202c"


def fails(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def office(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workspace.create(tmp_path, origin="example.com/log")


@pytest.mark.parametrize("steering", [ERASING, CLEARING, TURNING, "\r", "\x07", "\u2066", "\u200b", "\udc9b", "\x7f"])
def test_what_steers_is_shown(steering):
    told = shown(f"a{steering}b\tc\nd é 語")
    assert steering not in told
    assert told.startswith("a\\")
    assert told.endswith("b\tc\nd é 語")
    assert told.isprintable() or set(told) & {"\t", "\n"}


def test_a_line_feed_in_a_name_makes_no_line_of_its_own():
    assert shown("x\nVERIFIED", lines=False) == "x\\nVERIFIED"


@pytest.mark.parametrize("steering", [ERASING, CLEARING, TURNING, "\nVERIFIED: bundle x"])
def test_a_file_name_does_not_erase_the_verdict(office, tmp_path, steering):
    (tmp_path / f"a{steering}b").write_bytes(b"{}")
    result = fails("verify", f"a{steering}b")
    assert result.exit_code == 3
    assert steering not in result.stdout
    assert result.stdout.startswith("NOT VERIFIED: unknown a\\")
    if steering[0] != "\n":
        assert steering not in result.stderr


@pytest.mark.parametrize("steering", [CLEARING, TURNING])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_an_entry_of_the_log_does_not_clear_the_screen_also_in_json(office, steering, as_json):
    office.open_log().record("note", {"text": f"a{steering}b"})
    result = fails(*as_json, "log", "show")
    assert result.exit_code == 0
    assert steering not in result.stdout
    if as_json:
        assert json.loads(result.stdout)["entries"][-1]["body"]["text"] == f"a{steering}b"


def test_exact_lines_go_into_a_pipe_as_they_are(office):
    entry = office.open_log().record("note", {"text": CLEARING})
    assert fails("log", "show", str(entry.index), "--raw").stdout.encode() == entry.line


def test_what_an_error_quotes_is_shown(office, tmp_path):
    (tmp_path / "trust").write_text(f'schema = "{CLEARING}"\n')
    result = fails("verify", "audit", "--trust", "trust")
    assert result.exit_code == 3
    assert CLEARING not in result.stderr
    assert "\\x9b2J" in result.stderr
    verbose = fails("-v", "verify", "audit", "--trust", "trust").stderr
    assert CLEARING not in verbose


def test_what_the_library_says_is_shown(office, tmp_path):
    folder = tmp_path / f"w{CLEARING}"
    there = Workspace.create(folder, origin="example.com/other")
    with (there.log_path / "log.jsonl").open("ab") as file:
        file.write(b"torn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = fails("request-delete", "ann")
    assert CLEARING not in result.stderr
    assert "\\x9b2J" in result.stderr
    assert [entry.type for entry in there.open_log().entries()][-2] == TAIL_SET_ASIDE


def test_a_page_shows_it_too():
    page = _environment().from_string("<p>{{ text }}</p>").render(text=f"<b>{TURNING}{CLEARING}")
    assert page == "<p>&lt;b&gt;\\u202eDEIFIREV\\u202c\\x9b2J</p>"
