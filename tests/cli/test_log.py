"""The commands for the audit log, as its keeper, a witness and an auditor use them."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from tests import needs
from unlearnkit.compliance.log.proof import verify_proof
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.note import NoteKind, cosign_note, note_key


def fails(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=text)


def run(*arguments: str, text: str | None = None) -> str:
    result = fails(*arguments, text=text)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def workspace(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run("init", "--origin", "example.com/log")
    run("request-delete", "jane", "joe", "ann")
    return Workspace.find(tmp_path)


def lines_of(workspace: Workspace) -> list[bytes]:
    return (workspace.log_path / "log.jsonl").read_bytes().splitlines(keepends=True)


def test_entries_are_shown_last_named_or_all_and_raw(workspace):
    assert [line.split()[0] for line in run("log", "show", "--last", "2").splitlines()] == ["3", "4"]
    assert len(run("log", "show", "--all").splitlines()) == 5
    assert run("log", "show", "3", "--raw").encode() == lines_of(workspace)[3]
    shown = json.loads(run("--json", "log", "show", "3", "4"))["entries"]
    assert shown[0]["digest"] == shown[1]["previous"] == hashlib.sha256(lines_of(workspace)[3]).hexdigest()
    result = fails("log", "show", "3", "9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no entry 9 in the log" in result.stderr


def test_a_checkpoint_is_printed_as_a_witness_wants_it(workspace):
    printed = run("log", "checkpoint")
    assert printed.encode() == (workspace.log_path / "checkpoint").read_bytes()
    record = json.loads(run("--json", "log", "checkpoint"))
    assert (record["origin"], record["size"], record["checkpoint"]) == ("example.com/log", 5, printed)


def test_a_cosigned_checkpoint_is_imported_and_counted(workspace, tmp_path):
    witness = PrivateKey.generate(Algorithm.ED25519)
    vkey = note_key("witness.example/w1", witness.public, kind=NoteKind.COSIGNATURE).vkey
    raw = run("log", "checkpoint").encode()
    log = workspace.log_public_key()
    cosigned = cosign_note(raw, where="x", log=log, name="witness.example/w1", signer=witness, time=1_800_000_000)
    (tmp_path / "cosigned").write_bytes(cosigned)
    trust = tmp_path / "trust.toml"
    trust.write_text(trust.read_text().replace("quorum = 0", "quorum = 1") + f"\n[[witness]]\nvkey = '{vkey}'\n")
    result = fails("log", "verify")
    assert result.exit_code == 4
    assert "too few cosignatures of known witnesses: got 0, expected 1" in result.stderr
    result = fails("log", "checkpoint", "--import", "cosigned")
    assert "kept the checkpoint of 5 entries, cosigned by witness.example/w1" in result.stderr
    assert "cosigned by  witness.example/w1" in run("log", "verify")
    key = (tmp_path / "keys" / "log.vkey").read_text().strip()
    assert "VERIFIED" in run("log", "verify", "audit", "--vkey", key, "--witness", vkey, "--quorum", "1")


def test_a_proof_needs_nothing_but_the_line_and_the_key(workspace, tmp_path):
    run("log", "checkpoint")
    assert run("log", "prove", "3", "-o", "3.tlog-proof") == "3.tlog-proof\n"
    raw = (tmp_path / "3.tlog-proof").read_bytes()
    assert run("log", "prove", "3").encode() == raw
    line = run("log", "show", "3", "--raw").encode()
    assert verify_proof(raw, where="x", line=line, log=workspace.log_public_key()).entry.type == "request-received"
    assert run("log", "prove", "--since", "2").startswith("old 2\n")
    result = fails("log", "prove", "3", "-o", "3.tlog-proof")
    assert result.exit_code == 1
    assert (tmp_path / "3.tlog-proof").read_bytes() == raw


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["log", "prove"], 2, "give either INDEX or --since"),
        (["log", "prove", "1", "--since", "1"], 2, "give either INDEX or --since"),
        (["log", "prove", "4"], 1, "entry 4 is not under the checkpoint, which signs 2 entries"),
        (["log", "verify", "--vkey", "x"], 3, "--vkey is not"),
        (["log", "checkpoint", "--passphrase-env", "A", "--passphrase-file", "b"], 2, "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_said(workspace, arguments, code, message):
    result = fails(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


@needs.aics_tlog
def test_an_export_is_read_by_others(workspace, tmp_path):
    import aics_tlog as aics

    record = json.loads(run("--json", "log", "export", "public"))
    report = aics.audit_tiles(aics.FileSystemTileReader(tmp_path / "public"), 2, bytes.fromhex(record["root"]))
    assert (report.size, report.bundles) == (2, 1)
    assert fails("log", "export", "public").exit_code == 1


def test_an_auditor_verifies_with_a_public_key_and_an_earlier_checkpoint(workspace, tmp_path, monkeypatch):
    (tmp_path / "earlier").write_text(run("log", "checkpoint"))
    run("request-delete", "bob")
    run("log", "checkpoint")
    run("request-delete", "eve")
    key = (tmp_path / "keys" / "log.vkey").read_text().strip()
    elsewhere = tmp_path.parent / "elsewhere"
    shutil.copytree(tmp_path / "audit", elsewhere / "log")
    shutil.copy(tmp_path / "earlier", elsewhere)
    monkeypatch.chdir(elsewhere)
    record = json.loads(run("--json", "log", "verify", "log", "--vkey", key, "--earlier", "earlier"))
    assert (record["entries"], record["size"], record["unsigned"], record["requests"]) == (7, 6, 1, 5)
    assert [head["size"] for head in record["earlier"]] == [5]
    text = run("log", "verify", "log", "--vkey", key, "--earlier", "earlier")
    assert text.startswith("VERIFIED: every line, the chain, the root, the signatures")
    assert "agrees with     earlier checkpoints, of size 5" in text
    assert "not signed yet  1" in text


def test_tampering_exits_with_4_and_shows_the_evidence(workspace):
    checkpoint = run("log", "checkpoint").strip()
    lines = lines_of(workspace)
    (workspace.log_path / "log.jsonl").write_bytes(b"".join(lines[:4]))
    result = fails("log", "verify")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "the log was truncated: it has 4 entries, its checkpoint signs 5" in result.stderr
    assert checkpoint in result.stderr
    (workspace.log_path / "log.jsonl").write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert "log entry 2 was removed" in fails("log", "verify").stderr


def test_a_step_that_was_not_legal_fails_verification_though_chain_and_signature_hold(workspace):
    log = workspace.open_log()
    log.record("request-acknowledged", {"request": "R9", "by": "support", "on": "2025-03-05"})
    publish_checkpoint(log, workspace.log_key())  # whoever signs it does not look
    result = fails("log", "verify")
    assert result.exit_code == 4
    assert "log entry 5 is not a legal step: no request 'R9'" in result.stderr


def test_a_log_that_a_crash_left_torn_is_repaired_by_the_next_writer(workspace):
    with (workspace.log_path / "log.jsonl").open("ab") as file:
        file.write(b'{"body":')
    assert "unfinished      8 bytes" in run("log", "verify")
    run("request-delete", "bob")
    assert "unfinished" not in run("log", "verify")


def test_keys_with_a_passphrase_sign_when_it_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "correct horse")
    run("init", "--passphrase-env", "SECRET")
    run("request-delete", "jane")
    result = fails("log", "checkpoint")
    assert result.exit_code == 4
    assert "is encrypted, and no passphrase was given" in result.stderr
    run("log", "checkpoint", "--passphrase-env", "SECRET")
    (tmp_path / "secret").write_text("correct horse\n")
    (tmp_path / "secret").chmod(0o600)
    run("request-delete", "joe")
    run("log", "checkpoint", "--passphrase-file", "secret")
    assert fails("log", "checkpoint", "--passphrase", text="wrong\n").exit_code == 4
    assert "not signed yet" not in run("log", "verify")


def test_destroying_the_key_asks_and_is_recorded(workspace, tmp_path):
    result = fails("log", "destroy-key", "--yes")
    assert result.exit_code == 5
    assert "3 requests open, first R2: their people could not be told" in result.stderr
    for name in ("R2", "R3", "R4"):
        run("requests", "withdraw", name, "--reason", "requested-by-person")
    assert fails("log", "destroy-key", text="n\n").exit_code == 1
    assert (tmp_path / "keys" / "pseudonym.key").exists()
    assert run("log", "destroy-key", text="y\n") == "destroyed; entry 8 of the log says so\n"
    assert not (tmp_path / "keys" / "pseudonym.key").exists()
    result = fails("request-delete", "bob")
    assert result.exit_code == 5
    assert "the pseudonym key was destroyed, as entry 8 of the log says" in result.stderr
    run("log", "checkpoint")
    assert "VERIFIED" in run("log", "verify")
