"""``unlearnkit verify``: what each path is, which checks are done in which order, and with which exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from tests.bundle.small import KEY, UNITS, small
from tests.verifier.issuance import Issuer, issuer
from unlearnkit.bundle import Bundle, write_bundle
from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.evidence import Audit, sign_evidence
from unlearnkit.verifier.plan import UnitDeletions, draw_deletions

FORMAT, VERIFICATION = 3, 4


def attempt(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def verified(*arguments: object, code: int = 0) -> list[dict]:
    """What ``--json verify`` says of each path."""
    result = attempt("--json", "verify", *arguments)
    assert result.exit_code == code, result.output
    record = json.loads(result.stdout)
    assert record["schema"] == "unlearnkit/verification/v1"
    assert record["verified"] is (code == 0)
    assert all(item["verified"] for item in record["paths"]) is record["verified"]
    return record["paths"]


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Issuer:
    """A folder with one of each: names tell nothing."""
    folder = tmp_path_factory.mktemp("office")
    made = issuer(folder)
    issued = made.issue(made.request())
    publish_checkpoint(made.log, made.log_key)
    (folder / "signer").write_bytes(made.signer.public.pem)
    (folder / "key").write_text(made.log_key.public.vkey + "\n")
    (folder / "c").write_bytes(issued.raw)
    (folder / "p").write_bytes(prove_entry(folder / "log", issued.entry.index, log=made.log_key.public))
    (folder / "k").write_bytes((folder / "log" / "checkpoint").read_bytes())
    (folder / "e").write_bytes(_evidence(made))
    return made


def _evidence(office: Issuer) -> bytes:
    (office.folder / "again").mkdir()
    polynomial = small(office.folder / "again", weights=False).polynomial
    sizes, count = UnitDeletions(least=1, most=2), 25
    masks = np.zeros((count, len(UNITS)))
    bundle = Bundle.open(office.folder / "bundle", trust=[office.signer.public], pseudonym_key=KEY)
    for mask, deletion in zip(masks, draw_deletions(bundle, sizes, count), strict=True):
        mask[list(deletion)] = 1
    margins = polynomial.base + polynomial.change(masks)
    return sign_evidence(Audit.of(bundle, sizes, {"margins": margins, "test_loss": margins[:, 0]}), [office.signer])


@pytest.fixture
def folder(office, tmp_path, monkeypatch) -> Path:
    """A copy to spoil, outside any workspace."""
    copy = shutil.copytree(office.folder, tmp_path / "copy")
    monkeypatch.chdir(copy)
    return Path(copy)


BESIDE = ("--bundle", "bundle", "--log", "log", "--trust", "signer", "--trust", "key")
CHECKS = {
    "bundle": ("bundle", ["signature", "files", "directions", "numbers"]),
    "log": ("log", ["checkpoint", "chain", "requests", "times"]),
    "k": ("checkpoint", ["checkpoint"]),
    "p": ("proof", ["checkpoint", "inclusion"]),
    "e": ("evidence", ["signature", "bundle", "draws"]),
}


@pytest.mark.parametrize("path", CHECKS)
def test_what_a_path_is_is_told_by_its_content_and_every_check_is_listed_in_order(folder, path):
    kind, names = CHECKS[path]
    (item,) = verified(path, *BESIDE)
    assert (item["path"], item["kind"]) == (path, kind)
    assert [check["name"] for check in item["checks"]] == names
    assert all(check["passed"] and check["detail"] for check in item["checks"])


def test_of_a_certificate_everything_is_recomputed(folder):
    (item,) = verified("c", *BESIDE)
    names = [check["name"] for check in item["checks"]]
    assert (item["kind"], names[0], names[-2:]) == ("certificate", "signature", ["numbers", "decision"])


def test_several_paths_are_told_apart_in_one_call(folder):
    items = verified(*CHECKS, "c", *BESIDE)
    assert [item["kind"] for item in items] == [kind for kind, _ in CHECKS.values()] + ["certificate"]
    text = attempt("verify", "bundle", "log", *BESIDE).stdout
    assert "VERIFIED: bundle bundle" in text
    assert "VERIFIED: log log" in text
    assert "NOT VERIFIED" not in text


def test_one_bad_path_fails_the_call_and_the_others_are_still_reported(folder):
    _flip_last(folder / "bundle" / "model.safetensors")
    bundle, checkpoint = verified("bundle", "k", *BESIDE, code=VERIFICATION)
    assert checkpoint["verified"]
    assert bundle["kind"] == "bundle"
    assert [(check["name"], check["passed"]) for check in bundle["checks"]] == [("DigestMismatchError", False)]
    text = attempt("verify", "bundle", "k", *BESIDE)
    assert "NOT VERIFIED: bundle bundle" in text.stdout
    assert "FAIL  DigestMismatchError: model.safetensors" in text.stdout
    assert "unlearnkit: error: model.safetensors" in text.stderr


def _flip_last(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.unlink()
    file.write_bytes(raw)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda f: (f / "bundle" / "model.sig").unlink(), VERIFICATION),
        (lambda f: (f / "bundle" / "manifest.json").unlink(), FORMAT),
        (lambda f: (f / "bundle" / "manifest.json").rename(f / "bundle" / "Manifest.json"), FORMAT),
        (lambda f: (f / "bundle" / "extra").touch(), FORMAT),
        (lambda f: (f / "bundle" / "model.sig").write_bytes(b"{}"), FORMAT),
        (lambda f: (f / "signer").write_bytes(PrivateKey.generate(Algorithm.P256).public.pem), VERIFICATION),
        (lambda f: (f / "bundle" / "units.json").write_bytes(b"[]"), VERIFICATION),
    ],
    ids=["no signature", "no manifest", "renamed", "extra", "other signature", "stranger", "other units"],
)
def test_malformed_is_3_and_false_is_4(folder, spoil, code):
    spoil(folder)
    result = attempt("--json", "verify", "bundle", *BESIDE)
    assert result.exit_code == code, result.output
    assert json.loads(result.stdout)["verified"] is False


@pytest.mark.parametrize("name", ["k", "p", "c", "e"])
def test_a_flipped_bit_of_a_file_never_verifies(folder, name):
    raw = (folder / name).read_bytes()
    for at in range(0, len(raw), 1 + len(raw) // 24):
        (folder / name).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        assert attempt("verify", name, *BESIDE).exit_code in (1, FORMAT, VERIFICATION)  # 1: of a log that is unknown


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"\xff\x00", b"{", b'{"payload":"","payloadType":"","signatures":[]}']
)
def test_anything_else_is_malformed(folder, raw):
    (folder / "other").write_bytes(raw)
    (item,) = verified("other", *BESIDE, code=FORMAT)
    assert item["kind"] == "unknown"
    (folder / "empty").mkdir()
    (item,) = verified("empty", *BESIDE, code=FORMAT)
    assert item["kind"] == "unknown"


def test_without_a_trusted_key_nothing_is_verified(folder):
    result = attempt("verify", "bundle")
    assert (result.exit_code, result.stdout) == (VERIFICATION, "")
    assert "no key is trusted" in result.stderr


def test_a_log_key_is_no_sketch_signer(folder):
    (item,) = verified("bundle", "--trust", "key", code=VERIFICATION)
    assert "no key is trusted" in item["checks"][0]["detail"]


def test_a_role_counts_for_itself_only(folder, office):
    """A trust store that lets the key sign certificates does not let it sign bundles."""
    pem = office.signer.public.pem.decode()
    for role, code in (("certificate-signer", VERIFICATION), ("sketch-signer", 0)):
        (folder / "trust.toml").write_text(
            f'schema = "unlearnkit/trust/v1"\n[[signer]]\nname = "x"\nroles = ["{role}"]\npublic_key = """\n{pem}"""\n'
        )
        assert attempt("verify", "bundle", "--trust", "trust.toml").exit_code == code


@pytest.mark.parametrize(("path", "option"), [("c", "--bundle"), ("e", "--bundle"), ("p", "--log")])
def test_what_a_file_is_about_has_to_be_there(folder, path, option):
    result = attempt("verify", path, "--trust", "signer", "--trust", "key")
    assert result.exit_code == 1
    assert option in result.stderr


def test_v_says_what_is_trusted_each_check_and_how_long_it_takes(folder):
    plain, talking = attempt("verify", "c", *BESIDE), attempt("-v", "verify", "c", *BESIDE)
    assert (talking.exit_code, talking.stdout) == (0, plain.stdout)
    assert plain.stderr == ""
    lines = talking.stderr.splitlines()
    assert "compliance.policy.trusted: trusted: 1 signers, 1 logs, 0 of 0 witnesses; from signer, key" in lines
    for name in ("signature", "bundle", "log", "numbers", "decision"):
        assert any(line.startswith(f"verifier.checks: c: {name}: ") and line.endswith(" s)") for line in lines), name
    assert any(line.startswith("compliance.view: log log: 4 entries, read in ") for line in lines)
    assert attempt("-q", "verify", "c", *BESIDE).stderr == ""  # and nobody listens any more


def test_what_was_not_checked_is_printed_too(folder):
    (item,) = verified("c", *BESIDE)
    assert any("training again" in line for line in item["unchecked"])
    text = attempt("verify", "c", *BESIDE).stdout
    assert all(f"  not checked: {line}" in text for line in item["unchecked"])


SCRIPT = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tqdm", "sklearn", "jinja2"):
            raise AssertionError(f"{name} was imported")

sys.meta_path.insert(0, NoTorch())
from unlearnkit.cli.main import main
main(sys.argv[1:], standalone_mode=False)
assert "torch" not in sys.modules
"""


def test_verifying_never_imports_torch(folder):
    command = [sys.executable, "-c", SCRIPT, "verify", *CHECKS, "c", *BESIDE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("VERIFIED:") == len(CHECKS) + 1


def test_chosen_directions_are_named_as_such(tmp_path, office, monkeypatch):
    """They open, because they may be tests, but the check says what they are not good for."""
    contents = small(tmp_path, explicit=True, weights=False)
    write_bundle(tmp_path / "chosen", manifest=contents.manifest, signer=office.signer, **contents.contents)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signer").write_bytes(office.signer.public.pem)
    (item,) = verified("chosen", "--trust", "signer")
    assert "no certificate can rest on them" in {c["name"]: c["detail"] for c in item["checks"]}["directions"]
