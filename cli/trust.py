"""Whose signatures count: ``--trust``, or the trust store of the workspace that one is in."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.compliance.workspace import Workspace
    from unlearnkit.signing.keys import PrivateKey

    from .init import PassphraseSource

_Command = Callable[..., None]

_VKEY = re.compile(rb"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+\s*")

UNVERIFIED = "UNVERIFIED: every file fits the manifest, but no signature was checked"


def trust_option(command: _Command) -> _Command:
    """Adds ``--trust``, and gives the command what it names as ``trust``: a TrustStore, or None outside a workspace."""

    @click.option(
        "--trust",
        "files",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        multiple=True,
        help="A trust store (TOML), a public key (PEM) or a log's key (vkey). Default: the workspace's trust store.",
    )
    @wraps(command)
    def run(*args: object, files: tuple[Path, ...], **rest: object) -> None:
        command(*args, trust=_joined(files) if files else _of_workspace(), **rest)

    return run


def _joined(files: tuple[Path, ...]) -> TrustStore:
    """Everything that these files name; a plain public key counts for every role."""
    from unlearnkit.compliance.policy.trust import TrustStore

    stores = [_read(file) for file in files]
    return TrustStore(
        signers=tuple(signer for store in stores for signer in store.signers),
        logs=tuple(key for store in stores for key in store.logs),
        witnesses=tuple(key for store in stores for key in store.witnesses),
        witness_quorum=max(store.witness_quorum for store in stores),
    )


def _read(file: Path) -> TrustStore:
    """Told by content. Messages quote nothing of a file that is none of the three: it may be a secret."""
    from unlearnkit.compliance.policy.policy import Role
    from unlearnkit.compliance.policy.trust import Signer, TrustStore, parse_trust
    from unlearnkit.signing.keys import parse_public_key
    from unlearnkit.signing.note import NoteKind, parse_vkey

    raw = file.read_bytes()
    if b"-----BEGIN PUBLIC KEY-----" in raw[:100]:
        return TrustStore(signers=(Signer(file.name, tuple(Role), parse_public_key(raw, where=str(file))),))
    if not _VKEY.fullmatch(raw):
        return parse_trust(raw, where=str(file))
    key = parse_vkey(raw.decode("utf-8", "replace").strip(), where=str(file))
    return TrustStore(logs=(key,)) if key.kind is NoteKind.SIGNATURE else TrustStore(witnesses=(key,))


def found_workspace() -> Workspace | None:
    """The workspace that one is in, if any."""
    from unlearnkit.compliance.workspace import Workspace
    from unlearnkit.errors import UnknownNameError

    try:
        return Workspace.find()
    except UnknownNameError:
        return None


def _of_workspace() -> TrustStore | None:
    workspace = found_workspace()
    return None if workspace is None else workspace.trust()


def log_of_workspace() -> Path | None:
    """Where the workspace's log is."""
    workspace = found_workspace()
    return None if workspace is None else workspace.log_path


def file_or_workspace_signer(key: Path | None, passphrase: PassphraseSource) -> PrivateKey | None:
    """The key in a file, else the workspace's; None outside of one. Other kinds are refused before any training."""
    from unlearnkit.signing.keys import Algorithm, read_private_key

    if key is not None:
        signer = read_private_key(key, passphrase=passphrase.read())
        if signer.public.algorithm is not Algorithm.P256:
            raise click.UsageError(f"--key: {key} is an Ed25519 key, for logs; here one signs with P-256")
        return signer
    workspace = found_workspace()
    return None if workspace is None else workspace.signer_key(passphrase.read())


def open_bundle(path: Path, trust: TrustStore | None) -> Bundle:
    """The bundle, its signature verified where a trust store says who may sign; elsewhere ``signers`` is empty."""
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.policy import Role

    return Bundle.open(path, trust=None if trust is None else trust.keys(Role.SKETCH_SIGNER))
