"""No command shows, logs or stores a private key or a passphrase, whatever goes wrong: only key files hold secrets."""

from __future__ import annotations

import base64
import logging
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from unlearnkit.cli.main import main

from tests.bundle.small import small
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.signing.keys import read_private_key

PASSPHRASE = "correct horse battery staple"
TYPED = f"{PASSPHRASE}\n{PASSPHRASE}\n"
ASK, FROM_FILE, FROM_VARIABLE = ["--passphrase"], ["--passphrase-file", "phrase"], ["--passphrase-env", "PHRASE"]

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

FINE: list[list[str]] = [
    ["keys", "new", "asked.pem", *ASK],
    ["keys", "new", "filed.pem", *FROM_FILE],
    ["keys", "new", "log.pem", "--log", *FROM_VARIABLE],
    ["keys", "new", "plain.pem"],
    ["keys", "show", "plain.pem"],
    ["keys", "show", "asked.pem", *ASK],
    ["keys", "show", "asked.pub.pem"],
    ["sketch", "tiny.py:recipe", "-o", "sketched", "--directions", "2", "--seed", "1", "--key", "plain.pem"],
    ["sketch", "tiny.py:recipe", "-o", "ours", "--directions", "2", "--seed", "1", *FROM_VARIABLE],
    ["verify", "sketched", "--trust", "plain.pub.pem"],
    ["verify", "ours", "bundle"],
    ["info", "bundle"],
    ["predict", "bundle", "--probe", "test_loss", "--delete", "ann"],
    ["request-delete", "ann"],
    ["release", "add", "bundle", "--name", "digits", "--version", "1"],
    ["certify", "R2", "--bundle", "bundle", "-o", "R2.certificate.json", *FROM_FILE],
    ["log", "checkpoint", *FROM_VARIABLE],
    ["log", "verify"],
    ["log", "show", "--all"],
    ["verify", "bundle", "audit", "R2.certificate.json", "--bundle", "bundle"],
    ["report", "R2.certificate.json", "-o", "R2.html", "--bundle", "bundle"],
]
FAILING: list[list[str]] = [
    ["keys", "new", "plain.pem"],
    ["keys", "show", "asked.pem"],
    ["keys", "show", "asked.pem", "--passphrase-file", "wrong"],
    ["keys", "show", "plain.pem", *FROM_FILE],
    ["keys", "show", "damaged.pem", *FROM_FILE],
    ["keys", "show", "cut.pem"],
    ["keys", "show", "phrase"],
    ["keys", "show", "lines.pem"],
    ["sketch", "tiny.py:recipe", "-o", "x", "--directions", "1", "--key", "phrase"],
    ["sketch", "tiny.py:recipe", "-o", "x", "--directions", "1", "--key", "asked.pem", "--passphrase-file", "wrong"],
    ["sketch", "tiny.py:recipe", "-o", "x", "--directions", "1", "--key", "log.pem", *FROM_FILE],
    ["sketch", "plain.pem:recipe", "-o", "x"],
    ["verify", "bundle", "--trust", "plain.pem"],
    ["verify", "bundle", "--trust", "phrase"],
    ["verify", "plain.pem"],
    ["verify", "phrase"],
    ["verify", "plain.pem", "--trust", "plain.pub.pem"],
    ["verify", "R2.certificate.json", "--bundle", "bundle", "--evidence", "plain.pem"],
    ["info", "bundle", "--trust", "phrase"],
    ["info", "nowhere"],
    ["predict", "bundle", "--probe", "test_loss", "--delete", "nobody"],
    ["policy", "show", "plain.pem"],
    ["log", "verify", "--earlier", "plain.pem"],
    ["certify", "R9", "--bundle", "bundle", *FROM_FILE],
    ["certify", "R2", "--bundle", "bundle", "--passphrase-file", "wrong"],
    ["certify", "R2", "--bundle", "bundle", "--evidence", "plain.pem", *FROM_FILE],
    ["log", "checkpoint"],
    ["log", "checkpoint", "--passphrase-file", "wrong"],
    ["log", "checkpoint", "--import", "plain.pem"],
    ["init", ".", *FROM_FILE],
]
# Names of units are quoted in messages. Somebody who gives a key as a list of names sees it quoted: a positive control.
GIVEN_AS_NAMES = ["predict", "bundle", "--probe", "test_loss", "--delete-file", "plain.pem"]


@dataclass(frozen=True)
class Story:
    """What was printed and logged by each command, and where it all happened."""

    root: Path
    said: dict[str, str]
    secrets: dict[str, list[bytes]]  # every spelling of each


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Story:
    """Every command once, all in one workspace with encrypted keys, with all that Python can say about failures."""
    root, said, log = tmp_path_factory.mktemp("story"), {}, _Log()
    logging.getLogger().addHandler(log)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("PHRASE", PASSPHRASE)
        patch.setattr(sys, "dont_write_bytecode", True)
        _write_private(root / "phrase", PASSPHRASE + "\n")
        _write_private(root / "wrong", "wrong")
        (root / "policy.toml").write_bytes(policy_text())
        (root / "tiny.py").write_text(RECIPE)
        _run(said, ["init", ".", "--policy", "./policy.toml", *FROM_FILE], expected=True)
        _bundle(root)
        for command in FINE:
            _run(said, command, expected=True)
        _spoil(root)
        for command in [*FAILING, GIVEN_AS_NAMES]:
            _run(said, command, expected=False)
    logging.getLogger().removeHandler(log)
    said["log"] = "\n".join(log.lines)
    return Story(root, said, _secrets(root))


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _write_private(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def _run(said: dict[str, str], command: list[str], *, expected: bool) -> None:
    """With the traceback of what went wrong."""
    result = CliRunner().invoke(main, ["--verbose", *command], input=TYPED if "--passphrase" in command else None)
    assert (result.exit_code == 0) is expected, (command, result.output)
    raised = "" if result.exception is None else "".join(traceback.format_exception(result.exception))
    if not expected:
        assert "Traceback" in result.stderr, command
    said[" ".join(command)] = result.output + result.stdout + result.stderr + raised


def _bundle(root: Path) -> None:
    """A small bundle of the workspace, signed by it."""
    (root / "run").mkdir()
    contents = small(root / "run", weights=False, key=PseudonymKey.load(root / "keys" / PseudonymKey.FILE_NAME))
    signer = read_private_key(root / "keys" / "signer.pem", passphrase=PASSPHRASE.encode())
    write_bundle(root / "bundle", manifest=contents.manifest, signer=signer, **contents.contents)


def _spoil(root: Path) -> None:
    """Key files that are nearly right: their secret is still in them."""
    encrypted, plain = (root / "asked.pem").read_text(), (root / "plain.pem").read_text()
    _write_private(root / "damaged.pem", encrypted.replace("A", "B", 3))
    _write_private(root / "cut.pem", plain.replace("-----END PRIVATE KEY-----", ""))
    _write_private(root / "lines.pem", plain.replace("-----BEGIN PRIVATE KEY-----\n", ""))


def _secrets(root: Path) -> dict[str, list[bytes]]:
    files = ["asked.pem", "filed.pem", "log.pem", "plain.pem", "keys/signer.pem", "keys/log.pem"]
    passphrases = {"plain.pem": None}
    keys = {name: _spellings((root / name).read_bytes(), passphrases.get(name, PASSPHRASE.encode())) for name in files}
    return {**keys, "passphrase": [PASSPHRASE.encode(), *_encoded(PASSPHRASE.encode())]}


def _spellings(pem: bytes, passphrase: bytes | None) -> list[bytes]:
    """The secret number of a key as a leak would spell it: raw, hexadecimal, base64 at any offset, decimal, PEM."""
    key = load_pem_private_key(pem, passphrase)
    numbers = getattr(key, "private_numbers", None)
    raw = key.private_bytes_raw() if numbers is None else numbers().private_value.to_bytes(32, "big")
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    body = [line for line in text.splitlines() if not line.startswith(b"-----")]
    assert raw in key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())  # so DER is looked for, too
    return [raw, raw[::-1], str(int.from_bytes(raw, "big")).encode(), body[0], *_encoded(raw)]


def _encoded(raw: bytes) -> list[bytes]:
    """Hexadecimal in either case, and what base64 makes of it inside something else, wherever that begins."""
    inner = []
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + raw)
        inside = coded[4 if offset else 0 : -4]  # the ends depend on the neighbours
        inner += [inside, inside.translate(bytes.maketrans(b"+/", b"-_"))]
    return [raw.hex().encode(), raw.hex().upper().encode(), *inner]


def test_the_search_finds_what_it_looks_for(story):
    """Every key file that is not encrypted, the file with the passphrase, and the one command that was given a key."""
    assert _found(story.secrets["plain.pem"], (story.root / "plain.pem").read_bytes())
    assert _found(story.secrets["passphrase"], (story.root / "phrase").read_bytes())
    assert _found(story.secrets["plain.pem"], story.said[" ".join(GIVEN_AS_NAMES)].encode())
    assert not _found(story.secrets["plain.pem"], (story.root / "plain.pub.pem").read_bytes())


@pytest.mark.parametrize("command", [" ".join(command) for command in FINE + FAILING] + ["log"])
def test_nothing_is_said(story, command):
    raw = story.said[command].encode()
    assert [name for name, spellings in story.secrets.items() if _found(spellings, raw)] == []


def test_nothing_is_stored_but_in_the_files_that_are_for_it(story):
    """Encrypted key files hold no secret that can be read either."""
    meant = {("plain.pem", name) for name in ("plain.pem", "cut.pem", "lines.pem")} | {("passphrase", "phrase")}
    files = [file for file in story.root.rglob("*") if file.is_file()]
    assert len(files) > 40
    found = {
        (secret, file.relative_to(story.root).as_posix())
        for file in files
        for secret, spellings in story.secrets.items()
        if _found(spellings, file.read_bytes())
    }
    assert found == meant


def test_secret_files_are_for_their_owner_only(story):
    private = [file for file in story.root.rglob("*.pem") if not file.name.endswith(".pub.pem")]
    assert {oct(file.stat().st_mode & 0o777) for file in private} == {"0o600"}


def _found(spellings: list[bytes], raw: bytes) -> bool:
    return any(spelling in raw for spelling in spellings)
