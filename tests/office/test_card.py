"""The section of a model card: what it says is what log and bundle say, in Markdown that nothing breaks out of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.office.corrections import prepare
from unlearnkit.errors import UnknownNameError
from unlearnkit.office.card import HEADING, model_card
from unlearnkit.verifier.certificate_file import document_digest

SENDER = """
[sender]
name = "Ex|ample <b> Ltd"
contact = "privacy@example.org"
authority = "the authority"
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, small_recipe())
    return folder


@pytest.fixture
def office(prepared, tmp_path, monkeypatch) -> uk.Workspace:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "office")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # copies of one log, which go on differently
    return uk.Workspace.find()


def rows(card: str) -> dict[str, str]:
    """Of its table, as a renderer splits them: at every bar."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 3 for line in lines)
    return {name.strip(): text.strip() for _, name, text, _ in (line.split("|") for line in lines[2:])}


def test_it_names_the_run_its_people_and_its_evidence_by_digest(office):
    card = model_card(office, "small@1")
    found, (evidence,) = rows(card), sorted((office.root / "evidence").glob("*.json"))
    bundle = office.bundle_of("small@1")
    assert card.startswith(HEADING)
    assert "the data of 5 people" in found["Sketched"]
    assert "`own_loss` (5 numbers)" in found["Sketched"]
    assert found["Recipe"] == f"SHA-256 `{bundle.manifest.recipe_digest}`"
    assert bundle.digest in found["Sketch bundle"]
    assert found["Audits by retraining"].startswith("1 committed to, 1 finished")
    assert document_digest(evidence.read_bytes(), where="evidence") in found["Audits by retraining"]
    assert found["Answered without a new training"] == "0 of 5 people"
    assert "nothing" not in found["Losses on people's own data"]
    assert "certified" not in card


def test_it_says_how_to_ask_and_what_it_says_breaks_no_table(office):
    with (office.root / "unlearnkit.toml").open("a") as file:
        file.write(SENDER)
    asking = rows(model_card(uk.Workspace.find(), "small@1"))["To ask"]
    assert asking == "Ex&#124;ample &lt;b&gt; Ltd, privacy@example.org; to complain: the authority"


def test_a_corrected_release_says_from_what_and_without_how_many(office):
    (request,) = office.receive(["ann"])
    office.verify_identity(request, method="in-person")
    made = office.correct([request.id], out="corrected.safetensors")
    office.register_correction(made.path, name="small", version="1.1")
    assert rows(model_card(office, "small@1.1"))["Corrected"] == "from small@1, without 1 person, by prediction"


def test_the_command_writes_it_once_and_overwrites_nothing(office):
    first, again = (CliRunner().invoke(main, ["release", "card", "small@1", "-o", "people.md"]) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert Path("people.md").read_text() == model_card(office, "small@1")
    assert again.exit_code != 0
    printed = CliRunner().invoke(main, ["release", "card", "small@1"])
    assert printed.stdout.startswith(HEADING)


def test_of_a_release_that_is_none_there_is_no_card(office):
    with pytest.raises(UnknownNameError):
        model_card(office, "small@2")
