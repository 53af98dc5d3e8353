"""The commands around a bundle: check, sketch, info, predict; and what goes wrong with them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

RECIPE = """
import torch
import unlearnkit as uk

torch.manual_seed(0)
x, y = torch.randn(12, 3), torch.randint(2, (12,))

def make(activation):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), activation, torch.nn.Linear(4, 2))
    return uk.Recipe(
        name="tiny", model=model,
        loss=lambda model, b: torch.nn.functional.cross_entropy(model(b[0]), b[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), data=(x, y), units=[f"p{i % 6}" for i in range(12)],
        epochs=1, batch_size=4,
        probes={"loss": lambda m: torch.nn.functional.cross_entropy(m(x), y), "logits": lambda m: m(x[:5])},
    )

recipe = make(torch.nn.GELU())
kinked = make(torch.nn.ReLU())
nothing = 3
"""


def run(*arguments: object, stdin: str | None = None):
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def document(*arguments: object, stdin: str | None = None) -> dict:
    """The one JSON document that a command prints."""
    result = run("--json", *arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    parsed = json.loads(result.stdout)
    assert parsed["schema"].startswith("unlearnkit/")
    return parsed


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.py").write_text(RECIPE)
    result = run("sketch", folder / "tiny.py:recipe", "-o", folder / "bundle", "--directions", 4, "--seed", 1)
    assert result.exit_code == 0, result.stderr
    assert "UNVERIFIED" in result.stdout
    assert "pseudonym.key" in result.stderr
    return folder


def test_sketching_again_finds_the_bundle_and_other_settings_are_refused(folder):
    again = ("sketch", folder / "tiny.py:recipe", "-o", folder / "bundle", "--directions", 4)
    assert document(*again, "--seed", 1)["directions"] == {"kind": "random", "count": 4}
    refused = run(*again, "--seed", 2)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "unlearnkit: error:" in refused.stderr
    assert "another bundle" in refused.stderr


def test_info_says_what_the_bundle_holds_and_that_it_is_unverified(folder):
    record = document("info", folder / "bundle")
    assert record["verified"] is False
    assert (record["units"], record["degree"], record["dtype"]) == (6, 2, "float32")
    assert record["probes"] == {"logits": [5, 2], "loss": []}
    text = run("info", folder / "bundle").stdout
    assert "no signature was checked" in text
    assert record["digest"] in text


def test_predict_prints_the_same_record_as_text_and_as_json(folder):
    record = document("predict", folder / "bundle", "--probe", "loss", "--delete", "p1", "--delete", "p2")
    assert record["value"] == pytest.approx(record["base"] + record["change"])
    assert [term["degree"] for term in record["terms"]] == [1, 2]
    text = run("predict", folder / "bundle", "--probe", "loss", "--delete", "p1", "--delete", "p2")
    assert f"{record['value']:.6g}" in text.stdout
    assert "asymptotic" in text.stdout
    assert "UNVERIFIED" in text.stderr


def test_reverse_sweeps_are_asked_for_by_probe(folder):
    make = ("sketch", folder / "tiny.py:recipe", "-o", folder / "swept", "--directions", 1, "--reverse", "logits:6:2")
    assert document(*make, "--reverse", "loss:0")["reverse"] == {
        "logits": {"rank": 6, "residual": 2, "cubic": 0},
        "loss": {"rank": 0, "residual": 0, "cubic": 0},
    }
    assert "logits (rank 6)" in run("info", folder / "swept").stdout
    record = document("predict", folder / "swept", "--probe", "logits", "--delete", "p1")
    assert record["terms"][1]["method"] == "6 eigenpairs, by reverse sweeps"


def test_units_come_from_a_file_or_standard_input(folder):
    named = document("predict", folder / "bundle", "--probe", "loss", "--delete", "p1", "--delete", "p2")
    piped = document("predict", folder / "bundle", "--probe", "loss", "--delete-file", "-", stdin="p1\n\np2\n")
    (folder / "units.txt").write_text("p1\np2\n")
    filed = document("predict", folder / "bundle", "--probe", "loss", "--delete-file", folder / "units.txt")
    assert named == piped == filed


def test_predict_takes_weight_and_degree(folder):
    ask = ("predict", folder / "bundle", "--probe", "logits", "--delete", "p1", "--degree", 1)
    full, half = document(*ask), document(*ask, "--weight", 0.5)
    assert half["change"][0][0] == pytest.approx(full["change"][0][0] / 2)
    assert "mean" in run(*ask).stdout  # ten numbers are summed up for people


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "{bundle}", "--probe", "loss"], 2, "at least one unit"),
        (["predict", "{bundle}", "--probe", "loss", "--delete", "p1", "--degree", "3"], 2, "degree=3"),
        (["predict", "{bundle}", "--probe", "loss", "--delete", "p1", "--weight", "2"], 2, "range"),
        (["predict", "{bundle}", "--probe", "other", "--delete", "p1"], 1, "it has: logits, loss"),
        (["predict", "{bundle}", "--probe", "loss", "--delete", "nobody"], 1, "no unit 'nobody'"),
        (["info", "{folder}/nowhere"], 1, "nowhere"),
        (["sketch", "{folder}/tiny.py", "-o", "{folder}/x"], 2, "FILE.py:NAME"),
        (["sketch", "{folder}/absent.py:recipe", "-o", "{folder}/x"], 2, "no such file"),
        (["sketch", "{folder}/tiny.py:missing", "-o", "{folder}/x"], 2, "its recipes: kinked, recipe"),
        (["sketch", "{folder}/tiny.py:nothing", "-o", "{folder}/x"], 2, "got int"),
        (["sketch", "{folder}/tiny.py:kinked", "-o", "{folder}/x", "--directions", "2"], 1, "aten.relu"),
        (["sketch", "{folder}/tiny.py:recipe", "-o", "{folder}/x", "--chunk", "many"], 2, "whole number or 'auto'"),
        (["sketch", "{folder}/tiny.py:recipe", "-o", "{folder}/x", "--chunk", "0"], 2, "whole number or 'auto'"),
        (["sketch", "{folder}/tiny.py:recipe", "-o", "{folder}/x", "--device", "nosuch"], 2, "device='nosuch'"),
        (["sketch", "{folder}/tiny.py:recipe", "-o", "{folder}/x", "--reverse", "loss:a"], 2, "margins:64:32"),
        (["sketch", "{folder}/tiny.py:recipe", "-o", "{folder}/x", "--reverse", "other"], 1, "no probe 'other'"),
        (["-q", "-v", "info", "{bundle}"], 2, "exclude each other"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_failures_have_their_code_and_say_why(folder, arguments, code, message):
    filled = [a.format(folder=folder, bundle=folder / "bundle") for a in arguments]
    result = run(*filled)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""


def test_altered_malformed_and_nameless_bundles_have_codes_of_their_own(folder, tmp_path):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder / "bundle", tmp_path / name / "bundle"))

    altered = copy("altered")
    probe = altered / "probes" / "loss.safetensors"
    probe.write_bytes(probe.read_bytes()[:-1] + b"?")
    assert run("info", altered).exit_code == 4
    malformed = copy("malformed")
    (malformed / "manifest.json").write_text("{}")
    assert run("info", malformed).exit_code == 3
    without_key = run("predict", copy("nameless"), "--probe", "loss", "--delete", "p1")
    assert without_key.exit_code == 5
    assert "unlearnkit: hint:" in without_key.stderr


def test_check_lists_operations_with_their_replacement(folder):
    fine = run("check", folder / "tiny.py:recipe")
    assert fine.exit_code == 0
    assert "can be sketched" in fine.stdout
    kinked = run("--json", "check", folder / "tiny.py:kinked")
    assert kinked.exit_code == 1
    problem = json.loads(kinked.stdout)["problems"][0]
    assert problem["operation"] == "aten.relu"
    assert "GELU" in problem["hint"]
    assert "aten.relu" in run("check", folder / "tiny.py:kinked").stdout


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocker())
from unlearnkit.cli.main import main
main({arguments!r})
"""


def without(blocked: list[str], *arguments: object):
    code = BLOCKED.format(blocked=blocked, arguments=[str(a) for a in arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_reading_a_bundle_needs_no_torch(folder):
    shown = without(["torch"], "info", folder / "bundle")
    assert shown.returncode == 0, shown.stderr
    predicted = without(["torch"], "predict", folder / "bundle", "--probe", "loss", "--delete", "p1")
    assert predicted.returncode == 0, predicted.stderr


@pytest.mark.parametrize(("missing", "extra"), [("torch", "train"), ("sklearn", "demo")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(missing, extra):
    result = without([missing], "demo")
    assert result.returncode == 1
    assert f'pip install "unlearnkit[{extra}]"' in result.stderr
