"""Manners: options stand anywhere, errors are documents where asked for, and shells complete what there is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

from tests.cli.test_requests import Terminal

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def terminal(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = Terminal(monkeypatch)
    made.run("init", "--origin", "example.com/log")
    made.run("request-delete", "ann", "bob")
    return made


def completed(*words: str, shell: str = "bash") -> list[str]:
    """What the program offers a shell for the last word."""
    line = ["unlearnkit", *words]
    asked = {"_UNLEARNKIT_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(words))}
    if shell == "fish":
        asked["COMP_CWORD"] = words[-1]
    found = CliRunner().invoke(main, prog_name="unlearnkit", env=asked)
    assert found.exit_code == 0, found.output
    lines = [line for line in found.output.splitlines() if line]
    if shell == "zsh":
        return [lines[at + 1] for at in range(0, len(lines), 3)]
    return [line.split(",", 1)[1].split("\t")[0] for line in lines]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "requests", "summary"),
        ("requests", "--json", "summary"),
        ("requests", "summary", "--json"),
        ("requests", "summary", "--json", "-q"),
    ],
)
def test_root_options_stand_anywhere(terminal, arguments):
    assert json.loads(terminal.run(*arguments))["open"] == 2


def test_quiet_at_the_end_is_quiet_and_two_words_of_talk_exclude_each_other_anywhere(terminal):
    assert terminal.fails("requests", "list", "-q").stderr == ""
    assert "2 requests" in terminal.fails("requests", "list").stderr
    assert "exclude each other" in terminal.fails("requests", "-q", "list", "-v").stderr


def test_what_follows_two_dashes_is_no_option(terminal):
    found = terminal.json("request-delete", "--", "--json")["requests"]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("requests", "show", "R9"), 1, "no request 'R9'"),
        (("requests", "refuse", "R2", "--reason", "rude"), 5, "does not list 'rude'"),
        (("requests", "nothing"), 2, "No such command 'nothing'"),
    ],
)
def test_with_json_an_error_is_one_document_too(terminal, arguments, code, error):
    found = terminal.fails(*arguments, "--json")
    said = json.loads(found.stdout)
    assert (found.exit_code, said["schema"], said["exit_code"]) == (code, "unlearnkit/error/v1", code)
    assert error in said["error"]
    assert f"unlearnkit: error: {said['error']}" in found.stderr


def test_a_command_that_printed_its_document_prints_no_second_one(terminal, tmp_path):
    (tmp_path / "x").write_text("hello")
    found = terminal.fails("--json", "verify", "x", "--state", "none")
    assert found.exit_code == 3
    assert json.loads(found.stdout)["schema"] == "unlearnkit/verification/v1"


@pytest.mark.parametrize("shell", SHELLS)
def test_ids_and_words_are_completed_in_every_shell(terminal, shell):
    assert completed("requests", "acknowledge", "R", shell=shell) == ["R2", "R3"]
    assert completed("requests", "acknowledge", "R2", "R", shell=shell) == ["R3"]
    methods = completed("requests", "verify-identity", "R2", "--method", "i", shell=shell)
    assert methods == ["identity-document", "in-person"]


def test_closed_requests_are_shown_and_not_worked_on(terminal):
    terminal.run("requests", "withdraw", "R2", "--reason", "requested-by-person")
    assert completed("requests", "acknowledge", "R") == ["R3"]
    assert sorted(completed("requests", "show", "R")) == ["R2", "R3"]
    assert sorted(completed("requests", "receipt", "R")) == ["R2", "R3"]


def test_terms_languages_actors_and_commands_are_completed(terminal, tmp_path):
    (tmp_path / "letters" / "fr").mkdir(parents=True)
    assert completed("requests", "letter", "R2", "receipt", "--language", "") == ["de", "en", "fr"]
    assert "state=identity-verified" in completed("requests", "list", "--where", "state=")
    assert "support" in completed("requests", "acknowledge", "R2", "--by", "")
    assert completed("requests", "ackn") == ["acknowledge"]


def test_outside_of_a_workspace_nothing_is_offered_and_nothing_fails(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert completed("requests", "acknowledge", "R") == []


def test_files_are_left_to_the_shell(terminal):
    line = {"_UNLEARNKIT_COMPLETE": "bash_complete", "COMP_WORDS": "unlearnkit verify a", "COMP_CWORD": "2"}
    assert CliRunner().invoke(main, prog_name="unlearnkit", env=line).output == "file,a\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_one_that_it_reads(shell, tmp_path):
    run = "from unlearnkit.cli.main import main; main(prog_name='unlearnkit')"
    given = {"_UNLEARNKIT_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"}
    made = subprocess.run([sys.executable, "-c", run], env=given, capture_output=True, text=True, check=True).stdout
    assert "_UNLEARNKIT_COMPLETE" in made
    if shutil.which(shell):
        (tmp_path / "script").write_text(made)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


def test_every_word_of_a_policy_that_an_option_takes_is_completed():
    """By their help: whatever option says that it takes a word of the policy offers some."""
    from unlearnkit.cli.completion import _ANYWHERE, _OF_COMMANDS

    def parameters(command: click.Command):
        if isinstance(command, click.Group):
            for below in command.commands.values():
                yield from parameters(below)
        yield from ((command.name, item) for item in command.params)

    for name, item in parameters(main):
        if isinstance(item, click.Option) and "a word of the policy" in (item.help or ""):
            assert (name, item.name) in _OF_COMMANDS or item.name in _ANYWHERE, (name, item.name)
