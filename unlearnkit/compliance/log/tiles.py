"""Export of a log as static files that anybody can serve, read and verify (https://c2sp.org/tlog-tiles)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.entry import MAX_LINE
from unlearnkit.compliance.log.head import CHECKPOINT_FILE
from unlearnkit.compliance.log.merkle import HASH_BYTES, Tree, leaf_hash
from unlearnkit.compliance.log.reader import read_lines
from unlearnkit.compliance.log.verification import check_root, required_checkpoint
from unlearnkit.errors import FormatError
from unlearnkit.files import publish_directory, read_bounded
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
        publish_directory(staging, target, private=False)
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


def is_export(folder: Path) -> bool:
    """Whether a directory is an export of a log that has entries."""
    return (folder / "tile" / "entries").is_dir()


def read_export(folder: Path) -> bytes:
    """All entries in an export, unchecked: the lines of the log that it was made of. FormatError for other files."""
    parts: list[bytes] = []
    for number in count():
        file = folder / tile_path("entries", number)
        partial = sorted(file.with_name(f"{file.name}.p").glob("[0-9]*"), key=lambda path: int(path.name))
        for bundle in [file] if file.is_file() else partial[-1:]:
            parts += _entries_of(read_bounded(bundle, _WIDTH * (2 + MAX_LINE)), str(bundle))
        if not file.is_file():
            break
    return b"".join(parts)


def _entries_of(raw: bytes, where: str) -> Iterator[bytes]:
    begin = 0
    while begin < len(raw):
        end = begin + 2 + int.from_bytes(raw[begin : begin + 2], "big")
        if end > len(raw):
            raise FormatError(f"{where} is not a bundle of entries: one ends beyond the file")
        yield raw[begin + 2 : end]
        begin = end


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
