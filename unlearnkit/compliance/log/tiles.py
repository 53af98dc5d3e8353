"""Export of a log as static files that anybody can serve, read and verify (https://c2sp.org/tlog-tiles)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.merkle import HASH_BYTES, Tree, leaf_hash
from unlearnkit.compliance.log.reader import read_lines
from unlearnkit.compliance.log.verification import CHECKPOINT_FILE, check_root, required_checkpoint
from unlearnkit.files import publish_directory
from unlearnkit.signing.note import NoteKey

_WIDTH = 256  # hashes or entries in a full tile
_HEIGHT = 8  # levels of the tree that a tile stands for


def export_tiles(path: Path, target: Path, *, log: NoteKey) -> Checkpoint:
    """Write the log in the directory ``path``, as far as its checkpoint goes, to the new directory ``target``.

    It appears whole or not at all. Raises FileExistsError; ConsistencyError or RollbackError if the checkpoint is not
    this log's.
    """
    checkpoint = required_checkpoint(path, log=log)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        tree = _write_entries(path, staging, checkpoint.size)
        check_root(checkpoint, size=tree.size, root=tree.root())
        for level, hashes in enumerate(tree.levels[::_HEIGHT]):
            _write_tiles(staging, level, hashes)
        (staging / CHECKPOINT_FILE).write_bytes(checkpoint.raw)
        staging.chmod(0o755)
        publish_directory(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return checkpoint


def tile_path(level: int | str, number: int, width: int = _WIDTH) -> str:
    """Where a tile of ``width`` hashes or, with the level ``entries``, entries lies: ``tile/0/x001/234.p/67``."""
    name = f"{number % 1000:03d}"
    while number := number // 1000:
        name = f"x{number % 1000:03d}/{name}"
    return f"tile/{level}/{name}" + (f".p/{width}" if width < _WIDTH else "")


def _write_entries(path: Path, staging: Path, size: int) -> Tree:
    tree = Tree()
    for number, lines in enumerate(_bundles(islice(read_lines(path), size))):
        for line in lines:
            tree.append(leaf_hash(line))
        data = b"".join(len(line).to_bytes(2, "big") + line for line in lines)
        _write(staging / tile_path("entries", number, len(lines)), data)
    return tree


def _bundles(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while bundle := list(islice(lines, _WIDTH)):
        yield bundle


def _write_tiles(staging: Path, level: int, hashes: bytearray) -> None:
    size = _WIDTH * HASH_BYTES
    for number, begin in enumerate(range(0, len(hashes), size)):
        tile = bytes(hashes[begin : begin + size])
        _write(staging / tile_path(level, number, len(tile) // HASH_BYTES), tile)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
