"""The files of a bundle: signed as a whole, all there, nothing else, and with the promised bytes.

The signature (OpenSSF model signing) lists every file with its digest; the manifest does so too. Both lists must be the
same, and the folder must hold exactly these files, whatever paths the signature says it ignores.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from unlearnkit.bundle.manifest import FILE_NAME, File, Manifest
from unlearnkit.canonical import file_sha256_hex, sha256_hex
from unlearnkit.errors import DigestMismatchError, FormatError, SignatureError, VerificationError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.names import counted
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.signing.model_signature import SIGNATURE_NAME, SignedListing, sign_listing, verify_listing

_LARGE = 2**28
SIGNATURE = SIGNATURE_NAME
"""OpenSSF model signing; not listed in the manifest, because it signs the manifest."""


def sign_files(raw_manifest: bytes, *, name: str, signer: PrivateKey) -> bytes:
    """The signature of a bundle, ``model.sig``, for the files that its manifest lists, and itself."""
    return sign_listing(_digests(raw_manifest, Manifest.from_bytes(raw_manifest)), name=name, signers=[signer])


def verify_signature(path: Path, *, keys: Sequence[PublicKey], threshold: int) -> SignedListing:
    """Check the signature in the directory ``path``, and that the manifest there is the signed one.

    Raises SignatureError where there is none or nobody is trusted, ThresholdError, FormatError, DigestMismatchError.
    """
    if not keys:
        raise SignatureError("no key is trusted: that verifies nothing", hint="name the signer's public key")
    file = path / SIGNATURE
    if not file.is_file():
        raise SignatureError(f"{path} is not signed: it has no {SIGNATURE}", hint="sign it when it is made: --key")
    signed = verify_listing(read_bounded(file, MAX_DOCUMENT), where=SIGNATURE, keys=keys, threshold=threshold)
    if signed.digests.get(FILE_NAME) != file_sha256_hex(path / FILE_NAME):
        raise DigestMismatchError(f"{FILE_NAME} is not the one that was signed")
    return signed


def verify_listing_agrees(signed: SignedListing, raw_manifest: bytes, manifest: Manifest) -> None:
    """VerificationError unless the signature covers the very files that the manifest lists."""
    expected = _digests(raw_manifest, manifest)
    if differing := sorted(p for p in {*expected, *signed.digests} if expected.get(p) != signed.digests.get(p)):
        raise VerificationError(f"{SIGNATURE} and {FILE_NAME} list different files: {listed(differing)}")


def _digests(raw_manifest: bytes, manifest: Manifest) -> Mapping[str, str]:
    return {file.path: file.sha256 for file in manifest.files} | {FILE_NAME: sha256_hex(raw_manifest)}


def verify_files(path: Path, manifest: Manifest) -> None:
    """Every file that is listed, nothing that is not, no links, and the right bytes; FormatError otherwise.

    A folder is as much a difference as a file: one that is empty, that is called ``.git``, or that is closed to us.
    """
    present = _present(path)
    listed_files = {file.path for file in manifest.files} | {FILE_NAME}
    if missing := sorted(listed_files - present):
        raise FormatError(f"files of the bundle are missing: {listed(missing)}")
    if extra := sorted(present - listed_files - {SIGNATURE}):
        raise FormatError(f"files are not in the bundle's manifest: {listed(extra)}")
    for file in manifest.files:
        size = (path / file.path).stat().st_size  # of a file with another size, which may be endless, nothing is read
        verify_digest(file, size, _dense_sha256_hex(path / file.path) if size == file.size else "")


def _present(path: Path) -> set[str]:
    """The files, and the empty folders, in a folder, by their paths. FormatError for anything else in it."""
    present = set()
    for folder, _, names in os.walk(path, onerror=_unreadable):
        inside = Path(folder)
        found = list(inside.iterdir())
        if not found and inside != path:
            present.add(f"{inside.relative_to(path).as_posix()}/")
        for entry in found:
            mode = entry.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise FormatError(f"{entry.relative_to(path).as_posix()} is not a plain file or folder")
        present |= {(inside / name).relative_to(path).as_posix() for name in names}
    return present


def _unreadable(err: OSError) -> NoReturn:
    raise FormatError(f"a folder of the bundle cannot be looked into: {err.filename}: {err.strerror}") from err


def _dense_sha256_hex(file: Path) -> str:
    """FormatError for a large file that is nearly all holes: it costs its sender nothing, and its reader everything."""
    status = file.stat()
    blocks = getattr(status, "st_blocks", status.st_size)
    if status.st_size > _LARGE and blocks * 512 * 16 < status.st_size:
        raise FormatError(f"{file.name} is sparse: of {counted(status.st_size, 'byte')}, it has {blocks * 512}")
    return file_sha256_hex(file)


def verify_digest(file: File, size: int, digest: str) -> None:
    """DigestMismatchError for bytes that are not the ones that the manifest promises."""
    if size != file.size:
        raise DigestMismatchError(f"{file.path} has {counted(size, 'byte')}, the manifest says {file.size}")
    if digest != file.sha256:
        raise DigestMismatchError(f"{file.path} has SHA-256 {digest}, the manifest says {file.sha256}")


def listed(names: Sequence[object]) -> str:
    """The first ten of some names, for a message."""
    shown = ", ".join(repr(name) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")
