"""The commands for releases."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from tests.bundle.small import small
from tests.verifier.issuance import RULES, audited, policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.names import counted
from unlearnkit.office.workspace import Workspace


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def office(tmp_path, monkeypatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    run("init", "--origin", "example.com/log")
    made = Workspace.find()
    contents = small(tmp_path, weights=False, key=PseudonymKey.load(made.pseudonym_key_path))
    write_bundle(Path("bundle"), manifest=contents.manifest, signer=made.signer_key(), **contents.contents)
    return made


def test_a_release_is_added_listed_and_retired(office):
    added = run("release", "add", "bundle", "--name", "digits", "--version", "1")
    assert added.stdout.startswith(f"digits@1  in force since {office.today}  0 requests since, 0 open")
    run("request-delete", "ann", "ben")
    run("requests", "withdraw", "R4", "--reason", "requested-by-person")
    assert "2 requests since, 1 open" in run("release", "list").stdout
    (listed,) = json.loads(run("--json", "release", "list").stdout)["releases"]
    assert (listed["id"], listed["in_force"], listed["entry"]) == ("digits@1", True, 2)
    assert (listed["asked"], listed["open"]) == (["R3", "R4"], ["R3"])
    assert listed["artefacts"]["bundle"] == office.open_bundle("bundle").digest
    assert f"in use from {office.today} to {office.today}" in run("release", "retire", "digits@1").stdout
    assert run("release", "list").stdout.strip() == ""
    assert run("release", "list", "--all").stdout.startswith("digits@1  in use from")


def test_a_release_is_shown_with_its_standing_set(office, tmp_path):
    text = policy_text().replace(b"largest_ratio = 1", b"largest_ratio = 0.9")
    Path("policy.toml").write_bytes(text)
    settings = Path("unlearnkit.toml")
    settings.write_text(settings.read_text().replace('policy = "gdpr"', 'policy = "./policy.toml"'))
    run("release", "add", "bundle", "--name", "digits", "--version", "1")
    run("request-delete", "ann", "ben")
    run("requests", "verify-identity", "R3", "--method", "in-person")
    run("certify", "R3")
    run(
        "requests",
        "fulfil",
        "R3",
        "--method",
        "negligible-effect",
        "--evidence",
        "certificates/R3-digits@1.certificate.json",
    )
    shown = json.loads(run("--json", "release", "show", "digits@1").stdout)
    change = float(office.open_bundle("bundle").probe("test_loss").predict(["ann"]).change)
    (moved,) = shown["standing"]["changes"]
    assert (moved["probe"], moved["largest"], moved["tolerance"]) == ("test_loss", pytest.approx(change), 20)
    assert len(shown["standing"]["people"]) == 1
    (listed,) = json.loads(run("--json", "release", "list").stdout)["releases"]
    (left,) = listed["changes"]
    assert (listed["people"], left["probe"], left["largest"]) == (1, "test_loss", pytest.approx(change))
    assert left["left"] == pytest.approx(20 - abs(change))
    text = run("release", "list").stdout
    assert "1 person was answered without retraining" in text
    assert "of 20 is left" in text
    text = run("release", "show", "digits@1", "--bundle", "bundle").stdout
    assert "answered without retraining: 1 of 5 people" in text
    assert f"{abs(change) / 20:.0%} of the tolerance" in text
    assert "still open   R4" in text
    Path("bundle").rename("elsewhere")
    assert json.loads(run("--json", "release", "show", "digits@1").stdout)["standing"] is None
    assert run("release", "show", "digits@1", "--bundle", "elsewhere").stdout == text
    assert "not known: the bundle of digits@1 is not at hand" in run("release", "list").stdout
    assert "ln -sfn BUNDLE releases/digits@1" in run("certify", "R4", code=1).stderr
    Path("releases/digits@1").unlink()
    Path("releases/digits@1").symlink_to("../elsewhere")
    assert run("release", "show", "digits@1").stdout == text


def test_the_outlook_says_how_many_more_can_be_answered_and_until_when(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_bytes(policy_text(audited(RULES.replace("test_loss = 20", "test_loss = 0.2"))))
    run("init", "--origin", "example.com/log", "--policy", "./policy.toml")
    made = Workspace.find()
    contents = small(tmp_path, weights=False, own=True, count=16, key=PseudonymKey.load(made.pseudonym_key_path))
    write_bundle(Path("bundle"), manifest=contents.manifest, signer=made.signer_key(), **contents.contents)
    run("release", "add", "bundle", "--name", "digits", "--version", "1")
    run("request-delete", "ann", "ben")
    record = json.loads(run("--json", "release", "outlook", "digits@1").stdout)
    (probe,) = record["probes"]
    assert (record["schema"], record["asked"], record["audited"]) == ("unlearnkit/outlook/v1", 2, 3)
    more = probe["tolerated"]["median"]
    assert 0 < more < 5
    assert probe["tolerated"]["until"] == str(made.today + timedelta(days=more // 2))
    assert record["strangers"]["spread"] > 0
    text = run("release", "outlook", "digits@1", "--bundle", "bundle").stdout
    assert f"{counted(more, 'more person')}, until {made.today + timedelta(days=more // 2)}" in text
    assert "the policy audits up to 3 people together" in text
    assert "half of strangers' are" in run("release", "show", "digits@1").stdout


def test_a_bundle_is_cut_only_on_purpose_and_out_of_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("init", "--origin", "example.com/log", "--policy", "research")
    made = Workspace.find()
    contents = small(tmp_path, weights=False, key=PseudonymKey.load(made.pseudonym_key_path))
    write_bundle(Path("bundle"), manifest=contents.manifest, signer=made.signer_key(), **contents.contents)
    run("release", "add", "bundle", "--name", "digits", "--version", "1")
    assert "say --yes" in run("release", "cut", "digits@1", code=2).stderr
    assert "digits@1 is in force" in run("release", "cut", "digits@1", "--yes", code=5).stderr
    run("release", "retire", "digits@1")
    assert "the signed list of its people is left" in run("release", "cut", "digits@1", "--yes").stdout
    assert not Path("bundle/model.safetensors").exists()
    assert "digits@1" in run("release", "list", "--all").stdout
    assert json.loads(run("--json", "release", "show", "digits@1").stdout)["standing"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "digits@2"], 1, "no release 'digits@2': there are digits@1"),
        (["retire", "digits@2"], 1, "no release 'digits@2': there are digits@1"),
        (["retire", "digits"], 3, "release must be the id of a release, such as digits@1: got 'digits'"),
        (["retire", "digits@1", "--on", "2999-01-01"], 2, "a day in the future"),
        (["add", "bundle", "--name", "digits", "--version", "1"], 5, "there is a release digits@1 already"),
        (["add", "bundle", "--name", "digits", "--version", "2"], 5, "digits@1 is this very model"),
        (["add", "bundle", "--name", "Digits", "--version", "2"], 3, "name must be a word"),
    ],
)
def test_what_goes_wrong_is_said_with_its_exit_code(office, arguments, code, message):
    run("release", "add", "bundle", "--name", "digits", "--version", "1")
    assert message in run("release", *arguments, code=code).output
