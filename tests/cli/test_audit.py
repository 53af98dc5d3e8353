"""``unlearnkit audit``: both audits on the command line, what they print, and the exit codes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main
from unlearnkit.cli.trust import UNVERIFIED

import unlearnkit as uk
from tests.bundle.small import rewrite
from unlearnkit.bundle import Bundle, sign_bundle
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.office.workspace import Workspace
from unlearnkit.records import to_json
from unlearnkit.signing.keys import Algorithm, PrivateKey, read_private_key, write_private_key, write_public_key
from unlearnkit.verifier.evidence import sign_evidence, verify_evidence
from unlearnkit.verifier.plan import UnitDeletions, draw_deletions
from unlearnkit.verifier.replayed import directions_from_seed, verify_signed_replay

RECIPE = """
import torch
import unlearnkit as uk

torch.manual_seed(0)
x, y = torch.randn(12, 3), torch.randint(2, (12,))
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))
def make(lr):
    return uk.Recipe(
        name="tiny", model=model,
        loss=lambda model, b: torch.nn.functional.cross_entropy(model(b[0]), b[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=lr), data=(x, y), units=[f"p{i % 6}" for i in range(12)],
        epochs=1, batch_size=4,
        probes={"loss": lambda m: torch.nn.functional.cross_entropy(m(x), y), "logits": lambda m: m(x[:5])},
    )
recipe, other = make(0.1), make(0.2)
"""
COEFFICIENTS = "probes/loss.safetensors"


def run(*arguments: object, **settings: object):
    return CliRunner().invoke(main, [str(a) for a in arguments], **settings)


def document(*arguments: object) -> dict:
    """The one JSON document that a command prints."""
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A recipe, a signed bundle, and the keys: of its signer, and of an auditor."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "tiny.py").write_text(RECIPE)
    for name in ("signer", "auditor"):
        key = PrivateKey.generate(Algorithm.P256)
        write_private_key(folder / f"{name}.pem", key)
        write_public_key(folder / f"{name}.pub.pem", key.public)
    document("sketch", folder / "tiny.py:recipe", "-o", folder / "bundle", "--directions", 4, "--seed", 1)
    sign(folder / "bundle", folder)
    return folder


def sign(path: Path, folder: Path) -> None:
    (path / "model.sig").unlink(missing_ok=True)
    sign_bundle(path, read_private_key(folder / "signer.pem"))


@pytest.fixture
def altered(folder, tmp_path) -> Path:
    """A dishonest signer's: direction 2 has another coefficient than the recipe gives."""
    path = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    tensors = {
        name: array.copy() for name, array in parse_tensors((path / COEFFICIENTS).read_bytes(), where="x").items()
    }
    tensors["coefficients"][2, 1, 0, ...] += 0.01 * np.abs(tensors["coefficients"][:, 1]).max()
    rewrite(path, COEFFICIENTS, tensor_bytes(tensors))
    sign(path, folder)
    return path


def replay(folder: Path, *options: object, bundle: Path | None = None, recipe: str = "recipe") -> tuple[object, ...]:
    return ("audit", "replay", bundle or folder / "bundle", folder / f"tiny.py:{recipe}", *options)


def trusting(folder: Path, name: str = "signer") -> tuple[object, ...]:
    return ("--trust", folder / f"{name}.pub.pem")


def test_an_honest_bundle_holds_what_its_recipe_gives(folder):
    record = document(*replay(folder, "--indices", "3,1", *trusting(folder)))
    bundle = Bundle.open(folder / "bundle")
    assert record["schema"] == "unlearnkit/replay/v1"
    assert record["bundle"] == bundle.digest
    assert record["agrees"] is record["names_units"] is True
    assert record["directions"] == [1, 3]
    assert (record["seed"], record["dtype"], record["numeric_error"]) == (None, "float32", None)
    assert len(record["signers"]) == 1
    assert {row["kind"] for row in record["comparisons"]} == {"model", "base", "coefficients"}
    assert all(row["difference"] <= record["tolerance"] * row["scale"] for row in record["comparisons"])


def test_a_replay_tells_people_the_same(folder):
    result = run(*replay(folder, "--indices", "0", *trusting(folder)))
    assert result.exit_code == 0
    assert "same  probe 'loss', degree 2" in result.stdout
    assert result.stdout.endswith("the bundle holds what its recipe gives\n")
    assert UNVERIFIED not in result.stderr


def test_the_seed_decides_and_is_shown(folder):
    bundle = Bundle.open(folder / "bundle")
    given = document(*replay(folder, "--seed", "heads", "--directions", 2))
    assert given["directions"] == list(directions_from_seed(bundle, "heads", 2))
    fresh = document(*replay(folder, "--directions", 2))
    assert fresh["directions"] == list(directions_from_seed(bundle, fresh["seed"], 2))
    assert len(fresh["seed"]) == 32


def test_float64_tells_the_rounding_error(folder):
    record = document(*replay(folder, "--indices", "0,1", "--dtype", "float64"))
    assert record["dtype"] == "float64"
    assert {name: len(errors) for name, errors in record["numeric_error"].items()} == {"logits": 3, "loss": 3}
    assert all(0 < error < 1e-6 for errors in record["numeric_error"].values() for error in errors)
    assert "rounding of loss: base" in run(*replay(folder, "--indices", "0", "--dtype", "float64")).stdout


def test_a_signed_report_tells_claims_what_rounding_does_to_them(folder, altered, tmp_path):
    key, path = ("--key", folder / "signer.pem"), tmp_path / "replay.json"
    record = document(*replay(folder, "--seed", "heads", "--directions", 2, "-o", path, *key))
    assert (record["dtype"], record["path"]) == ("float64", str(path))
    bundle, public = Bundle.open(folder / "bundle"), read_private_key(folder / "signer.pem").public
    found = verify_signed_replay(path.read_bytes(), where="replay.json", keys=[public], bundle=bundle)
    assert found.report.seed == "heads"
    assert found.report.directions == directions_from_seed(bundle, "heads", 2)
    for name, errors in record["numeric_error"].items():
        differences = found.differences(name)
        assert [differences.base.max(), *differences.coefficients.max(1)] == pytest.approx(errors, rel=1e-12)
    assert "exists already" in run(*replay(folder, "-o", path, *key)).stderr
    for options in (("--dtype", "float32"), ("--indices", "0")):
        assert (
            "of a float64 replay of directions that follow from a seed"
            in run(*replay(folder, *options, "-o", tmp_path / "other.json", *key)).stderr
        )
    wrong = run(*replay(folder, "--directions", 4, "-o", tmp_path / "wrong.json", *key, bundle=altered))
    assert wrong.exit_code == 4
    assert not (tmp_path / "wrong.json").exists()


def test_an_altered_bundle_is_found_and_everything_is_still_printed(folder, altered):
    result = run("--json", *replay(folder, "--indices", "2", *trusting(folder), bundle=altered))
    assert result.exit_code == 4
    record = json.loads(result.stdout)
    assert record["agrees"] is False
    wrong = [row for row in record["comparisons"] if not row["agrees"]]
    assert [(row["kind"], row["name"], row["degree"], row["rows"]) for row in wrong] == [
        ("coefficients", "loss", 2, [2])
    ]
    assert "does not hold what its recipe gives" in result.stderr
    assert wrong[0]["worst"] in result.stderr
    assert "does NOT hold" in run(*replay(folder, "--indices", "2", bundle=altered)).stdout
    assert run(*replay(folder, "--indices", "0,1,3", bundle=altered)).exit_code == 0


def test_without_trust_it_says_so_and_with_the_wrong_one_it_fails(folder):
    assert UNVERIFIED in run(*replay(folder, "--indices", "0")).stderr
    result = run(*replay(folder, "--indices", "0", *trusting(folder, "auditor")))
    assert result.exit_code == 4
    assert result.stdout == ""


def test_another_recipe_is_refused(folder):
    result = run(*replay(folder, recipe="other"))
    assert result.exit_code == 4
    assert "the recipe is not the one of the bundle" in result.stderr


def test_a_bundle_with_gradients_alone_says_what_was_compared(folder, tmp_path):
    make = ("sketch", folder / "tiny.py:recipe", "--directions", 0, "--seed", 1, "--reverse", "loss:0")
    document(*make, "-o", tmp_path / "swept")
    record = document(*replay(folder, bundle=tmp_path / "swept"))
    assert record["directions"] == []
    assert {row["kind"] for row in record["comparisons"]} == {"model", "base", "gradient"}
    assert "only what needs none is compared" in run(*replay(folder, bundle=tmp_path / "swept")).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--indices", "4"), "directions [4]: the bundle has 4, counted from 0"),
        (("--indices", "1,x"), "got '1,x', expected directions counted from 0"),
        (("--indices", "1", "--seed", "a"), "--indices and --seed exclude each other"),
        (("--directions", "0"), "0 is not in the range"),
        (("--device", "tpu9"), "device='tpu9'"),
        (("--dtype", "float16"), "'float16' is not one of"),
    ],
)
def test_bad_options_of_a_replay_are_usage_errors(folder, options, message):
    result = run(*replay(folder, *options))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_malformed_bundle_is_malformed(folder, tmp_path):
    path = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    (path / "manifest.json").write_bytes(b"{}")
    assert run(*replay(folder, bundle=path)).exit_code == 3
    assert run(*replay(folder, bundle=tmp_path / "none")).exit_code == 1


def retrain(folder: Path, out: Path, *options: object, bundle: Path | None = None) -> tuple[object, ...]:
    what = ("audit", "retrain", bundle or folder / "bundle", folder / "tiny.py:recipe", "-o", out)
    return (*what, "--count", 20, *trusting(folder), *options)


def auditor(folder: Path) -> tuple[object, ...]:
    return ("--key", folder / "auditor.pem")


def evidence_of(folder: Path, out: Path):
    keys = [read_private_key(folder / "auditor.pem").public]
    return verify_evidence(out.read_bytes(), where="x", keys=keys, bundle=Bundle.open(folder / "bundle"))


def test_retrainings_become_signed_evidence(folder, tmp_path):
    out, sizes = tmp_path / "audit.json", UnitDeletions(least=1, most=2)
    record = document(*retrain(folder, out, "--size", "1:2", *auditor(folder)))
    bundle, evidence = Bundle.open(folder / "bundle"), evidence_of(folder, out)
    assert record["schema"] == "unlearnkit/retraining-audit/v1"
    assert (record["sha256"], record["bundle"], record["count"]) == (evidence.digest, bundle.digest, 20)
    assert record["distribution"] == to_json(sizes)
    assert record["least_delta"] == pytest.approx(1 / 21)
    assert evidence.audit.deletions == draw_deletions(bundle, sizes, 20)
    truth = evidence.audit.probes["loss"]
    predicted = bundle.probe("loss").predict(evidence.masks()).value
    (loss,) = [probe for probe in record["probes"] if probe["name"] == "loss"]
    assert loss["error"] == pytest.approx(np.sqrt(((truth - predicted) ** 2).mean()))
    assert loss["change"] == pytest.approx(np.sqrt(((truth - bundle.probe("loss").base) ** 2).mean()))
    assert "predict" not in json.dumps(json.loads(out.read_bytes()))


def test_several_processes_and_text(folder, tmp_path):
    result = run(*retrain(folder, tmp_path / "audit.json", "--size", "1", "--workers", 2, *auditor(folder)))
    assert result.exit_code == 0, result.stderr
    assert "sets of 1 unit," in result.stdout
    assert "root mean square" in result.stdout
    assert evidence_of(folder, tmp_path / "audit.json").audit.distribution == UnitDeletions(least=1, most=1)


def test_groups_come_from_a_file_by_name(folder, tmp_path):
    labels = {"p0": "left", "p1": "left", "p2": "right", "p3": "right", "p5": "right"}
    (tmp_path / "groups.json").write_text(json.dumps(labels))
    out = tmp_path / "audit.json"
    options = ("--groups", tmp_path / "groups.json", "--share", "0.5", *auditor(folder))
    record = document(*retrain(folder, out, *options))
    assert record["distribution"] == {"kind": "groups", "groups": [[0, 1], [2, 3, 5]], "share": "0.5"}
    assert {len(deletion) for deletion in evidence_of(folder, out).audit.deletions} == {1, 2}


@pytest.mark.parametrize("text", ["[]", '{"p0": 1}', "{"])
def test_groups_that_are_no_labels_are_malformed(folder, tmp_path, text):
    (tmp_path / "groups.json").write_text(text)
    result = run(*retrain(folder, tmp_path / "audit.json", "--groups", tmp_path / "groups.json", *auditor(folder)))
    assert result.exit_code == 3
    assert "groups.json" in result.stderr


def test_groups_of_people_who_are_not_there_are_an_error(folder, tmp_path):
    (tmp_path / "groups.json").write_text('{"nobody": "left"}')
    result = run(*retrain(folder, tmp_path / "audit.json", "--groups", tmp_path / "groups.json", *auditor(folder)))
    assert result.exit_code == 1
    assert "the bundle has no unit 'nobody'" in result.stderr


def test_a_bundle_that_nobody_vouches_for_is_refused(folder, tmp_path):
    command = retrain(folder, tmp_path / "audit.json", "--size", "1", *auditor(folder))
    untrusted = [part for part in command if part not in trusting(folder)]
    result = run(*untrusted)
    assert result.exit_code == 5
    assert UNVERIFIED in result.stderr
    assert "the bundle has no verified signature" in result.stderr
    unsigned = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    (unsigned / "model.sig").unlink()
    result = run(*retrain(folder, tmp_path / "audit.json", "--size", "1", *auditor(folder), bundle=unsigned))
    assert result.exit_code == 4
    assert "is not signed" in result.stderr


def test_too_few_retrainings_are_refused_with_the_number_that_would_do(folder, tmp_path):
    out = tmp_path / "audit.json"
    result = run(*retrain(folder, out, "--size", "1", "--delta", "0.01", *auditor(folder)))
    assert result.exit_code == 1
    assert "20 retrainings carry no bound at delta=0.01" in result.stderr
    assert "hint: audit at least 99 deletions" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "-o, --key and --count are of experiments: state --size or --groups"),
        (("--size", "1", "--groups", __file__), "either --size or --groups"),
        (("--size", "2:1"), "sizes from 2 to 1: expected 1 <= least <= most"),
        (("--size", "1:9"), "deletions of up to 9 units: there are 6"),
        (("--size", "one"), "got 'one', expected numbers of units"),
        (("--size", "1", "--share", "0.5"), "--share is of a group: it goes with --groups"),
        (("--size", "1", "--delta", "2"), "expected a probability between 0 and 1"),
        (("--size", "1", "--workers", "0"), "0 is not in the range"),
    ],
)
def test_bad_options_of_an_audit_are_usage_errors(folder, tmp_path, options, message):
    result = run(*retrain(folder, tmp_path / "audit.json", *options, *auditor(folder)))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(folder, tmp_path):
    (tmp_path / "audit.json").write_text("precious")
    result = run(*retrain(folder, tmp_path / "audit.json", "--size", "1", *auditor(folder)))
    assert result.exit_code == 1
    assert "audit.json exists already" in result.stderr
    assert (tmp_path / "audit.json").read_text() == "precious"


def test_outside_a_workspace_a_key_must_be_named(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*retrain(folder, tmp_path / "audit.json", "--size", "1"))
    assert result.exit_code == 1
    assert "no workspace at" in result.stderr


def test_in_a_workspace_its_key_signs_and_its_trust_store_decides(folder, tmp_path, monkeypatch):
    """The key is encrypted; the passphrase comes from the environment, and goes nowhere."""
    office = tmp_path / "office"
    monkeypatch.setenv("OFFICE", "correct horse")
    document("init", office, "--passphrase-env", "OFFICE")
    monkeypatch.chdir(office)
    key = Workspace.find().signer_key(b"correct horse")
    path = shutil.copytree(folder / "bundle", office / "bundle")
    (path / "model.sig").unlink()
    sign_bundle(path, key)
    command = ("audit", "retrain", path, folder / "tiny.py:recipe", "-o", "audit.json", "--size", "1", "--count", 19)
    locked = run(*command)
    assert locked.exit_code != 0
    record = document(*command, "--passphrase-env", "OFFICE")
    assert record["signers"] == [key.public.key_id]
    opened = uk.Bundle.open(path, trust=[key.public])
    verify_evidence(Path("audit.json").read_bytes(), where="x", keys=[key.public], bundle=opened)
    replayed = document(*replay(folder, "--indices", "0", bundle=path))
    assert replayed["signers"] == [key.public.key_id]
    assert replayed["names_units"] is False  # the bundle was made elsewhere, under another pseudonym key
    assert not any(b"correct horse" in file.read_bytes() for file in office.rglob("*") if file.is_file())


def spot_check(folder: Path, evidence: Path, *options: object, recipe: str = "recipe") -> tuple[object, ...]:
    what = ("audit", "spot-check", folder / "bundle", folder / f"tiny.py:{recipe}", evidence)
    return (*what, *trusting(folder), *trusting(folder, "auditor"), *options)


def test_a_spot_check_retrains_some_draws_again_and_says_whether_they_are_so(folder, tmp_path):
    out = tmp_path / "audit.json"
    document(*retrain(folder, out, "--size", "1:2", *auditor(folder)))
    record = document(*spot_check(folder, out, "--draws", 1, "--seed", "heads"))
    assert (record["schema"], record["agrees"], record["seed"]) == ("unlearnkit/spot-check/v1", True, "heads")
    audit = evidence_of(folder, out).audit
    made_up = replace(audit, probes={**audit.probes, "loss": audit.probes["loss"] + 0.01})
    out.write_bytes(sign_evidence(made_up, [read_private_key(folder / "auditor.pem")]))
    result = run(*spot_check(folder, out, "--draws", 1))
    assert result.exit_code == 4
    assert "DIFFERENT" in result.stdout
    assert "the evidence does NOT hold what retraining gives" in result.stdout
    assert "does not hold what retraining gives" in result.stderr
