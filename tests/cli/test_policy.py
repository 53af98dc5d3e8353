"""The commands for policies."""

from __future__ import annotations

import json
from datetime import date

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from unlearnkit.compliance.policy.deadlines import due
from unlearnkit.compliance.policy.policy import Policy, packaged_policies


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_policies_are_listed_with_their_titles():
    assert [line.split()[0] for line in run("policy", "list").splitlines()] == list(packaged_policies())
    titles = [item["title"] for item in json.loads(run("--json", "policy", "list"))["policies"]]
    assert all("not legal advice" in title for title in titles)


@pytest.mark.parametrize("name", packaged_policies())
def test_a_policy_is_shown_as_it_is_written_and_can_be_copied(name, tmp_path):
    text = run("policy", "show", name)
    assert text.encode() == packaged_policies()[name]
    (tmp_path / "ours.toml").write_text(text)
    checked = json.loads(run("--json", "policy", "check", str(tmp_path / "ours.toml")))
    assert checked["name"] == name
    assert json.loads(run("--json", "policy", "show", name))["text"] == text


def test_a_check_says_what_a_policy_allows():
    text = " ".join(run("policy", "check", "gdpr").split())
    assert "respond 1 month, then the next working day (GDPR Art. 12(3))" in text
    assert "extended 3 months, then the next working day (GDPR Art. 12(3), extended)" in text
    assert "accepts retrained, negligible-effect, corrected, no-data-held, refused" in text
    assert "delta at most 0.05 delta budget 0.5 for a bundle" in text
    assert "audits 59 of 1 person, 59 of 2 to 4 people, 59 of 5 to 19 people, " in text
    assert "59 of 20 to 79 people, 59 of 80 to 319 people; content 0.95" in text
    record = json.loads(run("--json", "policy", "check", "ccpa"))
    assert record["audit"]["strata"] == [[1, 1, 59], [2, 4, 59], [5, 19, 59], [20, 79, 59], [80, 319, 59]]
    assert record["deadlines"]["acknowledge"] == {"rule": "11 CCR 7021(a)", "period": "10 business days"}
    assert record["certificate"]["largest_ratio"] == "1"


def test_a_check_says_what_is_other_in_a_further_jurisdiction():
    rows = [" ".join(line.split()) for line in run("policy", "check", "us-states").splitlines()]
    assert (
        "us-co Colorado, C.R.S. 6-1-1306; appeal 45 days (C.R.S. 6-1-1306(3)); "
        "appeal extended 105 days (C.R.S. 6-1-1306(3), extended)"
    ) in rows
    assert "us-ut Utah, Utah Code 13-61-203" in rows
    places = json.loads(run("--json", "policy", "check", "us-states"))["places"]
    assert places["us-nj"]["deadlines"] == {"appeal": {"rule": "N.J.S.A. 56:8-166.7(f)", "period": "45 days"}}


def test_a_check_warns_of_what_an_empty_policy_refuses(tmp_path):
    (tmp_path / "empty.toml").write_text('schema = "unlearnkit/policy/v1"\nname = "nothing"\n')
    result = CliRunner().invoke(main, ["policy", "check", str(tmp_path / "empty.toml")])
    assert result.exit_code == 0
    assert "note: no [deadlines.respond]: no request can be received" in result.stderr
    assert "note: [requests] accepts nothing: no request can be fulfilled or refused" in result.stderr
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert {"accepts nothing", "respond no deadline", "ratio not stated", "delta not stated"} <= {*rows}
    assert "None" not in result.stdout


def test_a_malformed_policy_and_an_unknown_one_have_their_exit_codes(tmp_path):
    (tmp_path / "bad.toml").write_text("x = 1")
    result = CliRunner().invoke(main, ["policy", "check", str(tmp_path / "bad.toml")])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "has unknown fields: got 'x'" in result.stderr or "lacks 'name', 'schema'" in result.stderr
    result = CliRunner().invoke(main, ["policy", "show", "hipaa"])
    assert result.exit_code == 1
    assert "no policy 'hipaa': there are ccpa, ch-fadp, gdpr, lgpd, quebec-25, research" in result.stderr


def test_a_diff_says_which_settings_differ_and_no_comments(tmp_path):
    ours = tmp_path / "ours.toml"
    text = packaged_policies()["gdpr"].decode()
    ours.write_text(
        "# Ours.\n" + text.replace("months = 1\n", "days = 30\n").replace('sources = ["web-form", ', "sources = [")
    )
    assert run("policy", "diff", "gdpr", str(ours)).splitlines() == [
        "deadlines.respond.months",
        "  - 1",
        "  + (nothing)",
        "words.sources",
        "  - web-form, email, letter, phone, in-person, representative",
        "  + email, letter, phone, in-person, representative",
        "deadlines.respond.days",
        "  - (nothing)",
        "  + 30",
    ]
    assert run("policy", "diff", "gdpr", "gdpr") == "no setting differs\n"
    found = json.loads(run("--json", "policy", "diff", "gdpr", "uk-gdpr"))["differences"]
    assert {"setting": "jurisdiction", "before": "eu", "after": "uk"} in found


def test_public_holidays_become_part_of_a_policy_and_move_its_deadlines(tmp_path):
    ours = tmp_path / "ours.toml"
    ours.write_bytes(packaged_policies()["gdpr"].replace(b"holidays = []", b"holidays = [2027-12-24]"))
    listed = run("policy", "holidays", "DE-BE", "2027")
    assert "2027-03-08,  # " in listed  # the day that is one in Berlin, and not in Bavaria
    assert "2027-03-08" not in run("policy", "holidays", "DE-BY", "2027")
    run("policy", "holidays", "DE-BE", "2027", "--into", str(ours))
    policy = Policy.load(ours)
    assert {date(2027, 3, 8), date(2027, 12, 24), date(2027, 12, 25)} < policy.working_days.holidays
    again = ours.read_bytes()
    run("policy", "holidays", "DE-BE", "2027", "--into", str(ours))
    assert [line.partition("#")[0] for line in ours.read_text().splitlines()] == [
        line.partition("#")[0] for line in again.decode().splitlines()
    ]
    # Received on 8 February 2027: a month later is Women's Day, a Monday; so it is the Tuesday.
    assert due(policy.deadlines.respond, date(2027, 2, 8), policy.working_days).day == date(2027, 3, 9)
    gdpr = Policy.load("gdpr")
    assert due(gdpr.deadlines.respond, date(2027, 2, 8), gdpr.working_days).day == date(2027, 3, 8)


def test_a_place_without_known_holidays_and_a_policy_without_a_line_for_them_are_refused(tmp_path):
    result = CliRunner().invoke(main, ["policy", "holidays", "XX-YY", "2027"])
    assert result.exit_code == 1
    assert "no public holidays of 'XX-YY' are known" in result.stderr
    bare = tmp_path / "bare.toml"
    bare.write_text('schema = "unlearnkit/policy/v1"\nname = "bare"\n')
    result = CliRunner().invoke(main, ["policy", "holidays", "DE", "2027", "--into", str(bare)])
    assert result.exit_code == 3
    assert "add 'holidays = []'" in result.stderr
