"""A log that shows different histories to different people: witnesses and the memory of verifiers hold it to one."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from unlearnkit.compliance.log.checkpoint import LogKey, verify_checkpoint
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.proof import parse_growth
from unlearnkit.compliance.log.publication import import_checkpoint, prove_growth, publish_checkpoint
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.compliance.log.witness import Witness
from unlearnkit.errors import (
    ConsistencyError,
    FormatError,
    RefusedError,
    RollbackError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
)
from unlearnkit.office.workspace import Workspace
from unlearnkit.signing.keys import Algorithm, PrivateKey

KEY = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def witness(tmp_path):
    return Witness("witness.example/w1", PrivateKey.generate(Algorithm.ED25519), tmp_path / "seen")


@pytest.fixture
def log(tmp_path):
    return grown(AuditLog.create(tmp_path / "log"), 3)


def grown(log: AuditLog, count: int, word: str = "a") -> AuditLog:
    log.record_many(draft("note", {"n": n, "word": word}) for n in range(count))
    publish_checkpoint(log, KEY)
    return log


def asked(log: AuditLog, since: int) -> bytes:
    return prove_growth(log.path, since, log=KEY.public)


def cosign(witness: Witness, request: bytes):
    return witness.cosign(request, where="request", logs=[KEY.public], now=lambda: NOON)


def test_a_log_that_only_grows_is_cosigned_each_time_and_the_quorum_is_met(witness, log):
    since = 0
    for count in (0, 2, 0, 7, 1):
        if count:
            grown(log, count)
        done = cosign(witness, asked(log, since))
        import_checkpoint(log, done.raw, key=KEY.public, witnesses=[witness.public])
        since = done.checkpoint.size
    assert since == 13
    found = verify_log(log.path, log=KEY.public, witnesses=[witness.public], quorum=1)
    assert [(item.witness.name, item.time) for item in found.checkpoint.cosignatures] == [
        ("witness.example/w1", int(NOON.timestamp()))
    ]
    assert done.raw.endswith(done.response)
    assert done.response.startswith("— witness.example/w1 ".encode())


def test_nobody_else_counts_as_that_witness(witness, log, tmp_path):
    done = cosign(Witness(witness.name, PrivateKey.generate(Algorithm.ED25519), tmp_path / "other"), asked(log, 0))
    with pytest.raises(ThresholdError):
        verify_checkpoint(done.raw, where="x", log=KEY.public, witnesses=[witness.public], quorum=1)


def test_a_fork_is_refused_and_both_heads_are_kept(witness, log, tmp_path):
    first = cosign(witness, asked(log, 0)).checkpoint
    fork = AuditLog.create(tmp_path / "fork")
    grown(fork, 2, "b")
    grown(fork, 5, "b")
    with pytest.raises(ConsistencyError, match="the log was forked") as caught:
        cosign(witness, asked(fork, 3))
    (evidence,) = (tmp_path / "seen").glob("split-view-*")
    assert str(evidence) in caught.value.hint
    assert evidence.read_bytes() == first.raw + b"\n" + (fork.path / "checkpoint").read_bytes()
    same = AuditLog.create(tmp_path / "same")
    grown(same, 3, "b")
    with pytest.raises(ConsistencyError, match="it signed two histories of 3 entries"):
        cosign(witness, asked(same, 3))
    grown(log, 1)
    assert cosign(witness, asked(log, 3)).checkpoint.size == 4  # what was refused is not remembered


def test_a_request_begins_where_the_last_one_ended(witness, log):
    cosign(witness, asked(log, 0))
    for since in (0, 2):
        with pytest.raises(RefusedError, match=f"begins at {since} entries, and 3 were cosigned last") as caught:
            cosign(witness, asked(log, since))
        assert "log prove --since 3" in caught.value.hint


def test_a_log_that_was_rolled_back_is_refused(witness, log, tmp_path):
    grown(log, 5)
    cosign(witness, asked(log, 0))
    short = AuditLog.create(tmp_path / "short")
    grown(short, 3)
    request = asked(short, 0).replace(b"old 0", b"old 8")
    with pytest.raises(RollbackError, match="it has 3 entries, and 8 were cosigned"):
        cosign(witness, request)


def test_strangers_and_forgeries_are_refused(witness, log):
    request = asked(log, 0)
    with pytest.raises(UnknownNameError, match=r"the log example\.com/log is not witnessed here"):
        witness.cosign(request, where="request", logs=[])
    other = LogKey(KEY.origin, PrivateKey.generate(Algorithm.ED25519)).public
    with pytest.raises(SignatureError):
        witness.cosign(request, where="request", logs=[other])
    with pytest.raises(ConsistencyError, match="a proof from no entries has hashes"):
        cosign(witness, request.replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n"))


@pytest.mark.parametrize(
    "raw", [b"", b"old 01\n\nx\n", b"old -1\n\nx\n", b"new 1\n\nx\n", b"old 1\n" + b"AA==\n" * 64 + b"\nx"]
)
def test_a_malformed_request_is_refused(raw):
    with pytest.raises(FormatError):
        parse_growth(raw, where="request")


# -- the commands, and the memory of who verifies


def fails(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def run(*arguments: str) -> str:
    result = fails(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def office(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workspace.create(tmp_path / "office", origin="example.com/log")


def test_an_office_and_three_witnesses_as_the_guide_says(office, tmp_path, monkeypatch):
    log = str(tmp_path / "office" / "keys" / "log.vkey")
    vkeys = []
    for name in ("w1", "w2", "w3"):
        run("keys", "new", f"{name}.pem", "--log")
        vkeys.append(run("witness", "vkey", "--key", f"{name}.pem", "--name", f"{name}.example/w").strip())
    trust = tmp_path / "office" / "trust.toml"
    lines = "".join(f"\n[[witness]]\nvkey = '{vkey}'\n" for vkey in vkeys)
    trust.write_text(trust.read_text().replace("quorum = 0", "quorum = 2") + lines)
    monkeypatch.chdir(tmp_path / "office")
    (tmp_path / "request").write_text(run("log", "prove", "--since", "0"))
    assert fails("log", "verify").exit_code == 4
    for name in ("w1", "w3"):
        options = ["--key", f"../{name}.pem", "--name", f"{name}.example/w", "--log", log, "--state", f"../{name}"]
        run("witness", "cosign", "../request", *options, "-o", f"../{name}.cosigned")
        run("log", "checkpoint", "--import", f"../{name}.cosigned")
        again = fails("witness", "cosign", "../request", *options)
        assert again.exit_code == 5
        assert "begins at 0 entries, and 2 were cosigned last" in again.stderr
    assert "cosigned by  w1.example/w, w3.example/w" in run("log", "verify")
    assert "cosigned at  20" in run("log", "verify")
    shutil.copy(log, tmp_path / "old.vkey")
    run("keys", "rotate", "log")
    (tmp_path / "request").write_text(run("log", "prove", "--since", "2"))
    for name in ("w1", "w2"):  # w1 has the new line of the log beside the old one, w2 heard of no rotation
        known = ["--log", "../old.vkey", *(["--log", log] if name == "w1" else [])]
        options = ["--key", f"../{name}.pem", "--name", f"{name}.example/w", *known, "--state", f"../{name}"]
        answer = fails("witness", "cosign", "../request", *options, "-o", f"../{name}.next")
        assert answer.exit_code == (0 if name == "w1" else 5)
        assert ("begins at 2 entries, and 0" in answer.stderr) == (name == "w2")


def test_who_verified_a_log_before_is_shown_no_older_and_no_other_one(office, tmp_path):
    trust = ["--trust", str(office.root / "trust.toml")]
    shutil.copytree(office.log_path, tmp_path / "old")
    office.receive(["ann"])
    office.checkpoint()
    shutil.copytree(office.log_path, tmp_path / "log")
    run("verify", "log", *trust, "--state", "seen")
    result = fails("verify", "old", *trust, "--state", "seen")
    assert result.exit_code == 4
    assert "rolled back" in result.stderr
    assert run("verify", "old", *trust, "--state", "none").startswith("VERIFIED")
    assert run("verify", "old", *trust, "--state", "elsewhere").startswith("VERIFIED")
    fork = AuditLog.create(tmp_path / "fork")
    fork.record_many(draft("note", {"n": n}) for n in range(9))
    publish_checkpoint(fork, office.log_key())
    (tmp_path / "fork.signed").unlink()
    result = fails("verify", "fork", *trust, "--state", "seen")
    assert result.exit_code == 4
    assert "the log was forked" in result.stderr
    assert "both heads are kept as evidence" in result.stderr
    assert len(list((tmp_path / "seen").glob("split-view-*"))) == 1


def test_what_is_remembered_is_kept_privately_by_default(office, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run("verify", str(office.log_path), "--trust", str(office.root / "trust.toml"))
    folder = tmp_path / "state" / "unlearnkit" / "logs"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [file.read_bytes() for file in folder.iterdir()] == [(office.log_path / "checkpoint").read_bytes()]


def test_trust_that_is_taken_from_where_one_stands_is_named(office, monkeypatch):
    monkeypatch.chdir(office.root)
    result = fails("verify", "audit")
    assert f"whose signatures count is taken from the workspace here: {office.root / 'trust.toml'}" in result.stderr
    for told in (["-q", "verify", "audit"], ["--json", "verify", "audit"], ["log", "verify"], ["-q", "log", "verify"]):
        assert f"workspace here: {office.root / 'trust.toml'}" in fails(*told).stderr
    assert "workspace here" not in fails("verify", "audit", "--trust", "trust.toml").stderr
    vkey = (office.root / "keys" / "log.vkey").read_text().strip()
    assert "workspace here" not in fails("log", "verify", "audit", "--vkey", vkey).stderr


def test_nobody_is_trusted_because_of_a_folder_that_somebody_else_owns(office, monkeypatch):
    import os

    monkeypatch.chdir(office.root)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    owner = office.root.stat().st_uid
    if owner == 0:
        os.chown(office.root, 54321, -1)
    result = fails("verify", "audit")
    assert result.exit_code == 5
    assert "belongs to somebody else: its settings and its trust are not taken from it" in result.stderr
