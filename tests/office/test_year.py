"""The scripted year of `python -m benchmarks.year`, with nine requests in place of three hundred, and 20 who stay."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from benchmarks.year import LAWS, WAVES, Officer, at_work
from tests.report.pages import read
from unlearnkit.compliance.log import clock

REQUESTS, MOST_COMMANDS = 9, 40


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """The officer after the year; the clock stands on its last day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YEAR_REQUESTS", str(REQUESTS))
        patch.setenv("YEAR_STAY", "20")

        def moved(office: Officer) -> None:
            patch.chdir(office.folder)
            patch.setattr(clock, "utc_now", office.now)

        yield at_work(tmp_path_factory.mktemp("year") / "office", REQUESTS, count=22, moved=moved)


def shown(*arguments: str) -> dict:
    result = CliRunner().invoke(main, ["--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_year_under_three_laws_takes_few_commands_and_leaves_nothing_open(lived):
    assert len(lived.typed) + len(lived.pages) <= MOST_COMMANDS  # with the register's page of every month
    found = shown("requests", "list", "--all")["requests"]
    assert [item["state"] for item in found] == ["fulfilled"] * REQUESTS
    assert {item["jurisdiction"] for item in found} == set(LAWS)
    assert sum(command.startswith("sketch") for command, _ in lived.typed) == len(WAVES)


def test_each_request_of_the_year_shows_the_certificate_that_answered_it(lived):
    first, *others = shown("requests", "list", "--all")["requests"]
    assert first["certified"] == ["keep model@1"]
    made = shown("certify", "--list")["certificates"]
    assert [item["kind"] for item in made] == ["effect", *["exclusion"] * 6]  # one for each law, of each wave
    assert [item["certified"] for item in others] == [["exclusion model@2"]] * 4 + [["exclusion model@3"]] * 4


def test_every_answer_of_the_year_has_its_letter_and_every_month_its_page(lived):
    places = [lived.folder / f"letters-{number}" for number in range(1, len(WAVES) + 1)]
    letters = [path for place in places for path in ([place] if place.is_file() else place.iterdir())]
    assert len(letters) == REQUESTS
    assert all("Dear Sir or Madam" in path.read_text() for path in letters)
    assert len(lived.pages) == 12
    last = read(lived.pages[-1].read_text()).text
    assert "0 open" in last
    assert "model@3" in last
    assert all(f"{law} (SHA-256" in last for law in LAWS.values())


def test_after_the_retention_time_nobody_can_tell_who_asked_and_the_log_still_verifies(lived):
    assert all(item["forgotten"] for item in shown("requests", "list", "--all")["requests"])
    assert CliRunner().invoke(main, ["verify", "audit"]).exit_code == 0
