"""Where certificates are kept: under which name, and that none replaces anything by accident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.publication import prove_entries, publish_checkpoint
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError
from unlearnkit.files import MAX_DOCUMENT, fsync_directory, make_private_folder, read_bounded, write_atomic, write_new
from unlearnkit.verifier.certificate_file import CertificateFile, is_certificate_file

FOLDER = "certificates"
"""The folder in a workspace."""
SUFFIX = ".certificate.json"


def certificate_name(requests: Sequence[str], release: str) -> str:
    """After the request that was received first, and the release: ``R2-digits@1.certificate.json``."""
    return f"{first_of(requests)}-{release}{SUFFIX}"


def first_of(requests: Sequence[str]) -> str:
    """The request that was received first, of some ids; empty for none."""
    return min(requests, key=lambda name: (len(name), name), default="")


def require_free(path: Path, *, force: bool) -> None:
    """Refuse a place where something is. force: not if that is a certificate, which may be replaced.

    Raises:
        RefusedError: There is something.
        UnknownNameError: There is no folder for it.
    """
    if not path.exists() and not path.is_symlink():
        if not path.parent.is_dir() and path.parent.name != FOLDER:
            raise UnknownNameError(f"there is no folder {path.parent}")
        return
    if not (path.is_file() and is_certificate_file(read_bounded(path, MAX_DOCUMENT))):
        raise RefusedError(f"{path} is there already, and is no certificate", hint="give another name: -o")
    if not force:
        raise RefusedError(
            f"{path} is there already",
            hint=f"if it is unfinished: `unlearnkit certify --resume {path}`; another name: -o; to replace it: --force",
        )


def finish(
    path: Path, file: CertificateFile, entry: Entry | None, *, log: AuditLog, key: LogKey, view: LogView
) -> None:
    """Sign a checkpoint that covers the entry of a certificate, and put entry and proof into its file.

    entry: None for one that waits for signatures, of which there is nothing to prove.
    """
    if entry is None:
        return
    publish_checkpoint(log, key, recompute=view.history)
    (proof,) = prove_entries(log.path, [entry.index], log=key.public, tree=view.tree())
    write_atomic(path, replace(file, entry=entry.line, proof=proof).to_bytes())


def keep(path: Path, envelope: bytes, *, force: bool) -> None:
    """Put a certificate that is not recorded yet on disk; FileExistsError if somebody was faster, unless ``force``."""
    if path.parent.name == FOLDER and not path.parent.is_dir():
        make_private_folder(path.parent)
        fsync_directory(path.parent.parent)
    write = write_atomic if force else write_new
    write(path, CertificateFile(envelope=envelope).to_bytes())
