"""``unlearnkit sketch --key``: who signs a bundle, and what is said when nobody does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from unlearnkit.bundle import Bundle
from unlearnkit.errors import SignatureError
from unlearnkit.signing.keys import read_public_key

RECIPE = """
import torch
import unlearnkit as uk

torch.manual_seed(0)
x, y = torch.randn(6, 3), torch.randint(2, (6,))
model = torch.nn.Linear(3, 2)
recipe = uk.Recipe(
    name="tiny", model=model,
    loss=lambda model, b: torch.nn.functional.cross_entropy(model(b[0]), b[1], reduction="none"),
    optimizer=torch.optim.SGD(model.parameters(), lr=0.1), data=(x, y), units=[f"p{i}" for i in range(6)],
    epochs=1, batch_size=3, probes={"loss": lambda m: torch.nn.functional.cross_entropy(m(x), y)},
)
"""
SKETCH = ("sketch", "tiny.py:recipe", "-o", "bundle", "--directions", "2", "--seed", "1")


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, env={"PHRASE": "correct horse battery staple"})
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "tiny.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_key_and_a_workspace_the_bundle_is_loudly_unsigned():
    result = run(*SKETCH)
    assert "UNSIGNED" in result.stderr
    assert "UNVERIFIED" in result.stdout
    assert not Path("bundle/model.sig").exists()
    run("keys", "new", "lab.pem")
    with pytest.raises(SignatureError, match="is not signed"):
        Bundle.open("bundle", trust=[read_public_key(Path("lab.pub.pem"))])


def test_a_key_signs_it_for_whoever_trusts_that_key():
    run("keys", "new", "lab.pem", "--passphrase-env", "PHRASE")
    result = run(*SKETCH, "--key", "lab.pem", "--passphrase-env", "PHRASE")
    assert "UNSIGNED" not in result.stderr
    public = read_public_key(Path("lab.pub.pem"))
    assert f"VERIFIED: signed by {public.key_id}" in result.stdout
    assert Bundle.open("bundle", trust=[public]).signers == (public.key_id,)


def test_in_a_workspace_its_key_signs_and_a_given_one_goes_first():
    run("init", ".")
    run(*SKETCH)
    assert json.loads(run("--json", "verify", "bundle").stdout)["verified"] is True
    run("keys", "new", "lab.pem")
    run(*[part.replace("bundle", "other") for part in SKETCH], "--key", "lab.pem")
    lab = read_public_key(Path("lab.pub.pem"))
    assert Bundle.open("other", trust=[lab]).signers == (lab.key_id,)
    assert "too few trusted signatures" in run("verify", "other", code=4).stderr


def test_an_unsigned_bundle_is_signed_by_sketching_again():
    run(*SKETCH)
    before = Path("bundle/manifest.json").read_bytes()
    run("keys", "new", "lab.pem")
    run(*SKETCH, "--key", "lab.pem")
    assert Path("bundle/manifest.json").read_bytes() == before
    run("verify", "bundle", "--trust", "lab.pub.pem")


def test_a_log_key_is_refused_before_any_training():
    run("keys", "new", "log.pem", "--log")
    result = run(*SKETCH, "--key", "log.pem", code=2)
    assert "is an Ed25519 key, for logs; here one signs with P-256" in result.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["log.pem", "log.pub.pem", "tiny.py"]


def test_a_wrong_passphrase_is_refused_before_any_training():
    run("keys", "new", "lab.pem", "--passphrase-env", "PHRASE")
    run(*SKETCH, "--key", "lab.pem", code=4)
    assert not Path("bundle").exists()
