"""Destroying the pseudonym key: recorded, final, and finished even if it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.compliance.requests.desks import KEY, desk_of, new_log, raw
from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.requests.erasure import destroy_key
from unlearnkit.errors import RefusedError, UnknownNameError


@pytest.fixture
def log(tmp_path, clock):
    return new_log(tmp_path / "log", clock)


@pytest.fixture
def desk(log):
    return desk_of(log)


def test_a_key_that_is_not_the_one_in_force_records_nothing(log):
    with pytest.raises(RefusedError, match="requests cannot be recorded under pseudonym key"):
        desk_of(log, key=PseudonymKey(bytes([1] * 32))).receive(["jane"], source="email")
    with pytest.raises(UnknownNameError, match="the pseudonym key is missing"):
        desk_of(log, key=None).receive(["jane"], source="email")


@pytest.fixture
def key_file(tmp_path) -> Path:
    KEY.save(tmp_path / "pseudonym.key")
    return tmp_path / "pseudonym.key"


def test_destroying_the_key_is_recorded_and_makes_the_log_unlinkable(desk, log, key_file):
    desk.receive(["jane"], source="email")
    with pytest.raises(RefusedError, match="1 request open, first R1: their people could not be told"):
        destroy_key(desk, key_file)
    desk.withdraw("R1", reason="requested-by-person")
    assert destroy_key(desk, key_file) == 3
    assert not key_file.exists()
    assert json.loads(raw(log).splitlines()[3])["body"] == {"key": KEY.fingerprint}
    left = desk_of(log, key=None)
    for asking in (lambda: left.receive(["joe"], source="email"), lambda: left.requests_of(subject="jane")):
        with pytest.raises(RefusedError, match="the pseudonym key was destroyed, as entry 3 of the log says"):
            asking()
    with pytest.raises(RefusedError, match="it was destroyed with entry 3"):
        desk_of(log).receive(["joe"], source="email")  # also with a copy of the key that somebody kept
    assert left.register().get("R1").state == "withdrawn"


def test_an_interrupted_destruction_is_finished_and_recorded_once(desk, log, key_file, monkeypatch):
    def interrupted(self: Path, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            destroy_key(desk, key_file)
    assert key_file.read_bytes() == bytes(65)  # overwritten already
    assert destroy_key(desk_of(log, key=None), key_file) == 1
    assert not key_file.exists()
    with pytest.raises(RefusedError, match="is destroyed already: entry 1 of the log says so"):
        destroy_key(desk_of(log, key=None), key_file)
    assert [entry.type for entry in log.entries()] == ["pseudonym-key-created", "pseudonym-key-destroyed"]
