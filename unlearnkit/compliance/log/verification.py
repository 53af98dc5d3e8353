"""Verifying a log: everything is recomputed from the raw bytes, and held against what was signed.

The chain shows that a line was removed, moved or edited, and where. A history that was rewritten, chain and all, or cut
at its end, shows only against a signed checkpoint; that a checkpoint itself was replaced shows only against an earlier
one that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.checkpoint import Checkpoint, checkpoint_text, verify_checkpoint
from unlearnkit.compliance.log.entry import START, Entry, Position, check_link, parse_line, parse_members
from unlearnkit.compliance.log.head import CHECKPOINT_FILE, head_file, read_head
from unlearnkit.compliance.log.merkle import EMPTY_ROOT, Frontier, leaf_hash
from unlearnkit.compliance.log.reader import LOG_FILE, read_lines
from unlearnkit.errors import ChainError, ConsistencyError, FormatError, RollbackError, SignatureError, UnknownNameError
from unlearnkit.files import read_bounded
from unlearnkit.names import counted
from unlearnkit.signing.note import MAX_NOTE, NoteKey

EARLIER_FOLDER = "earlier"
"""Checkpoints that were imported, or cosigned before others succeeded them; the log is held to them ever after."""


Visit = Callable[[Position, Entry, bytes], None]
"""Called with each entry that was checked: the place before its line, the entry, and its leaf hash."""


@dataclass(frozen=True, slots=True)
class History:
    """What the lines of a log come to. roots: Merkle root at each size that was asked for and reached."""

    end: Position
    root: bytes
    roots: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """A log whose every line was checked. Entries from ``checkpoint.size`` on are chained, but not signed yet.

    end: the place after the last entry. root: of all entries. earlier: the other checkpoints that agree with it.
    torn: bytes of an unfinished last line.
    """

    end: Position
    root: bytes
    checkpoint: Checkpoint
    earlier: tuple[Checkpoint, ...]
    torn: int

    @property
    def size(self) -> int:
        """How many entries it has."""
        return self.end.index


def verify_log(
    path: Path,
    *,
    log: NoteKey,
    witnesses: Sequence[NoteKey] = (),
    quorum: int = 0,
    earlier: Sequence[bytes] = (),
    visit: Visit | None = None,
) -> VerifiedLog:
    """Check the log in the directory ``path`` against its checkpoint, and against earlier ones, in one pass.

    Takes memory that does not depend on the length of the log.

    Args:
        path: The log's directory.
        log: The key that its checkpoint must be signed with.
        witnesses: Keys of witnesses that are known.
        quorum: So many of them must have cosigned the checkpoint.
        earlier: Raw checkpoints of this log that the caller trusts to be genuine, in any order.
        visit: Called with each entry on the way; only when this function returns is it verified.

    Returns:
        What the lines come to, the checkpoint, and what is beyond it.

    Raises:
        FormatError: Bytes that are no log, or no checkpoint.
        ChainError: A line was removed, moved or edited.
        RollbackError: The history was truncated, or the checkpoint is older than one of ``earlier``.
        ConsistencyError: The history was rewritten, or forked; the two heads are the evidence.
        SignatureError: There is no checkpoint, or nobody trusted signed it.
        ThresholdError: Too few witnesses have cosigned it.
        UnknownNameError: There is no log.
    """
    current = required_checkpoint(path, log=log, witnesses=witnesses, quorum=quorum)
    _, stored = stored_checkpoints(path, log=log, witnesses=witnesses)
    given = [
        verify_checkpoint(raw, where=f"earlier checkpoint {number}", log=log.ever, witnesses=witnesses)
        for number, raw in enumerate(earlier, 1)
    ]
    others = (*stored, *given)
    history = read_history(path, {current.size, *(head.size for head in others)}, visit=visit)
    hold_to(history, current, others)
    torn = max(0, (path / LOG_FILE).stat().st_size - history.end.offset)
    return VerifiedLog(history.end, history.root, current, others, torn)


def required_checkpoint(path: Path, *, log: NoteKey, witnesses: Sequence[NoteKey] = (), quorum: int = 0) -> Checkpoint:
    """The newest verified checkpoint of the log in the directory ``path``; its lines are not looked at.

    That is the one in it, or the one that was signed here last, which is kept beside it.
    """
    heads = _newest_first(path, log, witnesses)
    if not heads:
        raise SignatureError(
            f"{path} has no checkpoint: nothing signed says what the log should hold",
            hint="`unlearnkit log checkpoint` signs one",
        )
    where = str(path / CHECKPOINT_FILE)
    return verify_checkpoint(heads[0].raw, where=where, log=log, witnesses=witnesses, quorum=quorum)


def stored_checkpoints(
    path: Path, *, log: NoteKey, witnesses: Sequence[NoteKey] = ()
) -> tuple[Checkpoint | None, tuple[Checkpoint, ...]]:
    """The newest verified checkpoint of the log in the directory ``path``, if it has one, and the other ones kept."""
    heads = _newest_first(path, log, witnesses)
    files = sorted((path / EARLIER_FOLDER).glob("[0-9]*"))
    earlier = [_verified(read_bounded(file, MAX_NOTE), file, log.ever, witnesses) for file in files]
    others = [head for head in heads[1:] if (head.size, head.root) != (heads[0].size, heads[0].root)]
    return next(iter(heads), None), (*others, *earlier)


def _newest_first(path: Path, log: NoteKey, witnesses: Sequence[NoteKey]) -> list[Checkpoint]:
    """The checkpoint in the log's folder and the head beside it; of two alike the first, which may be cosigned."""
    file, found = path / CHECKPOINT_FILE, []
    if file.exists():
        found.append(_verified(read_bounded(file, MAX_NOTE), file, log, witnesses))
    if (head := read_head(path)) is not None:
        found.append(_verified(head.checkpoint.encode(), head_file(path), log, witnesses))
    return sorted(found, key=lambda checkpoint: -checkpoint.size)


def _verified(raw: bytes, file: Path, log: NoteKey, witnesses: Sequence[NoteKey]) -> Checkpoint:
    return verify_checkpoint(raw, where=str(file), log=log, witnesses=witnesses)


def read_history(
    path: Path, sizes: Collection[int] = (), *, end: Position | None = None, visit: Visit | None = None
) -> History:
    """Read every line, or those before ``end``, and check each and the chain. Raises FormatError, ChainError."""
    if not (path / LOG_FILE).is_file():
        raise UnknownNameError(f"no audit log at {path}")
    frontier, roots = Frontier(), {0: EMPTY_ROOT}
    at, offset, digest = START.index, START.offset, START.previous
    for line in read_lines(path):
        if end is not None and offset >= end.offset:
            break
        members = parse_members(line, where=f"log entry {at}")
        if members[0] != at or members[3] != digest:
            raise _broken(path, Position(at, offset, digest), Entry(*members, line))
        leaf = leaf_hash(line)
        frontier.append(leaf)
        if visit is not None:
            visit(Position(at, offset, digest), Entry(*members, line), leaf)
        at, offset, digest = at + 1, offset + len(line), sha256_hex(line)
        if at in sizes:
            roots[at] = frontier.root()
    return History(Position(at, offset, digest), frontier.root(), roots)


def hold_to(history: History, current: Checkpoint | None, earlier: Sequence[Checkpoint]) -> None:
    """Check that the history continues all signed heads, and that the current one is the latest of them."""
    if current is not None:
        size = min(current.size, history.end.index)
        check_root(current, size=size, root=history.roots.get(size, history.root))
    for head in earlier:
        _check_earlier(history, head, current)


def check_root(checkpoint: Checkpoint, *, size: int, root: bytes) -> None:
    """Check that the log's first lines are those signed; ``size`` of them were found, at most ``checkpoint.size``."""
    if size < checkpoint.size:
        have = f"it has {counted(size, 'entry')}, its checkpoint signs {checkpoint.size}"
        raise RollbackError(f"the log was truncated: {have}\n{_quoted(checkpoint.raw)}")
    if root != checkpoint.root:
        found = checkpoint_text(checkpoint.origin, size, root).encode()
        raise ConsistencyError(
            f"the log was rewritten: its first {size} entries are not the ones that were signed\n"
            f"{_quoted(checkpoint.raw, found)}",
            older=checkpoint.raw,
            newer=found,
        )


def _check_earlier(history: History, head: Checkpoint, current: Checkpoint | None) -> None:
    if history.end.index < head.size:
        have = f"it has {counted(history.end.index, 'entry')}, an earlier checkpoint signs {head.size}"
        found = current.raw if current else b""
        raise RollbackError(f"the log was rolled back: {have}\n{_quoted(head.raw, found)}")
    if history.roots[head.size] != head.root:
        found = current.raw if current else checkpoint_text(head.origin, head.size, history.roots[head.size]).encode()
        raise ConsistencyError(
            f"the log was forked: no history has both heads, though both were signed\n{_quoted(head.raw, found)}",
            older=head.raw,
            newer=found,
        )
    if current is not None and current.size < head.size:
        have = f"it signs {counted(current.size, 'entry')}, an earlier one {head.size}, which the log still has"
        raise RollbackError(f"the checkpoint was rolled back: {have}\n{_quoted(head.raw, current.raw)}")


def _quoted(signed: bytes, found: bytes = b"") -> str:
    """The evidence, for people to read and keep."""
    parts = [f"--- {name}:\n{raw.decode()}" for name, raw in (("signed", signed), ("found", found)) if raw]
    return "".join(parts).removesuffix("\n")


def _broken(path: Path, position: Position, entry: Entry) -> ChainError:
    """What is wrong with an entry that does not continue the chain."""
    try:
        check_link(position, entry.index, entry.previous)
    except ChainError as err:
        return _explained(path, position, entry, err)
    raise AssertionError("it does")


def _explained(path: Path, position: Position, entry: Entry, err: ChainError) -> ChainError:
    """What happened at the first line that does not continue the chain: told from the indices that follow."""
    expected, number = position.index, position.index + 1
    if entry.index == expected:
        if expected == 0:
            return ChainError("log entry 0 was edited: it says that a line comes before it", index=0)
        return ChainError(f"log entry {expected - 1} was edited: {err}", index=expected - 1)
    if entry.index < expected:
        return ChainError(f"log line {number} was inserted: it repeats entry {entry.index}", index=expected)
    place = _line_of(path, position, expected)
    if place is not None:
        swapped = f"line {number} has entry {entry.index}, and line {place} has entry {expected}"
        return ChainError(f"log entries were reordered: {swapped}", index=expected)
    missing = f"entry {expected} was" if entry.index == number else f"entries {expected} to {entry.index - 1} were"
    return ChainError(f"log {missing} removed: line {number} has entry {entry.index}", index=expected)


def _line_of(path: Path, start: Position, index: int) -> int | None:
    """The number of the line, from ``start`` on, with the entry ``index``; None if there is none."""
    for number, line in enumerate(read_lines(path, start.offset), start.index + 1):
        try:
            if parse_line(line, where="").index == index:
                return number
        except FormatError:
            continue
    return None
