"""A log that is signed, or repaired, with a fault at its calls to the system, and what must hold after each."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.traced import FAILING, calls_of, with_fault
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.clock import utc_now
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.repair import repair
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.signing.keys import Algorithm, PrivateKey

_KEY = LogKey("example.com/log", PrivateKey.generate(Algorithm.ED25519))
_SIGNED, _ALL = 5, 8
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC")


@dataclass(frozen=True, slots=True)
class Trial:
    """Work on a log in a folder that is laid out anew for each fault. lines: the signed ones."""

    folder: Path
    lines: bytes
    damaged: bool

    @classmethod
    def made(cls, folder: Path, *, damaged: bool) -> Trial:
        """Five entries that are signed, three that are not, and a torn line; or zeros among the signed ones."""
        log = AuditLog.create(folder / "made" / "log", key=_KEY)
        log.record_many(draft("note", {"n": n}) for n in range(_SIGNED))
        log.checkpoint()
        log.record_many(draft("note", {"n": n}) for n in range(_SIGNED, _ALL))
        file = log.path / "log.jsonl"
        whole = file.read_bytes()
        (folder / "backup").write_bytes(whole)
        file.write_bytes(whole[:200] + bytes(512) + whole[712:] if damaged else whole + b'{"body":{"n":8')
        return cls(folder, b"".join(whole.splitlines(keepends=True)[:_SIGNED]), damaged)

    def fresh(self) -> AuditLog:
        """The log as it was laid out, in a copy."""
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        shutil.copytree(self.folder / "made", self.folder / "copy")
        return AuditLog(self.folder / "copy" / "log", key=_KEY)

    def work(self, log: AuditLog) -> None:
        """Sign, or repair from the copy of the log."""
        if self.damaged:
            repair(log.path, log=_KEY.public, now=utc_now, source=self.folder / "backup")
        else:
            log.checkpoint()

    def wrong(self, log: AuditLog) -> str:
        """What is not as it should be after a fault; empty if nothing is."""
        found, before = (log.path / "log.jsonl").read_bytes(), (self.folder / "made/log/log.jsonl").read_bytes()
        if not (found.startswith(self.lines) or (self.damaged and found == before)):
            return "a signed entry is lost"
        self.work(log)
        log.record("note", {"n": 99})
        log.checkpoint()
        notes = [entry.body["n"] for entry in log.entries() if entry.type == "note"]
        if notes != [*range(_ALL), 99] or verify_log(log.path, log=_KEY.public).checkpoint.size < len(notes):
            return f"the next try gives {notes}"
        return ""


def faults_of(calls: list[tuple[str, int]]) -> list[tuple[str, int, str]]:
    """Each call with each fault that it may have."""
    return [(*call, fault) for call in calls for fault in FAULTS if fault == "signal=KILL" or call[0] in FAILING]


def tried(trial: Trial, chosen: Callable[[str], bool] = lambda _: True) -> tuple[Counter[str], list[str]]:
    """How many faults of each kind were tried, at calls whose names were chosen; and what went wrong."""
    plain = trial.fresh()
    calls = [call for call in calls_of(lambda: trial.work(plain)) if chosen(call[0])]
    counts, wrong = Counter[str](), list[str]()
    for name, number, fault in faults_of(calls):
        log = trial.fresh()
        code = with_fault(lambda log=log: trial.work(log), name, number, fault)  # type: ignore[misc]
        counts[f"{fault}, which ended it" if code else f"{fault}, got over"] += 1
        problem = "another exception" if code == 2 else trial.wrong(log)
        wrong += [f"{name} {number}, {fault}: {problem}"] if problem else []
    return counts, wrong
