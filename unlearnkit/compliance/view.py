"""A log as one pass over it finds it: entries by place and by type, the register, the registry, and what is signed.

What a command or a verification wants to know of a log is asked of one `LogView`. Lines are not kept, 40 bytes for each
are: where it begins, and its leaf hash, against which it is held when it is looked at again.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.entry import MAX_LINE, START, Entry, Position, advance, parse_line
from unlearnkit.compliance.log.head import REPAIR
from unlearnkit.compliance.log.merkle import HASH_BYTES, Tree, leaf_hash
from unlearnkit.compliance.log.reader import LOG_FILE, read_entries
from unlearnkit.compliance.log.verification import History, VerifiedLog, read_history, verify_log
from unlearnkit.compliance.policy.keyring import Keyring
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.registry import Registry
from unlearnkit.compliance.releases.sketches import Sketches
from unlearnkit.compliance.requests.register import Register
from unlearnkit.errors import ChainError, FormatError, SignatureError, UnknownNameError, VerificationError
from unlearnkit.signing.note import NoteKey

_logger = logging.getLogger(__name__)


def _require_not_revoked(checkpoint: Checkpoint, keyring: Keyring) -> None:
    """SignatureError if a log is signed only with keys that it revokes itself, in what is signed."""
    revoked = keyring.revoked(before=checkpoint.size)
    if all(key.key_id in revoked for key in checkpoint.keys):
        raise SignatureError(
            f"the checkpoint of {checkpoint.origin} is signed only with keys that the log itself revokes",
            hint="ask who keeps the log for its key, and for a checkpoint by that",
        )


@dataclass(slots=True)
class _Index:
    """What is kept of each line."""

    offsets: array[int]
    leaves: bytearray
    types: dict[str, array[int]]

    def add(self, place: Position, entry: Entry, leaf: bytes) -> None:
        self.offsets.append(place.offset)
        self.leaves += leaf
        self.types.setdefault(entry.type, array("Q")).append(entry.index)

    def leaf(self, index: int) -> bytes:
        return bytes(self.leaves[index * HASH_BYTES : (index + 1) * HASH_BYTES])


class Judge:
    """Takes the entries of a log in order, and raises for one that is not a legal step, as if it were not there."""

    def __init__(self) -> None:
        self.register, self.registry, self.sketches, self.keyring = Register(), Registry(), Sketches(), Keyring()
        self._time: datetime | None = None

    def __call__(self, entry: Entry) -> None:
        """Take an entry. Raises VerificationError or FormatError."""
        if self._time is not None and entry.time < self._time:
            before, time = format_time(self._time), format_time(entry.time)
            raise VerificationError(f"log entry {entry.index} is from {time}, the one before it from {before}")
        self._time = entry.time
        self.register.replay([entry])
        self.registry.replay(entry)
        self.sketches.replay(entry)
        self.keyring.replay(entry)


class LogView:
    """A log whose every line and every step of a request or release was checked, by `read` or by `verify`.

    path: the log's directory. end: the place after the last entry.
    signed: the checkpoint, as `verify` found it; None where nothing was held against one.

    Example:
        view = LogView.verify(folder, log=key)
        print(len(view), view.unsigned, view.register.get("R2").state)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.signed: VerifiedLog | None = None
        self._forget()

    @classmethod
    def read(cls, path: Path, *, end: Position | None = None, log: NoteKey | None = None) -> LogView:
        """A view of the log in a directory, its chain checked.

        A step that was not legal is told when the register is asked for: the entries can be looked at all the same.

        Args:
            path: The log's directory.
            end: Entries from there on are left out; None: there are none.
            log: The key that the log's checkpoint must be signed with, to which it is held; None: whatever that says.

        Raises:
            UnknownNameError: There is no log.
            FormatError: A line is malformed.
            ChainError: A line was removed, moved or edited.
            VerificationError: The log is not the one that was signed.
        """
        view, begin = cls(path), time.perf_counter()
        if log is None:
            view._read(end)
        else:
            view._hold(log)
        return view._timed(begin)

    @classmethod
    def verify(
        cls,
        path: Path,
        *,
        log: NoteKey,
        witnesses: Sequence[NoteKey] = (),
        quorum: int = 0,
        earlier: Sequence[bytes] = (),
    ) -> LogView:
        """A view of the log in a directory, held against its signed checkpoint in the same pass.

        That a line is not the one that was signed is told before that a step was not legal.

        Args:
            path: The log's directory.
            log: The key that its checkpoint must be signed with.
            witnesses: Keys of witnesses that are known.
            quorum: So many of them must have cosigned the checkpoint.
            earlier: Raw checkpoints of this log that the caller trusts to be genuine.

        Raises:
            VerificationError: What `verify_log` raises; a step was not legal.
            FormatError: A line, a checkpoint, or a step of a request is malformed.
            UnknownNameError: There is no log.
        """
        view, begin = cls(path), time.perf_counter()
        view._hold(log, witnesses=witnesses, quorum=quorum, earlier=earlier)
        _ = view._timed(begin).register
        return view

    def __len__(self) -> int:
        return len(self._index.offsets)

    @property
    def register(self) -> Register:
        """All requests. Raises VerificationError or FormatError if a step of one was not legal."""
        if self._illegal is not None:
            raise self._illegal
        return self._judge.register

    @property
    def registry(self) -> Registry:
        """All releases. Raises as `register` does."""
        if self._illegal is not None:
            raise self._illegal
        return self._judge.registry

    @property
    def sketches(self) -> Sketches:
        """All sketches that were announced. Raises as `register` does."""
        if self._illegal is not None:
            raise self._illegal
        return self._judge.sketches

    @property
    def keyring(self) -> Keyring:
        """What it says of keys. Raises as `register` does."""
        if self._illegal is not None:
            raise self._illegal
        return self._judge.keyring

    def trusted(self, store: TrustStore, digest: str) -> TrustStore:
        """Whose signatures count on what has this digest, of a trust store and of the keys that took their places.

        Those that count now, and those that did when the log recorded it.
        """
        known = self.keyring.applied(store, before=self._signed)
        return known.counting(self._recorded(digest)) if known.has_ended else known

    @property
    def unsigned(self) -> int:
        """How many entries no verified checkpoint covers."""
        return len(self) - self._signed

    def covers(self, index: int) -> bool:
        """Whether the verified checkpoint covers an entry."""
        return self.signed is not None and index < self.signed.checkpoint.size

    def entry(self, index: int) -> Entry:
        """The entry at a place.

        Raises:
            UnknownNameError: There is none.
            ChainError: It is not the one that was read before.
        """
        (found,) = self.entries([index])
        return found

    def entries(self, indices: Iterable[int]) -> Iterator[Entry]:
        """The entries at some places, in the order asked for; raises as `entry` does, before the first."""
        wanted = list(indices)
        if missing := sorted({index for index in wanted if not 0 <= index < len(self)}):
            raise UnknownNameError(
                f"no entry {', '.join(map(str, missing))} in the log", hint=f"it has {len(self)}, counted from 0"
            )
        return self._looked_up(wanted)

    def of_type(self, kind: str) -> Iterator[Entry]:
        """The entries of one type, in order."""
        return self._looked_up(self._index.types.get(kind, ()))

    def up_to(self, end: Position) -> LogView:
        """The view itself, brought up to ``end``, where a writer who holds the log's lock says that it ends.

        Only lines after the view's own end are read. What was read without the lock may have been taken back since, by
        a commit that failed: then the log is read anew. ``signed`` stays what it was.
        """
        begin = time.perf_counter()
        try:
            self._read_on(end)
        except (ChainError, FormatError):
            _logger.debug("%s: what was read without the lock has been taken back", self.path)
        if self.end != end:
            self._read(end)
        return self._timed(begin)

    def tree(self) -> Tree:
        """The Merkle tree of all entries, for proofs."""
        leaves = self._index.leaves
        return Tree(bytes(leaves[at : at + HASH_BYTES]) for at in range(0, len(leaves), HASH_BYTES))

    def root_at(self, size: int) -> bytes:
        """The Merkle root of the first entries."""
        leaves = self._index.leaves
        return Tree(bytes(leaves[at : at + HASH_BYTES]) for at in range(0, size * HASH_BYTES, HASH_BYTES)).root()

    def history(self, sizes: Collection[int], *, end: Position) -> History:
        """What the lines before ``end`` come to, as `read_history` finds it, without reading what this view has read.

        It is asked for by who signs them: raises VerificationError or FormatError if a step was not legal, and says
        that the log can be repaired. sizes: the Merkle root at each of them is wanted.
        """
        self.up_to(end)
        if self._illegal is not None:
            self._illegal.hint = self._illegal.hint or REPAIR
            raise self._illegal
        tree = self.tree()
        return History(self.end, tree.root(), {size: tree.root(size) for size in {0, *sizes} if size <= tree.size})

    def _forget(self) -> None:
        self.end = START
        self._index, self._judge = _Index(array("Q"), bytearray(), {}), Judge()
        self._illegal: FormatError | VerificationError | None = None

    def _hold(self, log: NoteKey, **settings: Any) -> None:  # noqa: ANN401
        """Read the log, and hold it against what is signed, as `verify_log` does."""
        self._forget()
        self.signed = verify_log(self.path, log=log, visit=self._take, **settings)
        self.end = self.signed.end
        _require_not_revoked(self.signed.checkpoint, self._judge.keyring)

    def _read(self, end: Position | None) -> None:
        self._forget()
        self.end = read_history(self.path, end=end, visit=self._take).end

    def _read_on(self, end: Position) -> None:
        for entry in read_entries(self.path, self.end):
            if self.end.offset >= end.offset:
                break
            self._take(self.end, entry, leaf_hash(entry.line))
            self.end = advance(self.end, entry.line)

    def _take(self, place: Position, entry: Entry, leaf: bytes) -> None:
        self._index.add(place, entry, leaf)
        if self._illegal is None:  # the rest of the pass is for the chain and the root
            try:
                self._judge(entry)
            except (FormatError, VerificationError) as err:
                self._illegal = err

    def _timed(self, begin: float) -> LogView:
        _logger.info("log %s: %d entries, read in %.2f s", self.path, len(self), time.perf_counter() - begin)
        return self

    @property
    def _signed(self) -> int:
        return 0 if self.signed is None else self.signed.checkpoint.size

    def _recorded(self, digest: str) -> datetime | None:
        """When the log first named a digest, in what is signed of it: what has the digest was there by then."""
        naming = (entry for entry in self._looked_up(range(self._signed)) if digest.encode() in entry.line)
        return next((entry.time for entry in naming), None)

    def _looked_up(self, indices: Iterable[int]) -> Iterator[Entry]:
        with (self.path / LOG_FILE).open("rb") as file:
            for index in indices:
                file.seek(self._index.offsets[index])
                line = file.readline(MAX_LINE + 1)
                if leaf_hash(line) != self._index.leaf(index):
                    raise ChainError(f"log entry {index} has changed since the log was read", index=index)
                yield parse_line(line, where=f"log entry {index}")
