"""Desks for the tests: a log with a pseudonym key, a clock that is moved by hand, every step by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.compliance.requests.register import KEY_CREATED
from unlearnkit.names import NAMES

KEY = PseudonymKey(bytes(32))
DIGEST = "ab" * 32
GDPR, CCPA = Policy.load("gdpr"), Policy.load("ccpa")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2025, 3, 5, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


def new_log(path: Path, clock: Clock) -> AuditLog:
    """A log in which requests can be recorded under KEY."""
    log = AuditLog.create(path, now=clock)
    log.record(KEY_CREATED, {"key": KEY.fingerprint, "names": NAMES})
    return log


def desk_of(log: AuditLog, policy: Policy = GDPR, key: PseudonymKey | None = KEY) -> Desk:
    return Desk(log, Policies(default=policy), actor=policy.words.actors[0], timezone=UTC, key=key)


def raw(log: AuditLog) -> bytes:
    return (log.path / "log.jsonl").read_bytes()


STEPS = {
    "acknowledge": lambda desk, name: desk.acknowledge(name),
    "assign": lambda desk, name: desk.assign(name, to="privacy-officer"),
    "correct": lambda desk, name: desk.correct_receipt(
        name, received=desk.register().get(name).received - timedelta(days=1)
    ),
    "ask identity": lambda desk, name: desk.ask_identity(name),
    "fail identity": lambda desk, name: desk.fail_identity(name, method="in-person"),
    "pause": lambda desk, name: desk.pause(name, reason="identity-in-doubt"),
    "resume": lambda desk, name: desk.resume_clock(name),
    "verify": lambda desk, name: desk.verify_identity(name, method="in-person"),
    "extend": lambda desk, name: desk.extend(name, reason="complexity"),
    "assess": lambda desk, name: desk.assess(name, decision="fulfil"),
    "assess to refuse": lambda desk, name: desk.assess(name, decision="refuse"),
    "refuse": lambda desk, name: desk.refuse(name, reason="art-17-3-c-public-health"),
    "fulfil": lambda desk, name: desk.fulfil(name, method="negligible-effect", evidence=[DIGEST]),
    "withdraw": lambda desk, name: desk.withdraw(name, reason="requested-by-person"),
    "appeal": lambda desk, name: desk.appeal(name, kind="complaint-to-authority"),
    "tell": lambda desk, name: desk.notify(name, recipient="processors"),
    "confirm": lambda desk, name: desk.confirm(name, recipient="processors"),
}
