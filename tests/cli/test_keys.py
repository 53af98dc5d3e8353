"""``unlearnkit keys``: what is made, for whom, and what is never shown."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from tests import needs
from unlearnkit.signing.keys import Algorithm, is_encrypted, read_private_key, read_public_key

PASSPHRASE = "correct horse battery staple"


def attempt(*arguments: object, text: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=text)


def document(*arguments: object, text: str | None = None) -> dict:
    result = attempt("--json", *arguments, text=text)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "algorithm"), [([], Algorithm.P256), (["--log"], Algorithm.ED25519)], ids=["signer", "log"]
)
def test_a_new_key_is_private_and_its_public_half_lies_beside_it(folder, options, algorithm):
    record = document("keys", "new", "lab.pem", *options)
    private, public = read_private_key(folder / "lab.pem"), read_public_key(folder / "lab.pub.pem")
    assert stat.S_IMODE((folder / "lab.pem").stat().st_mode) == 0o600
    assert private.public == public
    assert record == {
        "schema": "unlearnkit/key/v1",
        "path": "lab.pub.pem",
        "algorithm": algorithm.value,
        "key_id": hashlib.sha256((folder / "lab.pub.pem").read_bytes()).hexdigest(),
        "public_key": public.pem.decode(),
    }


@needs.program("sha256sum")
def test_the_key_id_is_what_sha256sum_prints_of_the_public_file(folder):
    made = document("keys", "new", "lab.pem")
    printed = subprocess.run(["sha256sum", "lab.pub.pem"], capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == made["key_id"]


@needs.program("openssl")
def test_openssl_reads_both_halves(folder):
    document("keys", "new", "lab.pem")
    printed = subprocess.run(["openssl", "pkey", "-in", "lab.pem", "-pubout"], capture_output=True, check=True).stdout
    assert printed == (folder / "lab.pub.pem").read_bytes()


def test_either_half_shows_the_same(folder):
    made = document("keys", "new", "lab.pem")
    of_private, of_public = document("keys", "show", "lab.pem"), document("keys", "show", "lab.pub.pem")
    assert of_private == {**made, "path": "lab.pem"}
    assert of_public == made
    shown = attempt("keys", "show", "lab.pem").stdout
    assert "-----BEGIN PUBLIC KEY-----" in shown
    assert "PRIVATE" not in shown


def test_a_passphrase_encrypts_it_wherever_that_comes_from(folder, monkeypatch):
    (folder / "secret").write_text(PASSPHRASE + "\n")
    (folder / "secret").chmod(0o600)
    monkeypatch.setenv("LAB_PASSPHRASE", PASSPHRASE)
    sources = {
        "asked": (["--passphrase"], f"{PASSPHRASE}\n{PASSPHRASE}\n"),
        "file": (["--passphrase-file", "secret"], None),
        "variable": (["--passphrase-env", "LAB_PASSPHRASE"], None),
    }
    for name, (options, text) in sources.items():
        made = document("keys", "new", f"{name}.pem", *options, text=text)
        assert is_encrypted((folder / f"{name}.pem").read_bytes())
        shown = document("keys", "show", f"{name}.pem", "--passphrase-env", "LAB_PASSPHRASE")
        assert shown["key_id"] == made["key_id"]


def test_two_different_passphrases_make_no_key(folder):
    result = attempt("keys", "new", "lab.pem", "--passphrase", text="one\ntwo\n")
    assert result.exit_code != 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("taken", ["lab.pem", "lab.pub.pem"])
def test_no_key_is_overwritten_and_no_half_is_left(folder, taken):
    (folder / taken).write_text("somebody's")
    result = attempt("keys", "new", "lab.pem")
    assert (result.exit_code, result.stdout) == (1, "")
    assert taken in result.stderr
    assert [file.name for file in folder.iterdir()] == [taken]
    assert (folder / taken).read_text() == "somebody's"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "open.pem"], 5, "open.pem is open to others"),
        (["show", "locked.pem"], 4, "is encrypted, and no passphrase was given"),
        (["show", "locked.pem", "--passphrase-file", "wrong"], 4, "cannot be decrypted"),
        (["show", "lab.pem", "--passphrase-file", "wrong"], 4, "is not encrypted, but a passphrase was given"),
        (["show", "locked.pem", "--passphrase-file", "lab.pub.pem"], 5, "lab.pub.pem is open to others"),
        (["show", "locked.pem", "--passphrase-env", "UNSET_VARIABLE"], 1, "is unset or empty"),
        (["show", "wrong"], 3, "must be one PEM block"),
        (["show", "absent.pem"], 2, "does not exist"),
        (["new", "x.pem", "--passphrase-env", "A", "--passphrase-file", "wrong"], 2, "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_said(folder, arguments, code, message):
    (folder / "wrong").write_text("wrong")
    (folder / "wrong").chmod(0o600)
    document("keys", "new", "lab.pem")
    document("keys", "new", "locked.pem", "--passphrase", text=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    document("keys", "new", "open.pem")
    (folder / "open.pem").chmod(0o644)
    result = attempt("keys", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert not (folder / "x.pem").exists()


def test_a_key_is_rotated_revoked_and_listed_with_the_time_that_it_ends(folder):
    document("init", ".", "--origin", "example.com/log")
    before = document("keys", "list")["keys"]
    assert [key["name"] for key in before] == ["this workspace", "example.com/log"]
    done = document("keys", "rotate", "signer")
    assert (done["name"], done["key"]) == ("signer", before[0]["key"])
    assert read_private_key(Path(done["kept"])).public.key_id == done["key"]
    assert done["successor"] == document("keys", "show", "keys/signer.pub.pem")["key_id"]
    revoked = document("keys", "revoke", done["key"][:16], "--reason", "compromised", "--since", "2020-01-31")
    assert (revoked["key"], revoked["since"]) == (done["key"], "2020-01-31T00:00:00Z")
    assert [key["until"] for key in document("keys", "list")["keys"]] == ["2020-01-31T00:00:00Z", None, None]
    assert "until 2020-01-31T00:00:00Z" in attempt("keys", "list").stdout
    in_use = attempt("keys", "revoke", "keys/signer.pub.pem")
    assert (in_use.exit_code, "keys rotate" in in_use.stderr) == (5, True)
    assert attempt("log", "verify").exit_code == 0
