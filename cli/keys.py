"""``unlearnkit keys``: make keys, and show what may be given away of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .init import PassphraseSource, passphrase_options
from .output import Document, Output, columns, pass_output

if TYPE_CHECKING:
    from unlearnkit.signing.keys import PublicKey


@click.group()
def keys() -> None:
    """Signing keys: P-256 for bundles, evidence and certificates; Ed25519 for logs."""


@keys.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--log", "is_log", is_flag=True, help="An Ed25519 key, for a log. Default: a P-256 key, for a signer.")
@passphrase_options
@pass_output
def new(output: Output, *, path: Path, is_log: bool, passphrase: PassphraseSource) -> None:
    """Make a key: the private one at PATH, which only you can read, and the public one beside it (.pub.pem).

    \b
    Example:
      unlearnkit keys new keys/lab.pem --passphrase
    """
    from unlearnkit.signing.keys import Algorithm, PrivateKey, write_private_key, write_public_key

    public = path.with_suffix(".pub.pem")
    if public.exists():
        raise FileExistsError(17, "there is a public key of this name already", str(public))
    secret = passphrase.read(is_new=True)
    key = PrivateKey.generate(Algorithm.ED25519 if is_log else Algorithm.P256)
    write_private_key(path, key, passphrase=secret)
    write_public_key(public, key.public)
    output.say(f"{path} is secret; {public} is for whoever shall verify what you sign")
    output.emit(_Key.of(key.public, public), _render)


@keys.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@passphrase_options
@pass_output
def show(output: Output, *, path: Path, passphrase: PassphraseSource) -> None:
    """Show the public part of a key, private or public, never the private one.

    \b
    Example:
      unlearnkit keys show keys/signer.pub.pem
    """
    from unlearnkit.files import MAX_SECRET, read_bounded
    from unlearnkit.signing.keys import parse_public_key, read_private_key

    raw = read_bounded(path, MAX_SECRET)
    if b"PRIVATE KEY" in raw[:100]:
        public = read_private_key(path, passphrase=passphrase.read()).public
    else:
        public = parse_public_key(raw, where=str(path))
    output.emit(_Key.of(public, path), _render)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key(Document):
    schema: ClassVar[str] = "unlearnkit/key/v1"

    path: Path
    algorithm: str
    key_id: str
    public_key: str

    @classmethod
    def of(cls, key: PublicKey, path: Path) -> _Key:
        return cls(path=path, algorithm=key.algorithm.value, key_id=key.key_id, public_key=key.pem.decode())


def _render(key: _Key) -> Iterable[str]:
    yield from columns([("path", key.path), ("algorithm", key.algorithm), ("key id", key.key_id)])
    yield key.public_key.rstrip()
