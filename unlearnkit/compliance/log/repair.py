"""Repairing a log: what is signed is restored, what is beyond it and good is kept, everything else is set aside.

Nothing signed is ever given up: the first entries of the repaired log have the very root that the checkpoint signs, or
nothing is changed. Steps that were not legal, which nobody may sign, are replaced one by one, so that all other entries
keep their places, after which requests are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from unlearnkit.canonical import canonicalize
from unlearnkit.compliance.log.aside import SetAside, set_aside
from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.clock import Clock, format_time
from unlearnkit.compliance.log.entry import (
    START,
    Draft,
    Entry,
    Position,
    advance,
    check_link,
    draft,
    encode_line,
    parse_line,
)
from unlearnkit.compliance.log.head import CHECKPOINT_FILE, read_head
from unlearnkit.compliance.log.lock import open_locked, unlock
from unlearnkit.compliance.log.merkle import EMPTY_ROOT, Frontier, leaf_hash
from unlearnkit.compliance.log.reader import LOG_FILE, mode_of
from unlearnkit.compliance.log.tiles import is_export, read_export
from unlearnkit.compliance.log.verification import stored_checkpoints
from unlearnkit.errors import ChainError, FormatError, RollbackError, UnknownNameError, VerificationError
from unlearnkit.files import PRIVATE_MODE, write_atomic
from unlearnkit.names import Sha256, Word
from unlearnkit.records import Count, to_json
from unlearnkit.signing.note import NoteKey

REPAIRED, ENTRY_SET_ASIDE = "log-repaired", "log-entry-set-aside"
"""Types of the entries that say what was done, and that an entry stood in their place that was not legal."""

Judge = Callable[[Entry], object]
"""Takes the entries in order, and lets those by for which it raises FormatError or VerificationError: illegal steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did. signed, root: how many entries were signed, and their root, which the repaired log has.

    kept: unsigned entries that were good. illegal: entries that were replaced. set_aside: what was taken out.
    """

    signed: Count
    root: Sha256
    kept: Count
    illegal: tuple[Count, ...]
    set_aside: SetAside


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySetAside:
    """That an entry of this type, whose line had this digest, stood here and was no legal step."""

    type: Word
    sha256: Sha256


def repair(
    path: Path, *, log: NoteKey, now: Clock, judge: Judge = lambda _: None, source: Path | None = None
) -> Repaired | None:
    """Repair the log in the directory ``path``; None if there was nothing to repair. On return all of it is on disk.

    Args:
        path: The log's directory.
        log: The key that its checkpoint is signed with.
        now: Where the time of the entry comes from that records the repair.
        judge: Says which entries are not legal steps.
        source: A copy of the log (a file, or a log's directory), or an export as tiles; None: the damaged log alone.

    Raises:
        RollbackError: What is signed is neither in the log nor in the source: nothing was changed.
        VerificationError: A step was not legal, and is signed.
        UnknownNameError: There is no such source.
    """
    file = path / LOG_FILE
    if not file.exists():
        file.touch(mode=PRIVATE_MODE)
    descriptor = open_locked(str(file))
    try:
        found, copy = file.read_bytes(), b"" if source is None else _read(source)
        heads = _heads(path, log)
        signed = _signed_part([found, found + b"\n", copy + found[len(copy) :]], heads)
        tails = [_good(raw[len(signed) :], _end(signed)) for raw in (found, copy)]
        lines, illegal = _legal(signed, max(tails, key=len, default=[]), judge)
        repaired = signed + b"".join(lines)
        if repaired == found:
            return None
        return _replace(path, found, repaired, heads, len(lines) - len(illegal), illegal, now)
    finally:
        unlock(descriptor)


def _replace(
    path: Path, found: bytes, repaired: bytes, heads: list[Checkpoint], kept: int, illegal: list[int], now: Clock
) -> Repaired:
    """Put the repaired log, with the entry that says so, in the place of the other in one step."""
    pairs = enumerate(zip(found, repaired, strict=False))
    same = next((place for place, (old, new) in pairs if old != new), min(len(found), len(repaired)))
    done = Repaired(
        signed=heads[0].size if heads else 0,
        root=(heads[0].root if heads else EMPTY_ROOT).hex(),
        kept=kept,
        illegal=tuple(illegal),
        set_aside=set_aside(path, found[same:], offset=same),
    )
    entry = encode_line(draft(REPAIRED, to_json(done)), position=_end(repaired), time=format_time(now()))
    write_atomic(path / LOG_FILE, repaired + entry, mode=mode_of(path))
    return done


def _heads(path: Path, log: NoteKey) -> list[Checkpoint]:
    """What is signed, the newest first; a damaged checkpoint in the folder is set aside if another is beside it."""
    try:
        current, earlier = stored_checkpoints(path, log=log)
    except (FormatError, VerificationError):
        file = path / CHECKPOINT_FILE
        if read_head(path) is None or not file.exists():
            raise
        set_aside(path, file.read_bytes(), offset=0)
        file.unlink()
        current, earlier = stored_checkpoints(path, log=log)
    return [] if current is None else [current, *earlier]


def _signed_part(candidates: Iterable[bytes], heads: list[Checkpoint]) -> bytes:
    """The signed lines, from the first candidate that has them."""
    if not heads:
        return b""
    for raw in candidates:
        end = _is_signed(raw, heads)
        if end is not None:
            return raw[:end]
    raise RollbackError(
        f"the {heads[0].size} entries that are signed are not all there: nothing was changed",
        hint="`unlearnkit log repair --from` a copy of the log, or its export",
    )


def _is_signed(raw: bytes, heads: list[Checkpoint]) -> int | None:
    """Where the lines end that all heads sign; None if these are others."""
    frontier, wanted, offset = Frontier(), {0: EMPTY_ROOT}, 0
    for size, line in enumerate(_lines(raw), 1):
        frontier.append(leaf_hash(line))
        offset += len(line)
        wanted[size] = frontier.root() if any(head.size == size for head in heads) else b""
        if size == heads[0].size:
            break
    return offset if all(wanted.get(head.size) == head.root for head in heads) else None


def _good(raw: bytes, position: Position) -> list[bytes]:
    """The lines at the beginning of ``raw`` that continue the chain."""
    good = []
    for line in _lines(raw):
        try:
            entry = parse_line(line, where="")
            check_link(position, entry.index, entry.previous)
        except (FormatError, ChainError):
            break
        good.append(line)
        position = advance(position, line)
    return good


def _legal(signed: bytes, tail: list[bytes], judge: Judge) -> tuple[list[bytes], list[int]]:
    """The lines beyond the signed ones, with those replaced that are not legal steps; and which ones."""
    for line in _lines(signed):
        judge(parse_line(line, where="signed entry"))
    position, lines, illegal, time = _end(signed), [], [], datetime.min.replace(tzinfo=UTC)
    for line in tail:
        entry = parse_line(line, where="entry")
        item = Draft(entry.type, entry.body, canonicalize(dict(entry.body)))
        try:
            judge(entry)
        except (FormatError, VerificationError):
            illegal.append(entry.index)
            item = draft(ENTRY_SET_ASIDE, to_json(EntrySetAside(type=entry.type, sha256=entry.digest)))
        time = max(time, entry.time)
        lines.append(encode_line(item, position=position, time=format_time(time)))
        position = advance(position, lines[-1])
    return lines, illegal


def _end(raw: bytes) -> Position:
    position = START
    for line in _lines(raw):
        position = advance(position, line)
    return position


def _lines(raw: bytes) -> Iterator[bytes]:
    """Whole lines."""
    begin = 0
    while end := raw.find(b"\n", begin) + 1:
        yield raw[begin:end]
        begin = end


def _read(source: Path) -> bytes:
    """The whole lines of a copy or an export."""
    if is_export(source):
        return read_export(source)
    file = source / LOG_FILE if source.is_dir() else source
    if not file.is_file():
        raise UnknownNameError(f"no copy of a log at {source}", hint="give a log's directory, its file, or an export")
    raw = file.read_bytes()
    return raw[: raw.rfind(b"\n") + 1]
