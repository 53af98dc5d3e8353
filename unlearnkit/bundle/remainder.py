"""What is left of a bundle that was cut: the signed list of who was in it, and nothing of what their data did.

The manifest still has the digest of every file that was there, so that nothing can be put in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.bundle.integrity import SIGNATURE, verify_listing_agrees, verify_signature
from unlearnkit.bundle.manifest import FILE_NAME, MODEL, UNITS, Manifest
from unlearnkit.bundle.pseudonyms import Pseudonyms
from unlearnkit.bundle.units import Units
from unlearnkit.canonical import sha256_hex
from unlearnkit.files import MAX_DOCUMENT, fsync_directory, read_bounded
from unlearnkit.signing.keys import PublicKey

KEPT = (FILE_NAME, UNITS, SIGNATURE)
"""The files that are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """The signed list of people of a bundle. digest: SHA-256 of the manifest. units: pseudonyms."""

    manifest: Manifest
    digest: str
    units: Pseudonyms


def is_cut(path: Path) -> bool:
    """Whether a folder is no whole bundle any more: it has no model."""
    return (path / FILE_NAME).is_file() and not (path / MODEL).exists()


def open_remainder(path: Path, *, trust: Sequence[PublicKey]) -> Remainder:
    """Verify the signature, and the list of people against it; nothing else is looked at.

    Raises:
        SignatureError: Nobody who is trusted signed it.
        DigestMismatchError: Manifest or list is another one.
        FormatError: They are malformed.
        VerificationError: Signature and manifest list different files.
    """
    signed = verify_signature(path, keys=trust, threshold=1)
    raw = read_bounded(path / FILE_NAME, MAX_DOCUMENT)
    manifest = Manifest.from_bytes(raw)
    verify_listing_agrees(signed, raw, manifest)
    return Remainder(manifest=manifest, digest=sha256_hex(raw), units=Units.read(path, manifest, None).pseudonyms)


def cut(path: Path, manifest: Manifest) -> tuple[str, ...]:
    """Remove every file that a manifest lists, but for those that are kept; returns which. On return they are gone."""
    gone = [file.path for file in manifest.files if file.path not in KEPT and (path / file.path).exists()]
    for name in gone:
        (path / name).unlink()
        fsync_directory((path / name).parent)
    for folder in sorted({(path / name).parent for name in gone} - {path}, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    fsync_directory(path)
    return tuple(gone)
