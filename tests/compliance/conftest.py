"""A log with a key, and a witness."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.compliance.requests.desks import Clock
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.note import NoteKind, note_key

ORIGIN = "example.com/unlearnkit/log1"
WITNESS = "witness.example/w1"


@pytest.fixture(scope="session")
def key():
    return LogKey(ORIGIN, PrivateKey.generate(Algorithm.ED25519))


@pytest.fixture(scope="session")
def witness_key():
    return PrivateKey.generate(Algorithm.ED25519)


@pytest.fixture(scope="session")
def witness(witness_key):
    return note_key(WITNESS, witness_key.public, kind=NoteKind.COSIGNATURE)


@pytest.fixture
def log(tmp_path):
    """An empty log whose clock stands still."""
    return AuditLog.create(tmp_path / "log", now=lambda: datetime(2025, 1, 31, 12, tzinfo=UTC))


@pytest.fixture
def clock():
    """Stands still until a test moves it."""
    return Clock()


@pytest.fixture
def fill():
    """Records entries with bodies n = 0, 1, ... up to a count."""

    def record(log: AuditLog, count: int) -> AuditLog:
        log.record_many(draft("note", {"n": n}) for n in range(count))
        return log

    return record
