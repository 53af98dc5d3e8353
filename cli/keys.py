"""``unlearnkit keys``: make keys, and show what may be given away of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, columns, pass_output

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.keyring import Reason
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.signing.keys import PublicKey
    from unlearnkit.signing.validity import Validity


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


@keys.command()
@click.argument("which", type=click.Choice(["signer", "log"]))
@click.option(
    "--to",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The new public key, if a command signs ('sign', 'sign_log' in unlearnkit.toml). Default: one is made.",
)
@passphrase_options
@pass_output
def rotate(output: Output, *, which: str, to: Path | None, passphrase: PassphraseSource) -> None:
    """Put a new key in the place of the workspace's, signed with the old one; the log says so.

    Both count until the old one is revoked. The log is signed with both as long, so that nobody has to change at once.
    If it was interrupted, the same command goes on.

    \b
    Example:
      unlearnkit keys rotate signer --passphrase
    """
    import unlearnkit as uk
    from unlearnkit.signing.keys import read_public_key

    office = uk.Workspace.find().unlocked(passphrase.read())
    done = office.rotate_key(which, to=None if to is None else read_public_key(to))
    given = "log.vkey" if which == "log" else "signer.pub.pem"
    output.say(f"give keys/{given} to whoever verifies, by the way that they had the old one")
    if to is not None:
        setting = "sign_log" if which == "log" else "sign"
        output.say(f"'{setting}' in unlearnkit.toml must run the command of the new key from now on")
    output.emit(_Rotated(name=done.name, key=done.key, successor=done.successor, kept=done.kept), _render_rotated)


@keys.command()
@click.argument("key")
@click.option(
    "--reason",
    type=click.Choice(["superseded", "lost", "compromised"]),
    default="superseded",
    show_default=True,
    help="Why.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]),
    metavar="TIME",
    help="From when on, if others may have had it before: 2027-01-31T09:30:00Z or 2027-01-31. Default: now.",
)
@passphrase_options
@pass_output
def revoke(output: Output, *, key: str, reason: Reason, since: datetime | None, passphrase: PassphraseSource) -> None:
    """End a key of the trust store; the log says from when on. What it recorded before stays valid.

    KEY is the digest of the key, or 8 digits of it or more, or the file of its public half.

    \b
    Example:
      unlearnkit keys revoke 3f2a9c01 --reason compromised --since 2027-01-31T09:30:00Z
    """
    import unlearnkit as uk
    from unlearnkit.compliance.log.clock import format_time
    from unlearnkit.signing.keys import read_public_key

    file = Path(key)
    digest = read_public_key(file).key_id if file.is_file() else key.lower()
    with values_from_options():
        when = None if since is None else since.replace(tzinfo=UTC)
        done = uk.Workspace.find().unlocked(passphrase.read()).revoke_key(digest, reason=reason, since=when)
    output.say("tell whoever verifies without this log: in their trust stores, the key ends then, too")
    output.emit(_Revoked(key=done.key, since=format_time(done.since), reason=done.reason), _render_revoked)


@keys.command("list")
@pass_output
def list_keys(output: Output) -> None:
    """List whose signatures count in this workspace, for what and when.

    \b
    Example:
      unlearnkit keys list
    """
    import unlearnkit as uk

    output.emit(_Trusted.of(uk.Workspace.find().trust()), _render_trusted)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rotated(Document):
    schema: ClassVar[str] = "unlearnkit/key-rotated/v1"

    name: str
    key: str
    successor: str
    kept: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Revoked(Document):
    schema: ClassVar[str] = "unlearnkit/key-revoked/v1"

    key: str
    since: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrustedKey:
    """since, until: when it counts; None: without such an end."""

    name: str
    roles: tuple[str, ...]
    key: str
    since: str | None
    until: str | None

    @classmethod
    def of(cls, name: str, roles: Iterable[str], key: PublicKey, validity: Validity) -> _TrustedKey:
        from unlearnkit.compliance.log.clock import format_time

        since, until = (None if time is None else format_time(time) for time in (validity.since, validity.until))
        return cls(name=name, roles=tuple(roles), key=key.key_id, since=since, until=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trusted(Document):
    schema: ClassVar[str] = "unlearnkit/keys/v1"

    keys: tuple[_TrustedKey, ...]

    @classmethod
    def of(cls, store: TrustStore) -> _Trusted:
        notes = [("log", key) for key in store.logs] + [("witness", key) for key in store.witnesses]
        signers = [_TrustedKey.of(item.name, map(str, item.roles), item.key, item.validity) for item in store.signers]
        return cls(
            keys=(*signers, *(_TrustedKey.of(key.name, [role], key.public, key.validity) for role, key in notes))
        )


def _render_rotated(done: _Rotated) -> Iterable[str]:
    yield from columns([("key", done.key), ("new key", done.successor), ("the old one is", done.kept)])


def _render_revoked(done: _Revoked) -> Iterable[str]:
    yield from columns([("key", done.key), ("counts before", done.since), ("reason", done.reason)])


def _render_trusted(found: _Trusted) -> Iterable[str]:
    for item in found.keys:
        ends = [f"{word} {time}" for word, time in (("from", item.since), ("until", item.until)) if time]
        yield f"{item.key[:16]}  {item.name}: {', '.join(item.roles)}{'; ' if ends else ''}{' '.join(ends)}"


def _render(key: _Key) -> Iterable[str]:
    yield from columns([("path", key.path), ("algorithm", key.algorithm), ("key id", key.key_id)])
    yield key.public_key.rstrip()
