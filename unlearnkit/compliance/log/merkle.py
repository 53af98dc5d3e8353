"""RFC 6962 Merkle trees: roots, inclusion and consistency proofs, and their verification (RFC 9162 section 2.1).

A tree head is a size and a root. Verification needs heads and proofs only; proving needs a `Tree`, rebuilt from leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from unlearnkit.errors import ConsistencyError, InclusionError
from unlearnkit.names import counted

_sha256 = hashlib.sha256
HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """SHA-256 of one leaf; the prefix 0x00 keeps leaves and nodes apart (RFC 6962 section 2.1)."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of an inner node (RFC 6962 section 2.1)."""
    return _sha256(b"\x01" + left + right).digest()


_Blame = Callable[[str], ConsistencyError]


class Frontier:
    """The root of a growing tree in logarithmic memory: the roots of its perfect subtrees, largest first."""

    __slots__ = ("_roots", "size")

    def __init__(self) -> None:
        self._roots: list[bytes] = []
        self.size = 0

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash; every trailing 1 bit of the old size is a subtree that becomes complete."""
        node, size = leaf, self.size
        while size & 1:
            node = _sha256(b"\x01" + self._roots.pop() + node).digest()  # `node_hash`, without a call for each leaf
            size >>= 1
        self._roots.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Root of all leaves so far."""
        if not self._roots:
            return EMPTY_ROOT
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


class Tree:
    """Every complete node of a tree, 64 bytes a leaf: what proofs and tiles are cut from.

    ``levels[l]`` holds, one after the other, the roots of the complete subtrees of 2^l leaves.
    """

    __slots__ = ("levels", "size")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.levels: list[bytearray] = [bytearray()]
        self.size = 0
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        node, size, level = leaf, self.size, 0
        self.levels[0] += node
        while size & 1:
            node = node_hash(bytes(self.levels[level][-2 * HASH_BYTES : -HASH_BYTES]), node)
            level, size = level + 1, size >> 1
            if level == len(self.levels):
                self.levels.append(bytearray())
            self.levels[level] += node
        self.size += 1

    def root(self, size: int | None = None) -> bytes:
        """Root of the first ``size`` leaves, of all when None."""
        size = self._checked(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Hashes that lead from leaf ``index`` to the root of the first ``size`` leaves (RFC 6962 section 2.1.1)."""
        size = self._checked(size)
        if not 0 <= index < size:
            raise ValueError(f"leaf index out of range: got {index}, expected 0 to {size - 1}")
        return list(self._path(index, 0, size))

    def consistency_proof(self, older: int, size: int | None = None) -> list[bytes]:
        """Hashes that show the first ``older`` leaves to begin the first ``size`` ones (RFC 6962 section 2.1.2)."""
        size = self._checked(size)
        if not 0 < older <= size:
            raise ValueError(f"older size out of range: got {older}, expected 1 to {size}")
        return list(self._subproof(older, 0, size, known=True))

    def _checked(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise ValueError(f"tree size out of range: got {size}, expected 0 to {self.size}")
        return size

    def _range(self, start: int, end: int) -> bytes:
        """Root of the leaves from ``start`` to ``end``; start is a multiple of the largest power of two in between."""
        count = end - start
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            offset = (start >> level) * HASH_BYTES
            return bytes(self.levels[level][offset : offset + HASH_BYTES])
        middle = start + _split(count)
        return node_hash(self._range(start, middle), self._range(middle, end))

    def _path(self, index: int, start: int, end: int) -> Iterator[bytes]:
        if end - start == 1:
            return
        middle = start + _split(end - start)
        if index < middle:
            yield from self._path(index, start, middle)
            yield self._range(middle, end)
        else:
            yield from self._path(index, middle, end)
            yield self._range(start, middle)

    def _subproof(self, older: int, start: int, end: int, *, known: bool) -> Iterator[bytes]:
        """``known``: the verifier has the root of start to end already, because it is the older tree itself."""
        if older == end:
            if not known:
                yield self._range(start, end)
            return
        middle = start + _split(end - start)
        if older <= middle:
            yield from self._subproof(older, start, middle, known=known)
            yield self._range(middle, end)
        else:
            yield from self._subproof(older, middle, end, known=False)
            yield self._range(start, middle)


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash ``leaf`` is at ``index`` in the tree of that size and root (RFC 9162 section 2.1.3.2).

    Raises InclusionError. A leaf hash that is not 32 bytes long is refused even where it equals the root of a tree of
    one, which the algorithm of the RFC alone would accept.
    """
    if not 0 <= index < size:
        raise InclusionError(f"no such leaf: got index {index}, expected one below the tree size {size}")
    if len(leaf) != HASH_BYTES:
        raise InclusionError(f"leaf hash of {counted(len(leaf), 'byte')}, expected {HASH_BYTES}")
    node, position, last = leaf, index, size - 1
    for sibling in proof:
        if last == 0:
            raise InclusionError(f"inclusion proof too long: got {len(proof)} hashes for leaf {index} of {size}")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise InclusionError(f"inclusion proof too short: got {len(proof)} hashes for leaf {index} of {size}")
    if node != root:
        raise InclusionError(f"leaf {index} is not in the tree of {size}: got root {node.hex()}, expected {root.hex()}")


def verify_consistency(
    *, older_size: int, newer_size: int, older_root: bytes, newer_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the newer tree begins with the leaves of the older one (RFC 9162 section 2.1.4.2).

    Raises ConsistencyError with both roots as evidence. An empty older tree is refused: the RFC has no proof from it
    (0 < m). Implementations disagree on hashes that are not 32 bytes long. As the published vectors want it, two equal
    heads are consistent whatever their roots are (aics-tlog refuses short ones), while `verify_inclusion` refuses a
    short leaf hash (aics-tlog accepts an empty one). Roots of checkpoints are 32 bytes before they come here.
    """

    def wrong(message: str) -> ConsistencyError:
        return ConsistencyError(message, older=older_root, newer=newer_root)

    if not 0 < older_size <= newer_size:
        raise wrong(f"no consistency proof leads from size {older_size} to {newer_size}")
    if older_size == newer_size:
        if proof or older_root != newer_root:
            raise wrong(f"two trees of size {newer_size}: got roots {older_root.hex()} and {newer_root.hex()}")
        return
    older, newer = _replay(older_size, newer_size, older_root, proof, wrong)
    if older != older_root:
        raise wrong(f"not the tree of {older_size}: got root {older.hex()}, expected {older_root.hex()}")
    if newer != newer_root:
        raise wrong(f"not the tree of {newer_size}: got root {newer.hex()}, expected {newer_root.hex()}")


def _replay(
    older_size: int,
    newer_size: int,
    older_root: bytes,
    proof: Sequence[bytes],
    wrong: _Blame,
) -> tuple[bytes, bytes]:
    """The two roots that the proof leads to. A perfect older tree is a node of the newer: its root starts the path."""
    path = [older_root, *proof] if older_size & (older_size - 1) == 0 else list(proof)
    if not proof:
        raise wrong(f"empty consistency proof from size {older_size} to {newer_size}")
    position, last = older_size - 1, newer_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    older = newer = path[0]
    for node in path[1:]:
        if last == 0:
            raise wrong(f"consistency proof too long: got {len(proof)} hashes from size {older_size} to {newer_size}")
        if position & 1 or position == last:
            older, newer = node_hash(node, older), node_hash(node, newer)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            newer = node_hash(newer, node)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise wrong(f"consistency proof too short: got {len(proof)} hashes from size {older_size} to {newer_size}")
    return older, newer


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1
