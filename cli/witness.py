"""``unlearnkit witness``: cosign the checkpoints of other people's logs, file in and file out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .init import PassphraseSource, passphrase_options
from .output import Document, Output, columns, pass_output

if TYPE_CHECKING:
    from unlearnkit.compliance.log.witness import Cosigned, Witness

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_KEY = click.option("--key", required=True, type=_FILE, help="The witness's Ed25519 key: `unlearnkit keys new --log`.")
_NAME = click.option("--name", required=True, help="The witness's name, for example witness.example/w1.")


@click.group()
def witness() -> None:
    """Be a witness of audit logs: vouch that each only grew since it was last seen."""


@witness.command()
@_KEY
@_NAME
@passphrase_options
@pass_output
def vkey(output: Output, *, key: Path, name: str, passphrase: PassphraseSource) -> None:
    """Print the line that others count this witness's cosignatures with, for their trust stores.

    \b
    Example:
      unlearnkit witness vkey --key witness.pem --name witness.example/w1
    """
    made = _witness(key, name, passphrase, Path())
    output.emit(_Vkey(name=name, vkey=made.public.vkey), lambda found: [found.vkey], exact=True)


@witness.command()
@click.argument("request", type=_FILE)
@_KEY
@_NAME
@click.option("--log", "logs", required=True, multiple=True, type=_FILE, help="A log's key (vkey); may be repeated.")
@click.option(
    "--state", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where what was cosigned is kept."
)
@click.option("--response", is_flag=True, help="Print the witness's line alone, as tlog-witness answers.")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Default: stdout.")
@passphrase_options
@pass_output
def cosign(
    output: Output,
    *,
    request: Path,
    key: Path,
    name: str,
    logs: tuple[Path, ...],
    state: Path,
    response: bool,
    target: Path | None,
    passphrase: PassphraseSource,
) -> None:
    """Cosign the checkpoint in REQUEST, if its log only grew since the last one that this witness cosigned.

    REQUEST is what `unlearnkit log prove --since N` prints (C2SP tlog-witness), with the N that was cosigned last. Of a
    log that was rolled back or forked it is refused (exit code 4), and both heads are kept in the state as evidence.

    \b
    Example:
      unlearnkit witness cosign request --key witness.pem --name witness.example/w1 --log log.vkey --state seen
    """
    from unlearnkit.compliance.log.proof import MAX_REQUEST
    from unlearnkit.compliance.policy.trusted import read_trusted
    from unlearnkit.files import PUBLIC_MODE, read_bounded, write_new

    made = _witness(key, name, passphrase, state)
    store = read_trusted(logs)
    known = [store.log(origin) for origin in dict.fromkeys(key.name for key in store.logs)]
    done = made.cosign(read_bounded(request, MAX_REQUEST), where=str(request), logs=known)
    raw = done.response if response else done.raw
    if target is not None:
        write_new(target, raw, mode=PUBLIC_MODE)
    output.say(f"{name} cosigned {counted(done.checkpoint.size, 'entry')} of {done.checkpoint.origin}")
    output.emit(_Answer.of(done, raw), lambda found: _render(found, target), exact=target is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vkey(Document):
    schema: ClassVar[str] = "unlearnkit/witness-key/v1"

    name: str
    vkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer(Document):
    schema: ClassVar[str] = "unlearnkit/cosigned/v1"

    origin: str
    size: int
    cosigned: str

    @classmethod
    def of(cls, done: Cosigned, raw: bytes) -> _Answer:
        return cls(origin=done.checkpoint.origin, size=done.checkpoint.size, cosigned=raw.decode())


def _render(answer: _Answer, target: Path | None) -> Iterable[str]:
    if target is None:
        return [answer.cosigned.removesuffix("\n")]
    return columns([("log", answer.origin), ("entries", answer.size), ("file", target)])


def _witness(key: Path, name: str, passphrase: PassphraseSource, state: Path) -> Witness:
    from unlearnkit.compliance.log.witness import Witness
    from unlearnkit.signing.keys import read_private_key

    return Witness(name, read_private_key(key, passphrase=passphrase.read()), state)
