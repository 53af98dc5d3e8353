"""What a log gives to others: checkpoints and proofs. Nothing is signed or proved that was not recomputed first."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Protocol

from unlearnkit.compliance.log.checkpoint import (
    Checkpoint,
    LogKey,
    merge_cosignatures,
    sign_checkpoint,
    verify_checkpoint,
)
from unlearnkit.compliance.log.entry import Position
from unlearnkit.compliance.log.head import CHECKPOINT_FILE, read_head, write_head
from unlearnkit.compliance.log.merkle import Tree, leaf_hash
from unlearnkit.compliance.log.proof import Growth, Proof, encode_growth, encode_proof
from unlearnkit.compliance.log.reader import mode_of, read_lines
from unlearnkit.compliance.log.verification import (
    EARLIER_FOLDER,
    History,
    check_root,
    hold_to,
    read_history,
    required_checkpoint,
    stored_checkpoints,
)
from unlearnkit.errors import UnknownNameError
from unlearnkit.files import fsync_directory, make_private_folder, read_bounded, write_atomic
from unlearnkit.names import counted
from unlearnkit.signing.note import MAX_NOTE, NoteKey

_logger = logging.getLogger(__name__)


class Held(Protocol):
    """A log that nobody else writes to now."""

    @property
    def end(self) -> Position:
        """Where the next entry goes."""
        ...


class Lockable(Protocol):
    """A log whose writers can be kept out for a while."""

    @property
    def path(self) -> Path:
        """Its directory."""
        ...

    def exclusive(self) -> AbstractContextManager[Held]:
        """Keep all other writers out."""
        ...


class Recompute(Protocol):
    """What the lines of a log before ``end`` come to, recomputed by who signs them; `read_history` is one."""

    def __call__(self, sizes: Collection[int], /, *, end: Position) -> History:
        """sizes: the Merkle root at each of them is wanted."""
        ...


def publish_checkpoint(log: Lockable, key: LogKey, *, recompute: Recompute | None = None) -> Checkpoint:
    """Verify the log, then sign what it holds now, unless that is signed already; on return it is on disk.

    Others may go on recording meanwhile.

    Args:
        log: The log.
        key: What it signs with.
        recompute: What the log comes to, from somebody who has read it already; None: all of it is read.

    Returns:
        The checkpoint that is in force now.

    Raises:
        VerificationError: What `verify_log` raises: a log that does not continue what was signed before is not signed.
        FormatError: A line or a checkpoint is malformed.
    """
    while True:
        with log.exclusive() as writer:
            end = writer.end
        current, earlier = stored_checkpoints(log.path, log=key.public)
        sizes = {head.size for head in (current, *earlier) if head is not None}
        history = recompute(sizes, end=end) if recompute else read_history(log.path, sizes, end=end)
        hold_to(history, current, earlier)
        if current is not None and current.size == history.end.index:
            raw = current.raw
        else:
            raw = sign_checkpoint(key, size=history.end.index, root=history.root)
        with log.exclusive():
            if stored_checkpoints(log.path, log=key.public)[0] == current:  # else somebody else was faster: again
                _succeed(log.path, current, raw, history.end)
                _logger.info("log %s: signed %d entries", log.path, history.end.index)
                return verify_checkpoint(raw, where=CHECKPOINT_FILE, log=key.public)


def import_checkpoint(log: Lockable, raw: bytes, *, key: NoteKey, witnesses: Sequence[NoteKey] = ()) -> Checkpoint:
    """Keep a genuine checkpoint of this log, with the cosignatures of known ``witnesses``; on return it is on disk.

    The log is held to it ever after. Raises as `verify_checkpoint` does, and ConsistencyError or RollbackError if it
    shows that the log was rewritten, forked or rolled back: then it is evidence, and nothing is changed here.
    """
    imported = verify_checkpoint(raw, where="imported checkpoint", log=key, witnesses=witnesses)
    with log.exclusive() as writer:
        end = writer.end
    current, _ = stored_checkpoints(log.path, log=key)
    sizes = {head.size for head in (current, imported) if head is not None}
    hold_to(read_history(log.path, sizes, end=end), current, [imported])
    with log.exclusive():
        current, _ = stored_checkpoints(log.path, log=key)
        is_current = current is None or current.size == imported.size
        file = log.path / CHECKPOINT_FILE if is_current else _earlier_file(log.path, imported.size)
        if is_current:
            stored = imported.raw if current is None else current.raw
        else:
            stored = read_bounded(file, MAX_NOTE) if file.exists() else imported.raw
        write_atomic(file, merge_cosignatures(stored, imported), mode=mode_of(log.path))
    return imported


def prove_entries(path: Path, indices: Sequence[int], *, log: NoteKey, tree: Tree | None = None) -> list[bytes]:
    """``.tlog-proof`` files: each entry is in the log in the directory ``path``, as its checkpoint signs it.

    Args:
        path: The log's directory.
        indices: Which entries.
        log: The key that its checkpoint is signed with.
        tree: Of its entries, from somebody who has read them already; they are read if it does not have them all.

    Raises:
        UnknownNameError: The checkpoint does not cover an entry.
        ConsistencyError: The checkpoint is not this log's.
        RollbackError: The log was truncated.
    """
    checkpoint = required_checkpoint(path, log=log)
    if beyond := [index for index in indices if not 0 <= index < checkpoint.size]:
        raise UnknownNameError(
            f"entry {beyond[0]} is not under the checkpoint, which signs {counted(checkpoint.size, 'entry')}",
            hint="`unlearnkit log checkpoint` signs all entries recorded so far",
        )
    size = checkpoint.size
    tree = signed_tree(path, checkpoint, tree)
    return [encode_proof(Proof(index, tuple(tree.inclusion_proof(index, size)), checkpoint.raw)) for index in indices]


def prove_entry(path: Path, index: int, *, log: NoteKey) -> bytes:
    """`prove_entries` for one."""
    (proof,) = prove_entries(path, [index], log=log)
    return proof


def prove_growth(path: Path, since: int, *, log: NoteKey) -> bytes:
    """That the log only grew since it had ``since`` entries: what a witness is sent (https://c2sp.org/tlog-witness)."""
    checkpoint = required_checkpoint(path, log=log)
    if not 0 <= since <= checkpoint.size:
        raise UnknownNameError(f"the checkpoint signs {counted(checkpoint.size, 'entry')}: it never had {since} before")
    tree = signed_tree(path, checkpoint)
    proof = tree.consistency_proof(since) if since else []
    return encode_growth(Growth(since, tuple(proof), checkpoint.raw))


def signed_tree(path: Path, checkpoint: Checkpoint, tree: Tree | None = None) -> Tree:
    """The tree that ``checkpoint`` signs, from its entries or else from the lines, and held against what is signed.

    Raises ConsistencyError or RollbackError if they differ.
    """
    if tree is None or tree.size < checkpoint.size:
        tree = Tree(leaf_hash(line) for line in islice(read_lines(path), checkpoint.size))
    size = min(tree.size, checkpoint.size)
    check_root(checkpoint, size=size, root=tree.root(size))
    return tree


def _succeed(path: Path, current: Checkpoint | None, raw: bytes, end: Position) -> None:
    """Put ``raw`` in the place of the current checkpoint, and keep that one if witnesses have cosigned it.

    Beside the log's folder first: from then on, nothing under it is cut.
    """
    head, file, mode = read_head(path), path / CHECKPOINT_FILE, mode_of(path)
    if head is None or (head.checkpoint.encode(), head.offset) != (raw, end.offset):
        write_head(path, raw, end, mode=mode)
    is_same = current is not None and current.raw == raw
    if current is not None and not is_same and current.is_cosigned:
        write_atomic(_earlier_file(path, current.size), current.raw, mode=mode)
    if not is_same or not file.exists() or read_bounded(file, MAX_NOTE) != raw:
        write_atomic(file, raw, mode=mode)


def _earlier_file(path: Path, size: int) -> Path:
    folder = path / EARLIER_FOLDER
    if not folder.is_dir():
        make_private_folder(folder)
        fsync_directory(path)
    return folder / str(size)
