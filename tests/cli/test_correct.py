"""``correct``, and what is done with a corrected model afterwards: in use, verified, and who asked is answered."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.office.corrections import policy, prepare
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policy import FULFILMENTS
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Tests work on copies."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, small_recipe())
    return folder


@pytest.fixture
def office(prepared, tmp_path, monkeypatch) -> Path:
    """A workspace in which ann and dan ask; their requests are in ``asked``."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "office")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # copies of one log, which go on differently
    found = uk.Workspace.find().receive(["ann", "dan"])
    for request in found:
        uk.Workspace.find().verify_identity(request, method="in-person")
    Path("asked").write_text(" ".join(request.id for request in found))
    return tmp_path / "office"


def asked() -> list[str]:
    return Path("asked").read_text().split()


def run(*arguments: str | Path) -> str:
    result = fails(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_it_says_the_decision_first_and_where_everything_is(office):
    lines = run("correct", *asked(), "-o", "new.safetensors").splitlines()
    assert lines[0] == "correct (by correction.tolerances)"
    assert lines[1].startswith("test_loss: it differs by ")
    assert any(line.startswith("test_loss: ") and line.endswith("by prediction") for line in lines)
    digest = sha256_hex(Path("new.safetensors").read_bytes())
    told = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
    assert told["sha256"] == digest
    assert Path(told["certificate"]).name == f"{asked()[0]}-small@1.correction.json"
    assert told["people"].startswith("2, with those answered")


def test_all_open_requests_are_answered_by_one_corrected_model(office):
    made = json.loads(run("--json", "correct", "--open", "-o", "new.safetensors"))
    assert made["requests"] == asked()
    run("release", "add", made["certificate"], "--name", "small", "--version", "1.1")
    assert "small@1.1" in run("release", "list")
    for name in asked():
        told = run("requests", "fulfil", name, "--method", "corrected", "--evidence", made["certificate"])
        assert told.startswith(f"{name}  fulfilled")
        assert json.loads(run("--json", "requests", "show", name))["certified"] == ["correct small@1"]
    said = run("verify", made["certificate"], "--bundle", "bundle", "--model", "new.safetensors")
    assert said.startswith("VERIFIED: correction certificate")
    assert "ok    model in use: " in said
    assert "--model says which file" not in said


def test_every_way_to_fulfil_a_request_that_policies_know_is_offered(office):
    choice = next(param for param in main.commands["requests"].commands["fulfil"].params if param.name == "method")
    assert set(choice.type.choices) == set(FULFILMENTS)


def test_it_is_listed_with_the_other_certificates_and_shown_with_the_requests(office):
    made = json.loads(run("--json", "correct", *asked(), "-o", "new.safetensors"))
    (row,) = json.loads(run("--json", "certify", "--list"))["certificates"]
    assert (row["kind"], row["requests"], row["entry"], row["proved"]) == (
        "correction",
        asked(),
        made["entry"],
        True,
    )
    for name in asked():
        assert json.loads(run("--json", "requests", "show", name))["certificates"] == ["correct small@1"]
    assert json.loads(run("--json", "requests", "list", "--where", "uncertified"))["requests"] == []
    picked = json.loads(run("--json", "requests", "list", "--where", "decision=correct,release=small@1"))
    assert [item["id"] for item in picked["requests"]] == asked()


def test_an_interrupted_one_gets_its_proof_later(office):
    made = json.loads(run("--json", "correct", *asked(), "-o", "new.safetensors"))
    path = Path(made["certificate"])
    whole = path.read_bytes()
    path.write_bytes(CertificateFile(envelope=parse_certificate_file(whole, where="c").envelope).to_bytes())
    assert "WITHOUT PROOF" in run("certify", "--list")
    told = run("certify", "--resume", path)
    assert told.startswith("correct\n")
    for row in (f"requests        {' '.join(asked())}\n", f"log entry       {made['entry']}\n"):
        assert row in told
    assert "WITHOUT PROOF" not in run("certify", "--list")
    assert parse_certificate_file(path.read_bytes(), where="c").entry is not None
    assert run("verify", path, "--bundle", "bundle").startswith("VERIFIED")


def test_one_that_was_never_recorded_is_recorded_if_it_still_holds(office, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(office, other)
    made = json.loads(run("--json", "correct", *asked(), "-o", "new.safetensors"))
    shutil.copy(made["certificate"], other / "lost.json")
    os.chdir(other)
    withdraw = uk.Workspace.find().policy().words.withdrawal_reasons[0]
    shutil.copytree(other, tmp_path / "third")
    told = json.loads(run("--json", "certify", "--resume", "lost.json"))
    assert (told["schema"], told["entry"]) == ("unlearnkit/certify-correction/v1", made["entry"])
    assert run("verify", "lost.json", "--bundle", "bundle").startswith("VERIFIED")
    os.chdir(tmp_path / "third")
    run("requests", "withdraw", asked()[0], "--reason", withdraw)
    refused = fails("certify", "--resume", "lost.json")
    assert refused.exit_code == 5
    assert "is closed: it was withdrawn" in refused.output


def test_another_model_in_use_is_told(office):
    made = json.loads(run("--json", "correct", *asked(), "-o", "new.safetensors"))
    other = fails("verify", made["certificate"], "--bundle", "bundle", "--model", "bundle/model.safetensors")
    assert other.exit_code == 4
    assert "is not the corrected model" in other.output


def test_people_with_series_and_people_without_are_corrected_together_and_an_outsider_without_torch_verifies(
    tmp_path, monkeypatch
):
    """By the command line alone; a bit of the served file tells."""
    solo, informed = uk.Solo(degree=3, units=["ann"], keep_weights=True), uk.Informed(4, degree=2, leading=3)
    prepare(tmp_path, small_recipe(), solo=solo, informed=informed, is_audited=False)
    monkeypatch.chdir(tmp_path / "office")
    ids = [request.id for request in uk.Workspace.find().receive(["ann", "dan"])]
    made = json.loads(run("--json", "correct", *ids, "-o", "new.safetensors"))
    assert "Of 1 unit the series along each alone, degrees 1 to 3." in made["explanation"]
    assert "Of 1 unit the first order, exact along 4 informed directions" in made["explanation"]
    assert "Of 2 units together degree 2 on the span of 3 informed directions" in made["explanation"]
    raw = Path("new.safetensors").read_bytes()
    Path("other.safetensors").write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
    code = "import sys; sys.modules['torch'] = None; from unlearnkit.cli.main import main; main(sys.argv[1:])"
    ask = [sys.executable, "-c", code, "verify", made["certificate"], "--bundle", "bundle", "--model"]
    found = [
        subprocess.run([*ask, name], capture_output=True, text=True, check=False)
        for name in ("new.safetensors", "other.safetensors")
    ]
    assert [run.returncode for run in found] == [0, 4], found[0].stderr
    assert "weights: made again from the bundle without 2 people, byte for byte" in found[0].stdout
    assert "is not the corrected model" in found[1].stderr


def test_weights_for_torch_and_for_hugging_face_are_verified_as_they_are(office):
    Path("served").mkdir()
    shutil.copy("bundle/model.safetensors", "served")
    Path("served/config.json").write_text("{}")
    first, second = asked()
    for name, out, more in ((first, "new.pt", ()), (second, "new", ("--like", "served"))):
        lines = run("correct", name, "-o", out, *more).splitlines()
        told = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
        assert told["sha256"].endswith(", of the same as safetensors")
        said = run("verify", told["certificate"], "--bundle", "bundle", "--model", out)
        assert f"ok    model in use: {out} has the very 4 tensors of the corrected model" in said
        other = fails("verify", told["certificate"], "--bundle", "bundle", "--model", "served")
        assert (other.exit_code, "is not the corrected model" in other.output) == (4, True)
    assert Path("new/config.json").read_text() == "{}"


def test_requests_or_all_open_ones_but_not_both(office):
    for given in ((), (*asked(), "--open")):
        refused = fails("correct", *given, "-o", "new.safetensors")
        assert (refused.exit_code, "give requests, or --open" in refused.output) == (2, True)
    assert not Path("new.safetensors").exists()


def test_where_two_have_to_sign_one_corrects_nothing(office):
    (office.parent / "policy.toml").write_bytes(policy().replace(b"threshold = 1 ", b"threshold = 2 "))
    name = uk.Workspace.find().receive(["bob"])[0].id
    run("keys", "new", "mine.pem")
    trust, pem = Path("trust.toml"), Path("mine.pub.pem").read_text()
    officer = f'\n[[signer]]\nname = "second"\nroles = ["certificate-signer"]\npublic_key = """\n{pem}"""\n'
    trust.write_text(trust.read_text() + officer)
    begun = json.loads(run("--json", "correct", name, "-o", "new.safetensors"))
    assert (begun["missing_signatures"], begun["entry"]) == (1, None)
    refused = fails("release", "add", begun["certificate"], "--name", "small", "--version", "1.1")
    assert "the log records no correction certificate" in refused.output
    assert "its policy asks for 2" in fails("verify", begun["certificate"], "--bundle", "bundle").output
    sign = ("certify", "--countersign", begun["certificate"], "--key", "mine.pem")
    done = json.loads(run("--json", *sign))
    assert (done["missing_signatures"], done["model"]) == (0, begun["sha256"])
    run("verify", begun["certificate"], "--bundle", "bundle", "--model", "new.safetensors")
