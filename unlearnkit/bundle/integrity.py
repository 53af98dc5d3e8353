"""The files of a bundle against its manifest: all of them, nothing else, and the promised bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearnkit.bundle.manifest import FILE_NAME, File, Manifest
from unlearnkit.canonical import file_sha256_hex
from unlearnkit.errors import DigestMismatchError, FormatError

SIGNATURE = "model.sig"
"""OpenSSF model signing; not listed in the manifest, because it signs the manifest."""


def verify_files(path: Path, manifest: Manifest) -> None:
    """Every file that is listed, nothing that is not, no links, and the right bytes; FormatError otherwise."""
    present = set()
    for entry in path.rglob("*"):
        name = entry.relative_to(path).as_posix()
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise FormatError(f"{name} is not a plain file or folder")
        if entry.is_file():
            present.add(name)
    listed_files = {file.path for file in manifest.files} | {FILE_NAME}
    if missing := sorted(listed_files - present):
        raise FormatError(f"files of the bundle are missing: {listed(missing)}")
    if extra := sorted(present - listed_files - {SIGNATURE}):
        raise FormatError(f"files are not in the bundle's manifest: {listed(extra)}")
    for file in manifest.files:
        verify_digest(file, (path / file.path).stat().st_size, file_sha256_hex(path / file.path))


def verify_digest(file: File, size: int, digest: str) -> None:
    """DigestMismatchError for bytes that are not the ones that the manifest promises."""
    if size != file.size:
        raise DigestMismatchError(f"{file.path} has {size} bytes, the manifest says {file.size}")
    if digest != file.sha256:
        raise DigestMismatchError(f"{file.path} has SHA-256 {digest}, the manifest says {file.sha256}")


def listed(names: Sequence[object]) -> str:
    """The first ten of some names, for a message."""
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
