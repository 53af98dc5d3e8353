"""Recording: acknowledged means on disk, in one chain, by any number of threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.aside import TAIL_SET_ASIDE
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.reader import MAX_COMMIT, read_entries
from unlearnkit.errors import ChainError, FormatError, RollbackError, UnknownNameError

NOON = datetime(2025, 1, 31, 12, 0, 0, 999, tzinfo=UTC)


def noon() -> datetime:
    return NOON


@pytest.fixture
def log(tmp_path):
    return AuditLog.create(tmp_path / "log", now=noon)


def bodies(log: AuditLog) -> list[object]:
    """Of what was recorded; that something was set aside is told by entries of their own."""
    return [entry.body["n"] for entry in read_entries(log.path) if entry.type != TAIL_SET_ASIDE]


def fill(log: AuditLog, count: int, padding: int = 0) -> bytes:
    log.record_many(draft("note", {"n": n, "padding": "x" * padding}) for n in range(count))
    return (log.path / "log.jsonl").read_bytes()


def test_what_was_recorded_is_returned_and_read_back(log):
    entries = [log.record("note", {"n": 1}), *log.record_many([draft("note", {"n": 2}), draft("other", {"n": 3})])]
    assert list(log.entries()) == entries
    assert [(entry.index, entry.type) for entry in entries] == [(0, "note"), (1, "note"), (2, "other")]
    assert all(entry.time == NOON.replace(microsecond=0) for entry in entries)
    assert entries[1].previous == entries[0].digest
    assert entries[0].previous == "0" * 64


def test_an_opened_log_continues_the_chain(log):
    for n in range(3):
        AuditLog.open(log.path).record("note", {"n": n})
    assert bodies(log) == [0, 1, 2]


def test_recording_nothing_changes_nothing(log):
    assert log.record_many([]) == []
    assert (log.path / "log.jsonl").read_bytes() == b""


def test_a_log_is_created_once_and_never_by_opening(log, tmp_path):
    with pytest.raises(FileExistsError):
        AuditLog.create(log.path)
    with pytest.raises(UnknownNameError, match="no audit log at") as caught:
        AuditLog.open(tmp_path / "other")
    assert "unlearnkit init" in caught.value.hint
    assert not (tmp_path / "other").exists()


def test_every_entry_is_synced_before_it_is_acknowledged(log, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    for n in range(3):
        log.record("note", {"n": n})
        assert synced[-1] == (log.path / "log.jsonl").stat().st_size
    assert len(synced) == 3


def test_many_entries_are_brought_to_disk_with_one_sync_for_each_mebibyte(log, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    size = len(fill(log, 580, padding=5_000))
    sizes = [0, *synced]
    assert sizes[-1] == size > 2 * MAX_COMMIT
    assert len(synced) == 3
    assert all(after - before <= MAX_COMMIT for before, after in pairwise(sizes))


def test_threads_record_each_entry_once_and_share_commits(log, monkeypatch):
    syncs, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (syncs.append(fd), real(fd)))
    acknowledged: dict[int, int] = {}

    def work(number: int) -> None:
        for n in range(number * 20, number * 20 + 20):
            acknowledged[log.record("note", {"n": n}).index] = n

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.index: entry.body["n"] for entry in log.entries()} == acknowledged
    assert sorted(acknowledged.values()) == list(range(320))
    assert len(syncs) <= 320


WORKER = """
import sys
from unlearnkit.compliance.log.log import AuditLog
log, number = AuditLog.open(sys.argv[1]), int(sys.argv[2])
sys.stdin.read()  # all start together
for n in range(500):
    print(log.record("note", {"n": number * 500 + n}).index, number * 500 + n)
"""


def test_eight_processes_make_one_chain_with_every_acknowledged_entry_once(log):
    command = [sys.executable, "-c", WORKER, str(log.path)]
    workers = [
        subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(8)
    ]
    for worker in workers:
        worker.stdin.close()
    printed = [line.split() for worker in workers for line in worker.stdout.read().splitlines()]
    assert [worker.wait() for worker in workers] == [0] * 8
    for worker in workers:
        worker.stdout.close()
    acknowledged = {int(index): int(n) for index, n in printed}
    assert {entry.index: entry.body["n"] for entry in read_entries(log.path)} == acknowledged
    assert sorted(acknowledged.values()) == list(range(4000))


def test_two_open_logs_in_one_process_do_not_overtake_each_other(log):
    other = AuditLog.open(log.path)
    for n in range(6):
        (log, other)[n % 2].record("note", {"n": n})
    assert bodies(log) == list(range(6))


def test_appending_reads_only_what_other_writers_added(log, monkeypatch):
    fill(log, 3000, padding=1000)
    other = AuditLog.open(log.path)
    read, real = [], os.pread

    def counting(fd: int, count: int, offset: int) -> bytes:
        data = real(fd, count, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    log.record("note", {"n": 1})
    assert sum(read) == 0
    entry = log.record("note", {"n": 2})
    other.record("note", {"n": 3})
    assert 2 * len(entry.line) - 10 < sum(read) < 2 * len(entry.line) + 10
    read.clear()
    AuditLog.open(log.path)
    assert sum(read) < MAX_COMMIT + 4 * 65_535 < (log.path / "log.jsonl").stat().st_size


# -- what a crash leaves


@given(cut=st.integers(1, 700))
@settings(max_examples=60)
def test_a_torn_last_line_is_set_aside_and_whole_lines_are_kept(tmp_path_factory, cut):
    log = AuditLog.create(tmp_path_factory.mktemp("log") / "log")
    whole = fill(log, 5)[:-cut]
    (log.path / "log.jsonl").write_bytes(whole)
    kept, torn = whole.count(b"\n"), whole[whole.rfind(b"\n") + 1 :]
    with AuditLog.open(log.path).exclusive() as writer:
        assert writer.end.index == kept + bool(torn)
    raw = (log.path / "log.jsonl").read_bytes()
    assert raw.startswith(whole.removesuffix(torn))
    told = list(log.entries())[kept:]
    aside = {"bytes": len(torn), "offset": len(whole) - len(torn), "sha256": sha256_hex(torn)}
    assert [(entry.type, entry.body) for entry in told] == [(TAIL_SET_ASIDE, aside)] * bool(torn)
    assert [file.read_bytes() for file in (log.path / "set-aside").glob("*")] == [torn] * bool(torn)
    log = AuditLog.open(log.path)
    log.record("note", {"n": 99})
    assert bodies(log) == [*range(kept), 99]


def test_what_is_cut_is_kept_on_disk_before_anything_else_and_said_once(log, monkeypatch, caplog):
    raw, torn = fill(log, 2), b'{"body":{"n"'
    (log.path / "log.jsonl").write_bytes(raw + torn)
    before = []
    real = os.ftruncate
    kept = log.path / "set-aside" / f"{len(raw)}-{sha256_hex(torn)[:16]}"
    monkeypatch.setattr(os, "ftruncate", lambda fd, size: (before.append(kept.read_bytes()), real(fd, size)))
    with log.exclusive() as writer:
        assert writer.torn == 12
    with log.exclusive() as writer:
        assert writer.torn == 0
    assert before == [torn]
    assert [record.getMessage() for record in caplog.records] == [
        f"{log.path}: 12 bytes from byte {len(raw)} on were taken out of the log; they are kept in {kept}"
    ]


@pytest.mark.parametrize(("begin", "length"), [(0, 5_000), (300, 512), (300, 4_096), (0, 7), (90_000, 10_000)])
def test_a_commit_with_a_hole_is_taken_back_to_its_last_whole_line(log, begin, length):
    old = fill(log, 3)
    new = bytearray(fill(log, 200, padding=300)[len(old) :])
    new[begin : begin + length] = bytes(len(new[begin : begin + length]))
    (log.path / "log.jsonl").write_bytes(old + new)
    AuditLog.open(log.path).record("note", {"n": 99})
    whole = bytes(new[:begin]).count(b"\n")
    assert bodies(log) == [0, 1, 2, *range(whole), 99]


def test_readers_pass_over_a_torn_last_line(log):
    (log.path / "log.jsonl").write_bytes(fill(log, 2) + b'{"body":{"n"')
    assert bodies(log) == [0, 1]


# -- what no crash leaves


def test_an_altered_line_near_the_end_is_an_error_and_is_kept(log):
    raw = fill(log, 5)
    altered = raw.replace(b'"n":2', b'"n":7')
    (log.path / "log.jsonl").write_bytes(altered)
    with pytest.raises(ChainError, match="log entry 3 follows another line"):
        AuditLog.open(log.path)
    broken = raw.replace(b'"index":4', b'"index":\0')
    (log.path / "log.jsonl").write_bytes(broken)
    with pytest.raises(FormatError, match="log entry 4 is not a canonical line"):
        AuditLog.open(log.path)
    assert (log.path / "log.jsonl").read_bytes() == broken


def test_more_garbage_than_a_crash_leaves_is_an_error(log):
    (log.path / "log.jsonl").write_bytes(fill(log, 1) + b"x" * (MAX_COMMIT + 1))
    with pytest.raises(FormatError, match=r"the log ends in 1048577 bytes that are no entries"):
        AuditLog.open(log.path)


def test_a_log_that_shrinks_under_a_writer_is_an_error(log):
    raw = fill(log, 5)
    os.truncate(log.path / "log.jsonl", len(raw) // 2)
    with pytest.raises(RollbackError, match=rf"has {len(raw) // 2} bytes, but had {len(raw)} with 5 entries"):
        log.record("note", {})


def test_a_replaced_file_is_read_anew(log):
    raw = fill(log, 5)
    (log.path / "copy").write_bytes(raw[: raw.find(b"\n") + 1])
    (log.path / "copy").replace(log.path / "log.jsonl")
    assert log.record("note", {"n": 9}).index == 1


# -- what the system refuses


def test_a_write_that_the_disk_refuses_is_taken_back_and_said_so(log):
    raw = fill(log, 3)
    code = """
import resource, sys
from unlearnkit.compliance.log.log import AuditLog
log = AuditLog.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
try:
    log.record("note", {"n": 3})
except OSError as err:
    print(err)
"""
    command = [sys.executable, "-c", code, str(log.path), str(len(raw) + 50)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == f"[Errno 27] File too large: 0 of 1 entry recorded: '{log.path}/log.jsonl'\n"
    assert (log.path / "log.jsonl").read_bytes() == raw


def test_an_error_reaches_every_thread_that_waits_and_the_log_goes_on(log, monkeypatch):
    real, errors, gate = os.fsync, [], threading.Event()

    def failing(fd: int) -> None:
        raise OSError(28, "No space left on device")

    def work() -> None:
        gate.wait()
        try:
            log.record("note", {"n": 0})
        except OSError as err:
            errors.append(str(err))

    monkeypatch.setattr(os, "fsync", failing)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    assert all("No space left on device: 0 of" in message for message in errors)
    assert bodies(log) == []
    monkeypatch.setattr(os, "fsync", real)
    assert log.record("note", {"n": 1}).index == 0


def test_an_error_before_the_first_byte_names_the_log(log, monkeypatch):
    import fcntl

    def failing(fd: int, operation: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(OSError, match=r"Input/output error: '.*log\.jsonl'"):
        log.record("note", {"n": 0})
    monkeypatch.undo()
    assert log.record("note", {"n": 0}).index == 0


def test_an_interrupted_commit_leaves_nobody_waiting(log, monkeypatch):
    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.record("note", {"n": 0})
    monkeypatch.undo()
    assert log.record("note", {"n": 1}).index == 1  # the interrupted one was written; nobody was told so
    assert bodies(log) == [0, 1]


def test_the_clock_is_given(log):
    assert log.record("note", {}).time == NOON.replace(microsecond=0)


def test_times_never_decrease_when_the_clock_is_set_back(log):
    """Neither in this process nor in the next, which reads the last time from the log."""
    early = NOON - timedelta(days=1)
    log.record("note", {"n": 0})
    for again in (log, AuditLog(log.path), AuditLog.open(log.path)):
        again.now = lambda: early
        assert again.record("note", {}).time == NOON.replace(microsecond=0)
    log.now = lambda: NOON + timedelta(hours=1)
    assert log.record("note", {}).time == (NOON + timedelta(hours=1)).replace(microsecond=0)
