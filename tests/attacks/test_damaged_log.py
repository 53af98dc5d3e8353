"""Bad disks and bad copies: nothing that was signed is ever cut, replaced, or signed away; what happened is said."""

from __future__ import annotations

import json
import random
import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unlearnkit.cli.main import main

from unlearnkit.compliance.log.aside import TAIL_SET_ASIDE
from unlearnkit.compliance.log.clock import utc_now
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.head import head_file
from unlearnkit.compliance.log.lock import open_locked, unlock
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.repair import ENTRY_SET_ASIDE, REPAIRED
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import UnlearnkitError
from unlearnkit.office.workspace import Workspace

MANY = 400


def fails(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def run(*arguments: str) -> str:
    result = fails(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with many signed entries and two that are not."""
    root = tmp_path_factory.mktemp("made")
    office = Workspace.create(root / "office", origin="example.com/log")
    office.receive(f"person {number}" for number in range(MANY))
    office.checkpoint()
    office.receive(["late", "later"])
    return office


@pytest.fixture
def office(made, tmp_path, monkeypatch):
    root = tmp_path / "office"
    shutil.copytree(made.root, root)
    monkeypatch.chdir(root)
    return Workspace.find(root)


def file_of(office: Workspace) -> Path:
    return office.log_path / "log.jsonl"


def signed_part(office: Workspace) -> bytes:
    return b"".join(file_of(office).read_bytes().splitlines(keepends=True)[: MANY + 2])


def refused(office: Workspace, *, code: int = 4) -> str:
    """Recording and signing are refused, and change no byte of the log."""
    before = file_of(office).read_bytes()
    for command in (["request-delete", "eve"], ["log", "checkpoint"]):
        result = fails(*command)
        assert result.exit_code in (3, code), result.output
        assert "log repair" in result.stderr
    with pytest.raises(UnlearnkitError):
        AuditLog.open(office.log_path).record("note", {})
    assert file_of(office).read_bytes() == before
    return result.stderr


def entries(office: Workspace) -> list[str]:
    return [json.loads(line)["type"] for line in file_of(office).read_bytes().splitlines()]


def test_zeros_in_the_middle_stop_all_writing_and_a_copy_restores_what_was_signed(office, tmp_path):
    whole, signed = file_of(office).read_bytes(), signed_part(office)
    shutil.copytree(office.log_path, tmp_path / "copy")
    (tmp_path / "copy" / "log.jsonl").write_bytes(signed)  # an older copy, without the last two entries
    damaged = bytearray(whole)
    damaged[10_240:10_752] = bytes(512)
    file_of(office).write_bytes(damaged)
    refused(office)
    assert fails("log", "repair").exit_code == 4
    assert file_of(office).read_bytes() == damaged
    told = run("log", "repair", "--from", str(tmp_path / "copy"))
    assert f"the first {MANY + 2} entries have the root that the checkpoint signs" in told
    assert file_of(office).read_bytes().startswith(whole)
    assert entries(office)[-1] == REPAIRED
    (aside,) = (office.log_path / "set-aside").iterdir()
    assert aside.read_bytes() == damaged[10_240:]
    run("request-delete", "eve")
    run("log", "checkpoint")
    assert "VERIFIED" in run("log", "verify")


def test_a_final_newline_that_is_lost_replaces_no_signed_entry(office):
    signed = signed_part(office)
    file_of(office).write_bytes(signed[:-1])
    refused(office)
    run("log", "repair")
    assert file_of(office).read_bytes().startswith(signed)
    assert f"R{MANY + 1}" in run("requests", "list")


@pytest.mark.parametrize("gone", [[], ["checkpoint"]])
def test_an_older_copy_is_not_written_to_or_signed_with_or_without_its_checkpoint(office, gone):
    lines = signed_part(office).splitlines(keepends=True)
    file_of(office).write_bytes(b"".join(lines[:100]))
    for name in gone:
        (office.log_path / name).unlink()
    assert f"whole entries end after 100, and {MANY + 2} are signed" in refused(office)


def test_another_log_with_the_same_name_is_not_written_to_or_signed(office, tmp_path):
    other = Workspace.create(tmp_path / "other", origin="example.com/log")
    other.receive(f"stranger {number}" for number in range(MANY + 5))
    file_of(office).write_bytes(file_of(other).read_bytes())
    (office.log_path / "checkpoint").unlink()
    assert f"entry {MANY + 1} is not the one that was signed" in refused(office)


@pytest.mark.parametrize("seed", range(12))
def test_zeroed_blocks_anywhere_cost_no_signed_entry(office, seed):
    draw = random.Random(seed)
    whole, signed = file_of(office).read_bytes(), signed_part(office)
    begin = draw.choice([draw.randrange(len(whole)), len(signed) - 512, len(signed), len(whole) - 600])
    damaged = whole[:begin] + bytes(min(draw.choice([512, 4096]), len(whole) - begin))
    damaged += whole[len(damaged) :]
    file_of(office).write_bytes(damaged)
    try:
        AuditLog.open(office.log_path).record("note", {})
    except UnlearnkitError:
        assert file_of(office).read_bytes() == damaged
        (office.root / "copy").write_bytes(whole)
        office.repair(office.root / "copy")
    assert file_of(office).read_bytes().startswith(signed)
    assert office.checkpoint().size == len(office.view())


def test_a_torn_end_is_set_aside_said_aloud_and_recorded(office):
    with file_of(office).open("ab") as file:
        file.write(b'{"body":{"n"')
    result = fails("-q", "request-delete", "eve")
    assert result.exit_code == 0
    assert "12 bytes from byte" in result.stderr
    assert "set-aside" in result.stderr
    assert entries(office)[-2:] == [TAIL_SET_ASIDE, "request-received"]
    assert [file.read_bytes() for file in (office.log_path / "set-aside").iterdir()] == [b'{"body":{"n"']


def test_a_log_is_restored_from_its_export_and_from_a_copy_that_is_older_than_the_damage(office, tmp_path):
    office.export(tmp_path / "tiles")
    whole = file_of(office).read_bytes()
    file_of(office).write_bytes(whole[:5000] + b"x" + whole[5001:])
    assert office.repair(tmp_path / "tiles").kept == 2
    assert file_of(office).read_bytes().startswith(whole)
    repaired = file_of(office).read_bytes()
    (tmp_path / "old").write_bytes(b"".join(whole.splitlines(keepends=True)[:50]))
    file_of(office).write_bytes(repaired[:100] + b"x" + repaired[101:])
    assert office.repair(tmp_path / "old").kept == 3
    assert file_of(office).read_bytes().startswith(repaired)
    assert office.repair() is None


def test_a_repair_from_another_log_changes_nothing(office, tmp_path):
    Workspace.create(tmp_path / "other", origin="example.com/log").receive(["eve"])
    file_of(office).write_bytes(signed_part(office)[:-500])
    before = file_of(office).read_bytes()
    result = fails("log", "repair", "--from", str(tmp_path / "other" / "audit"))
    assert result.exit_code == 4
    assert "are not all there: nothing was changed" in result.stderr
    assert file_of(office).read_bytes() == before


def test_a_deleted_checkpoint_and_a_damaged_one_come_back(office):
    raw = (office.log_path / "checkpoint").read_bytes()
    (office.log_path / "checkpoint").unlink()
    assert "VERIFIED" in run("log", "verify")
    run("log", "checkpoint")
    (office.log_path / "checkpoint").write_bytes(b"\0" * len(raw))
    assert fails("log", "checkpoint").exit_code == 3
    run("log", "repair")
    run("log", "checkpoint")
    assert verify_log(office.log_path, log=office.log_public_key()).checkpoint.size == MANY + 4


# -- what is not signed


def test_a_step_that_was_not_legal_is_never_signed_and_does_not_stop_the_office(office):
    log = AuditLog.open(office.log_path, now=utc_now)
    planted = log.record("request-acknowledged", {"request": "R9999", "by": "support", "on": "2025-03-05"})
    log.record_many([draft("request-made-up", {}), draft("note", {})])
    for command in (["requests", "list"], ["request-delete", "eve"], ["log", "checkpoint"]):
        result = fails(*command)
        assert result.exit_code == 4, (command, result.output)
    assert "log repair" in result.stderr
    before = file_of(office).read_bytes().splitlines()
    assert f"entries {planted.index}, {planted.index + 1}, replaced" in run("log", "repair")
    after = file_of(office).read_bytes().splitlines()
    assert after[: planted.index] == before[: planted.index]
    assert entries(office)[-4:] == [ENTRY_SET_ASIDE, ENTRY_SET_ASIDE, "note", REPAIRED]
    assert json.loads(after[planted.index])["body"] == {"sha256": planted.digest, "type": planted.type}
    assert f"R{MANY + 8}" in run("request-delete", "eve")
    run("log", "checkpoint")
    assert "VERIFIED" in run("log", "verify")


def test_every_list_marks_what_no_checkpoint_covers(office):
    shown = run("log", "show", "--last", "3").splitlines()
    assert ["not signed yet" in line for line in shown] == [False, True, True]
    listed = run("requests", "list").splitlines()
    assert [line.split()[0] for line in listed if "not signed yet" in line] == [f"R{MANY + 2}", f"R{MANY + 3}"]
    assert "not signed yet" in run("requests", "show", f"R{MANY + 3}")
    assert json.loads(run("--json", "requests", "show", "R2"))["signed"] is True
    run("log", "checkpoint")
    assert "not signed yet" not in run("requests", "list") + run("log", "show")


def test_what_was_rewritten_is_shown_by_no_list(office):
    """With a chain that holds: only the signed root tells."""
    lines = signed_part(office).splitlines(keepends=True)
    rewritten = AuditLog.create(office.root / "rewritten")
    rewritten.record_many(draft(json.loads(line)["type"], json.loads(line)["body"]) for line in lines)
    file_of(office).write_bytes((rewritten.path / "log.jsonl").read_bytes())
    for command in (["log", "show"], ["requests", "list"], ["requests", "show", "R2"], ["release", "list"]):
        result = fails(*command)
        assert (result.exit_code, result.stdout) == (4, ""), command
        assert "the log was rewritten" in result.stderr


# -- locks


def test_the_lock_cannot_be_deleted_and_a_replaced_log_is_noticed_by_who_waits(office):
    """Nothing but the log itself is locked; who waited for a file that lost its name locks the one that has it."""
    assert sorted(path.name for path in office.log_path.iterdir()) == ["checkpoint", "log.jsonl", "policies"]
    file, found = file_of(office), []
    held = open_locked(str(file))
    waiting = threading.Thread(target=lambda: found.append(open_locked(str(file))))
    waiting.start()
    shutil.copy(file, office.root / "new")
    (office.root / "new").replace(file)
    unlock(held)
    waiting.join()
    with file.open("ab") as now:
        assert Path(f"/proc/self/fd/{found[0]}").stat().st_ino == Path(f"/proc/self/fd/{now.fileno()}").stat().st_ino
    unlock(found[0])


def test_readers_do_not_wait_for_a_writer_nor_a_writer_for_readers(office):
    """Nobody who reads takes the lock: a reader in the middle of the log, and one while somebody holds it."""
    reading = AuditLog(office.log_path).entries()
    first = next(reading)
    written = AuditLog(office.log_path).record("note", {})
    assert [first.index, *(entry.index for entry in reading)][-1] == written.index
    with AuditLog(office.log_path).exclusive():
        assert len(LogView.read(office.log_path)) == written.index + 1


def test_waiting_for_another_writer_is_said(office, monkeypatch, caplog):
    said = threading.Event()
    monkeypatch.setattr("unlearnkit.compliance.log.lock.SAID_AFTER", 0)
    monkeypatch.setattr(
        "unlearnkit.compliance.log.lock._logger.warning", lambda text, path: said.set() if "waiting" in text else None
    )
    held = open_locked(str(file_of(office)))
    writer = threading.Thread(target=AuditLog(office.log_path).record, args=("note", {}))
    writer.start()
    assert said.wait(timeout=30)
    unlock(held)
    writer.join()
    assert entries(office)[-1] == "note"


def test_what_is_signed_last_is_kept_outside_of_the_log(office):
    assert head_file(office.log_path) == office.root / "audit.signed"
    kept = json.loads((office.root / "audit.signed").read_bytes())
    assert kept["checkpoint"] == (office.log_path / "checkpoint").read_text()
    assert kept["offset"] == len(signed_part(office))
