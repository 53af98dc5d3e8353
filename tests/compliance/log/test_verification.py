"""What was done to a log is told apart, and reported with the evidence."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import needs
from unlearnkit.compliance.log.checkpoint import LogKey, sign_checkpoint
from unlearnkit.compliance.log.entry import START, Position, advance, draft, encode_line
from unlearnkit.compliance.log.head import head_file
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.merkle import Tree, leaf_hash
from unlearnkit.compliance.log.publication import import_checkpoint, publish_checkpoint
from unlearnkit.compliance.log.verification import read_history, verify_log
from unlearnkit.errors import (
    ChainError,
    ConsistencyError,
    FormatError,
    RollbackError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
    UnlearnkitError,
    VerificationError,
)
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.note import cosign_note


@pytest.fixture
def signed(log, fill, key):
    """Ten entries under a checkpoint."""
    publish_checkpoint(fill(log, 10), key)
    return log


def lines_of(log: AuditLog) -> list[bytes]:
    return (log.path / "log.jsonl").read_bytes().splitlines(keepends=True)


def put(log: AuditLog, lines: list[bytes]) -> None:
    (log.path / "log.jsonl").write_bytes(b"".join(lines))


def chained(bodies: list[dict]) -> list[bytes]:
    """A log written by somebody who knows the format: no line shows that it was made up."""
    position, lines = START, []
    for body in bodies:
        lines.append(encode_line(draft("note", body), position=position, time="2025-01-31T12:00:00Z"))
        position = advance(position, lines[-1])
    return lines


def rewrite(log: AuditLog, count: int, **change: object) -> list[bytes]:
    bodies = [json.loads(line)["body"] for line in lines_of(log)[:count]]
    bodies[3].update(change)
    lines = chained(bodies)
    put(log, lines)
    return lines


def test_a_log_that_was_only_appended_to_verifies(signed, key, fill):
    checkpoint = (signed.path / "checkpoint").read_bytes()
    fill(signed, 5)
    found = verify_log(signed.path, log=key.public, earlier=[checkpoint])
    tree = Tree(leaf_hash(line) for line in lines_of(signed))
    assert (found.size, found.root, found.checkpoint.size, found.torn) == (15, tree.root(), 10, 0)
    assert found.checkpoint.root == tree.root(10)


def test_every_line_names_the_digest_of_the_one_before(signed):
    lines = lines_of(signed)
    assert [json.loads(line)["previous"] for line in lines[1:]] == [hashlib.sha256(x).hexdigest() for x in lines[:-1]]


@needs.aics_tlog
def test_aics_tlog_computes_the_same_root(signed, key):
    from aics_tlog import MerkleTree

    assert verify_log(signed.path, log=key.public).root == MerkleTree(lines_of(signed)).root()


def test_a_removed_entry_is_named(signed, key):
    lines = lines_of(signed)
    put(signed, lines[:4] + lines[5:])
    with pytest.raises(ChainError, match="log entry 4 was removed: line 5 has entry 5") as caught:
        verify_log(signed.path, log=key.public)
    assert caught.value.index == 4
    put(signed, lines[:4] + lines[7:])
    with pytest.raises(ChainError, match="log entries 4 to 6 were removed: line 5 has entry 7"):
        verify_log(signed.path, log=key.public)


def test_reordered_entries_are_named(signed, key):
    lines = lines_of(signed)
    put(signed, [*lines[:3], lines[6], *lines[4:6], lines[3], *lines[7:]])
    with pytest.raises(ChainError, match="log entries were reordered: line 4 has entry 6, and line 7 has entry 3"):
        verify_log(signed.path, log=key.public)


def test_a_repeated_entry_is_named(signed, key):
    lines = lines_of(signed)
    put(signed, [*lines[:6], *lines[2:]])
    with pytest.raises(ChainError, match="log line 7 was inserted: it repeats entry 2"):
        verify_log(signed.path, log=key.public)


def test_an_edited_entry_is_named(signed, key):
    lines = lines_of(signed)
    put(signed, [line.replace(b'"n":4', b'"n":7') for line in lines])
    with pytest.raises(ChainError, match="log entry 4 was edited: log entry 5 follows another line") as caught:
        verify_log(signed.path, log=key.public)
    assert caught.value.index == 4
    assert hashlib.sha256(lines[4]).hexdigest() in str(caught.value)
    put(signed, [lines[0].replace(b"0" * 64, b"1" * 64), *lines[1:]])
    with pytest.raises(ChainError, match="log entry 0 was edited: it says that a line comes before it"):
        verify_log(signed.path, log=key.public)


def test_a_truncated_history_is_told_from_an_edited_one(signed, key):
    put(signed, lines_of(signed)[:7])
    with pytest.raises(
        RollbackError, match="the log was truncated: it has 7 entries, its checkpoint signs 10"
    ) as caught:
        verify_log(signed.path, log=key.public)
    assert (signed.path / "checkpoint").read_text().strip() in str(caught.value)


@pytest.mark.parametrize("where", ["last entry", "rewritten chain"])
def test_a_history_that_chains_but_was_not_signed_is_rewritten(signed, key, where):
    if where == "last entry":  # no line comes after it that could tell
        put(signed, [line.replace(b'"n":9', b'"n":8') for line in lines_of(signed)])
    else:
        rewrite(signed, 10, n=77)
    with pytest.raises(ConsistencyError, match="the log was rewritten: its first 10 entries are not") as caught:
        verify_log(signed.path, log=key.public)
    assert caught.value.older == (signed.path / "checkpoint").read_bytes()
    assert caught.value.newer.startswith(b"example.com/unlearnkit/log1\n10\n")


def test_a_forked_log_is_shown_by_two_signed_heads(signed, key):
    older = (signed.path / "checkpoint").read_bytes()
    lines = rewrite(signed, 10, n=77)
    newer = sign_checkpoint(key, size=10, root=Tree(map(leaf_hash, lines)).root())  # whoever forks it has the key
    (signed.path / "checkpoint").write_bytes(newer)
    with pytest.raises(ConsistencyError, match="the log was forked"):  # where it is written, both heads are at hand
        verify_log(signed.path, log=key.public)
    head_file(signed.path).unlink()
    verify_log(signed.path, log=key.public)
    with pytest.raises(ConsistencyError, match="the log was forked: no history has both heads") as caught:
        verify_log(signed.path, log=key.public, earlier=[older])
    assert (caught.value.older, caught.value.newer) == (older, newer)
    assert older.decode().strip() in str(caught.value)


def test_a_rolled_back_checkpoint_is_told_from_a_rolled_back_log(signed, key, fill):
    old = (signed.path / "checkpoint").read_bytes()
    fill(signed, 5)
    new = publish_checkpoint(signed, key).raw
    (signed.path / "checkpoint").write_bytes(old)
    assert verify_log(signed.path, log=key.public).checkpoint.raw == new  # which is kept beside the log
    head_file(signed.path).unlink()
    expected = "the checkpoint was rolled back: it signs 10 entries, an earlier one 15, which the log still has"
    with pytest.raises(RollbackError, match=expected):
        verify_log(signed.path, log=key.public, earlier=[new])
    put(signed, lines_of(signed)[:12])
    verify_log(signed.path, log=key.public)  # by itself, an old copy of a log is a good log
    with pytest.raises(RollbackError, match="rolled back: it has 12 entries, an earlier checkpoint signs 15") as caught:
        verify_log(signed.path, log=key.public, earlier=[new])
    assert old.decode().strip() in str(caught.value)
    assert new.decode().strip() in str(caught.value)


def test_a_log_without_a_checkpoint_or_with_another_key_is_not_verified(log, fill, key):
    fill(log, 3)
    with pytest.raises(SignatureError, match="has no checkpoint: nothing signed says") as caught:
        verify_log(log.path, log=key.public)
    assert "log checkpoint" in caught.value.hint
    publish_checkpoint(log, LogKey(key.origin, PrivateKey.generate(Algorithm.ED25519)))
    with pytest.raises(SignatureError, match="no signature by"):
        verify_log(log.path, log=key.public)


def test_the_checkpoint_of_another_log_is_refused_even_if_signed_with_its_name(signed, key):
    from unlearnkit.signing.note import sign_note

    text = (signed.path / "checkpoint").read_text().split("\n\n")[0].replace("log1", "log2") + "\n"
    (signed.path / "checkpoint").write_bytes(sign_note(text, name=key.origin, signer=key.private))
    with pytest.raises(ConsistencyError, match=r"is of another log: got example\.com/unlearnkit/log2"):
        verify_log(signed.path, log=key.public)


def test_witnesses_are_counted(signed, key, witness, witness_key):
    with pytest.raises(ThresholdError, match="too few cosignatures of known witnesses: got 0, expected 1"):
        verify_log(signed.path, log=key.public, witnesses=[witness], quorum=1)
    raw = (signed.path / "checkpoint").read_bytes()
    cosigned = cosign_note(raw, where="x", log=key.public, name=witness.name, signer=witness_key, time=1_800_000_000)
    import_checkpoint(signed, cosigned, key=key.public, witnesses=[witness])
    found = verify_log(signed.path, log=key.public, witnesses=[witness], quorum=1)
    assert [item.witness for item in found.checkpoint.cosignatures] == [witness]


def test_an_unfinished_last_line_is_counted_and_no_entry(signed, key):
    with (signed.path / "log.jsonl").open("ab") as file:
        file.write(b'{"body":')
    found = verify_log(signed.path, log=key.public)
    assert (found.size, found.torn) == (10, 8)


def test_lines_that_are_no_entries_do_not_hide_what_was_reordered(signed, key):
    lines = lines_of(signed)
    put(signed, [*lines[:3], lines[6], b"garbage\n", *lines[4:6], lines[3], *lines[7:]])
    with pytest.raises(ChainError, match="line 4 has entry 6, and line 8 has entry 3"):
        verify_log(signed.path, log=key.public)
    put(signed, [*lines[:3], b"garbage\n", *lines[3:]])
    with pytest.raises(FormatError, match="log entry 3 is not a canonical line"):
        verify_log(signed.path, log=key.public)


def test_a_history_can_be_read_up_to_a_place(signed):
    whole = read_history(signed.path, {4})
    assert read_history(signed.path, end=Position(4, len(b"".join(lines_of(signed)[:4])), "")).root == whole.roots[4]
    with pytest.raises(UnknownNameError, match="no audit log at"):
        read_history(signed.path / "other")


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_found(signed, key, data, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copy") / "log"
    shutil.copytree(signed.path, copy)
    file = copy / data.draw(st.sampled_from(["log.jsonl", "checkpoint"]))
    raw = file.read_bytes()
    position = data.draw(st.integers(0, len(raw) - 1))
    how = data.draw(st.sampled_from(["flip", "insert", "delete", "truncate"]))
    bit = bytes([raw[position] ^ 1 << data.draw(st.integers(0, 7))])
    tampered = {
        "flip": raw[:position] + bit + raw[position + 1 :],
        "insert": raw[:position] + bit + raw[position:],
        "delete": raw[:position] + raw[position + 1 :],
        "truncate": raw[:position],
    }[how]
    file.write_bytes(tampered)
    with pytest.raises((FormatError, VerificationError), match=r"."):
        verify_log(copy, log=key.public)


def test_verifying_takes_memory_for_one_line_not_for_all(log, fill, key):
    fill(log, 4000)
    publish_checkpoint(log, key)
    tracemalloc.start()
    verify_log(log.path, log=key.public)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400_000 < (log.path / "log.jsonl").stat().st_size


def test_a_missing_log_is_said_to_be_missing(tmp_path, key):
    with pytest.raises(UnlearnkitError, match="has no checkpoint"):
        verify_log(tmp_path, log=key.public)
