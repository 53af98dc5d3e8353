"""The commands for policies."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from unlearnkit.compliance.policy.policy import packaged_policies


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_policies_are_listed_with_their_titles():
    assert [line.split()[0] for line in run("policy", "list").splitlines()] == ["ccpa", "gdpr", "research"]
    titles = [item["title"] for item in json.loads(run("--json", "policy", "list"))["policies"]]
    assert all("not legal advice" in title for title in titles)


@pytest.mark.parametrize("name", ["ccpa", "gdpr", "research"])
def test_a_policy_is_shown_as_it_is_written_and_can_be_copied(name, tmp_path):
    text = run("policy", "show", name)
    assert text.encode() == packaged_policies()[name]
    (tmp_path / "ours.toml").write_text(text)
    checked = json.loads(run("--json", "policy", "check", str(tmp_path / "ours.toml")))
    assert checked["name"] == name
    assert json.loads(run("--json", "policy", "show", name))["text"] == text


def test_a_check_says_what_a_policy_allows():
    text = run("policy", "check", "gdpr")
    assert "respond       1 months, then the next working day (GDPR Art. 12(3))" in text
    assert "accepts       retrained, negligible-effect, no-data-held, refused" in text
    assert "delta         at most 0.05, and 0.5 for a bundle" in text
    record = json.loads(run("--json", "policy", "check", "ccpa"))
    assert record["deadlines"]["acknowledge"] == {"rule": "11 CCR 7021(a)", "period": "10 business days"}
    assert record["certificate"]["largest_ratio"] == "1"


def test_a_check_warns_of_what_an_empty_policy_refuses(tmp_path):
    (tmp_path / "empty.toml").write_text('schema = "unlearnkit/policy/v1"\nname = "nothing"\n')
    result = CliRunner().invoke(main, ["policy", "check", str(tmp_path / "empty.toml")])
    assert result.exit_code == 0
    assert "note: no [deadlines.respond]: no request can be received" in result.stderr
    assert "note: [requests] accepts nothing: no request can be fulfilled or refused" in result.stderr
    assert "accepts       nothing" in result.stdout


def test_a_malformed_policy_and_an_unknown_one_have_their_exit_codes(tmp_path):
    (tmp_path / "bad.toml").write_text("x = 1")
    result = CliRunner().invoke(main, ["policy", "check", str(tmp_path / "bad.toml")])
    assert (result.exit_code, result.stdout) == (3, "")
    assert "has unknown fields: got 'x'" in result.stderr or "lacks 'name', 'schema'" in result.stderr
    result = CliRunner().invoke(main, ["policy", "show", "hipaa"])
    assert result.exit_code == 1
    assert "no policy 'hipaa': there are ccpa, gdpr, research" in result.stderr
