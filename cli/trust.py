"""Whose signatures count: ``--trust``, or the trust store of the workspace that one is in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Output

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.compliance.workspace import WorkspaceFiles
    from unlearnkit.signing.keys import PrivateKey

    from .init import PassphraseSource

_Command = Callable[..., None]

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
        from unlearnkit.compliance.workspace import WorkspaceFiles
        from unlearnkit.verifier.materials import trust_at_hand

        workspace = None if files else WorkspaceFiles.nearest()
        if workspace is not None:
            output = click.get_current_context().find_object(Output) or Output()
            name_trust(output, workspace)
        command(*args, trust=trust_at_hand(files or None), **rest)

    return run


def name_trust(output: Output, workspace: WorkspaceFiles) -> None:
    """Say that trust is taken from where one stands, which nobody has asked for."""
    output.insist(f"whose signatures count is taken from the workspace here: {workspace.trust_path}")


def file_or_workspace_signer(key: Path | None, passphrase: PassphraseSource) -> PrivateKey | None:
    """The key in a file, else the workspace's; None outside of one. Other kinds are refused before any training."""
    from unlearnkit.compliance.workspace import WorkspaceFiles

    if key is not None:
        return key_from_file(key, passphrase.read())
    workspace = WorkspaceFiles.nearest()
    return None if workspace is None else workspace.signer_key(passphrase.read())


def key_from_file(key: Path, passphrase: bytes | None) -> PrivateKey:
    """The P-256 key in a file; other kinds are refused."""
    from unlearnkit.signing.keys import Algorithm, read_private_key

    signer = read_private_key(key, passphrase=passphrase)
    if signer.public.algorithm is not Algorithm.P256:
        raise click.UsageError(f"--key: {key} is an Ed25519 key, for logs; here one signs with P-256")
    return signer


def open_bundle(path: Path, trust: TrustStore | None) -> Bundle:
    """The bundle, its signature verified where a trust store says who may sign; elsewhere ``signers`` is empty."""
    from unlearnkit.bundle import Bundle
    from unlearnkit.verifier.materials import Materials

    return Bundle.open(path, trust=None) if trust is None else Materials.at_hand(trust=trust).opened(path)
