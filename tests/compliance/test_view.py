"""One pass over a log gives what reading it for each question gives, and tells what is wrong with it."""

from __future__ import annotations

import pytest

from tests.compliance.requests.desks import STEPS, desk_of, new_log
from unlearnkit.compliance.log import reader
from unlearnkit.compliance.log.entry import START, Position, draft, encode_line
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.merkle import Tree, leaf_hash
from unlearnkit.compliance.log.publication import prove_entries, publish_checkpoint
from unlearnkit.compliance.log.verification import read_history
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import ChainError, ConsistencyError, FormatError, UnknownNameError, VerificationError

SOURCE = "web-form"


@pytest.fixture
def log(tmp_path, clock, key):
    """A pseudonym key, two requests, some steps, a note; then a checkpoint; then one more request."""
    made = new_log(tmp_path / "log", clock)
    desk = desk_of(made)
    desk.receive(["ann", "ben"], source=SOURCE)
    for step in ("acknowledge", "verify", "assess", "fulfil"):
        STEPS[step](desk, "R1")
    made.record("note", {"n": 1})
    publish_checkpoint(made, key)
    desk.receive(["cat"], source=SOURCE)
    return made


@pytest.fixture
def parsed(monkeypatch):
    """Counts the lines that are parsed, wherever."""
    from unlearnkit.compliance import view
    from unlearnkit.compliance.log import verification

    counted = []
    for module, name in ((reader, "parse_line"), (verification, "parse_members"), (view, "parse_line")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda line, *, where, real=real: counted.append(line) or real(line, where=where)
        )
    return counted


def lines_of(log) -> list[bytes]:
    return (log.path / "log.jsonl").read_bytes().splitlines(keepends=True)


def test_a_view_has_every_entry_by_place_and_by_type(log, key):
    entries = list(log.entries())
    for view in (LogView.read(log.path), LogView.verify(log.path, log=key.public)):
        assert len(view) == len(entries)
        assert [view.entry(index) for index in range(len(view))] == entries
        assert list(view.entries([3, 0])) == [entries[3], entries[0]]
        for kind in {entry.type for entry in entries}:
            assert list(view.of_type(kind)) == [entry for entry in entries if entry.type == kind]
        assert list(view.of_type("nothing-like-this")) == []


def test_the_register_is_the_one_that_a_desk_finds(log, key):
    expected = desk_of(log).register().requests
    assert LogView.read(log.path).register.requests == expected
    assert LogView.verify(log.path, log=key.public).register.requests == expected
    assert expected["R1"].is_closed


def test_what_the_checkpoint_covers_and_what_is_beyond_it_is_known(log, key):
    view = LogView.verify(log.path, log=key.public)
    assert (view.signed.checkpoint.size, view.unsigned) == (len(view) - 1, 1)
    assert LogView.read(log.path).unsigned == len(view)


def test_each_line_is_parsed_once(log, key, parsed):
    view = LogView.verify(log.path, log=key.public)
    _ = view.register, view.unsigned
    assert parsed == lines_of(log)


@pytest.mark.parametrize("index", [-1, 9, 10**9])
def test_an_entry_that_is_not_there_is_said(log, index):
    with pytest.raises(UnknownNameError, match=f"no entry {index} in the log") as caught:
        LogView.read(log.path).entry(index)
    assert "it has 9" in caught.value.hint


def test_a_line_that_changes_after_it_was_read_is_not_believed(log):
    view = LogView.read(log.path)
    file = log.path / "log.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"body":{"n":1}', b'"body":{"n":2}'))
    with pytest.raises(ChainError, match="log entry 7 has changed since the log was read"):
        view.entry(7)
    assert view.entry(6).index == 6


def test_entries_can_be_read_though_a_step_was_not_legal_but_no_register_is_made(log, key):
    log.record("request-acknowledged", {"request": "R77", "by": "support", "on": "2025-03-05"})
    view = LogView.read(log.path)
    assert view.entry(9).body["request"] == "R77"
    with pytest.raises(VerificationError, match="log entry 9 is not a legal step: no request 'R77'"):
        _ = view.register
    with pytest.raises(VerificationError, match="log entry 9 is not a legal step"):
        LogView.verify(log.path, log=key.public)


def test_a_malformed_step_is_told_as_such(log):
    log.record("request-acknowledged", {"request": "R1"})
    with pytest.raises(FormatError, match="entry 9"):
        _ = LogView.read(log.path).register


def test_that_a_line_was_edited_is_told_before_what_its_step_says(log, key):
    file = log.path / "log.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"request":"R1"', b'"request":"R8"'))
    with pytest.raises(ChainError, match="log entry 3 was edited"):
        LogView.verify(log.path, log=key.public)


def test_that_the_history_was_rewritten_is_told_before_what_its_steps_say(log, key, tmp_path, clock):
    other = new_log(tmp_path / "other", clock)
    for _ in range(8):
        other.record("request-acknowledged", {"request": "R77", "by": "support", "on": "2025-03-05"})
    (log.path / "log.jsonl").write_bytes((other.path / "log.jsonl").read_bytes())
    with pytest.raises(ConsistencyError, match="the log was rewritten"):
        LogView.verify(log.path, log=key.public)


def test_there_is_no_view_of_nothing(tmp_path):
    with pytest.raises(UnknownNameError, match="no audit log at"):
        LogView.read(tmp_path)


# -- going on


def end_of(log) -> Position:
    with log.exclusive() as writer:
        return writer.end


def test_a_view_reads_only_what_is_new(log, parsed):
    view = LogView.read(log.path)
    before = len(view)
    desk_of(log).receive(["dan"], source=SOURCE)
    del parsed[:]
    assert view.up_to(end_of(log)) is view
    assert len(view) == before + 1
    assert "R9" in view.register.requests
    assert len(parsed) == 1
    assert view.entry(9) == list(log.entries())[9]


def test_a_view_goes_no_further_than_the_writer_says(log):
    view = LogView.read(log.path)
    end = end_of(log)
    desk_of(log).receive(["dan"], source=SOURCE)
    assert len(view.up_to(end)) == 9
    assert view.end == end


def test_what_was_taken_back_is_forgotten(log, clock):
    """A commit that failed: somebody read its lines before they were cut off, and other ones came in their place."""
    file = log.path / "log.jsonl"
    whole = file.read_bytes()

    def instead(name: str | None):
        """The log as another process leaves it."""
        file.write_bytes(whole)
        other = AuditLog.open(log.path, now=clock)
        if name is not None:
            desk_of(other).receive([name], source=SOURCE)
        return other

    instead("dan")
    view = LogView.read(log.path)
    for name in ("eve", None):  # a line as long as the one that is gone, and none
        other = instead(name)
        assert view.up_to(end_of(other)).register.requests == desk_of(other).register().requests
        assert len(view) == len(list(other.entries()))


@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_what_a_view_comes_to_is_what_reading_the_lines_gives(log, count):
    lines = lines_of(log)
    end = START if not count else _after(log, count)
    view = LogView.read(log.path, end=end)
    expected = read_history(log.path, range(count + 1), end=end)
    assert view.history(range(count + 1), end=end) == expected
    assert view.tree().root() == Tree(map(leaf_hash, lines[:count])).root()


def _after(log, count: int) -> Position:
    offset = sum(map(len, lines_of(log)[:count]))
    previous = list(log.entries())[count - 1].digest
    return Position(count, offset, previous)


def test_a_checkpoint_and_proofs_made_from_a_view_are_the_ones_made_from_the_lines(log, key):
    view = LogView.read(log.path)
    assert publish_checkpoint(log, key, recompute=view.history).size == 9
    indices = [0, 4, 8]
    from_view = prove_entries(log.path, indices, log=key.public, tree=view.tree())
    assert from_view == prove_entries(log.path, indices, log=key.public)


def test_a_checkpoint_that_is_ahead_of_a_view_is_proved_from_the_lines(log, key):
    tree = LogView.read(log.path).tree()
    log.record("note", {"n": 2})
    publish_checkpoint(log, key)
    assert prove_entries(log.path, [8], log=key.public, tree=tree) == prove_entries(log.path, [8], log=key.public)


def test_a_log_that_is_not_what_was_signed_is_not_signed_from_a_view_either(log, key, tmp_path, clock, fill):
    other = fill(new_log(tmp_path / "other", clock), 12)
    (log.path / "log.jsonl").write_bytes((other.path / "log.jsonl").read_bytes())
    view = LogView.read(log.path)
    with pytest.raises(ConsistencyError, match="the log was rewritten"):
        publish_checkpoint(AuditLog.open(log.path, now=clock), key, recompute=view.history)
    with pytest.raises(ConsistencyError, match="the log was rewritten"):
        prove_entries(log.path, [1], log=key.public, tree=view.tree())


def test_a_log_whose_times_decrease_is_not_a_legal_one(tmp_path, key, clock):
    """Its chain and its signature are right: whoever keeps it wrote it so."""
    log = AuditLog.create(tmp_path / "log", now=clock)
    first = log.record("note", {"n": 1})
    place = Position(1, len(first.line), first.digest)
    line = encode_line(draft("note", {"n": 2}), position=place, time="2025-03-05T08:59:59Z")
    with (log.path / "log.jsonl").open("ab") as file:
        file.write(line)
    publish_checkpoint(log, key)
    message = "log entry 1 is from 2025-03-05T08:59:59Z, the one before it from 2025-03-05T09:00:00Z"
    with pytest.raises(VerificationError, match=message):
        _ = LogView.read(log.path).register
    with pytest.raises(VerificationError, match=message):
        LogView.verify(log.path, log=key.public)
