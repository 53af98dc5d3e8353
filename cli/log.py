"""``unlearnkit log``: the audit log; read, sign, prove, export, verify."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .init import PassphraseSource, passphrase_options
from .output import Document, Output, fields, pass_output

if TYPE_CHECKING:
    from unlearnkit.compliance.log.checkpoint import Checkpoint
    from unlearnkit.compliance.log.entry import Entry
    from unlearnkit.compliance.workspace import Workspace
    from unlearnkit.signing.note import NoteKey

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def log() -> None:
    """The audit log of the workspace: read, sign, prove, export, verify."""


@log.command()
@click.argument("indices", type=click.IntRange(min=0), nargs=-1)
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many, when none is named.")
@click.option("--all", "everything", is_flag=True, help="All entries.")
@click.option("--raw", is_flag=True, help="Print the exact lines, which proofs and digests are of.")
@pass_output
def show(output: Output, *, indices: tuple[int, ...], last: int, everything: bool, raw: bool) -> None:
    """Show entries: those with the given INDICES, or the last ones. The chain is checked on the way.

    \b
    Example:
      unlearnkit log show --last 5
      unlearnkit log show 3 --raw | sha256sum
    """
    from unlearnkit.compliance.log.reader import read_entries
    from unlearnkit.errors import UnknownNameError

    entries = read_entries(_workspace().log_path)
    chosen = _named(entries, set(indices)) if indices else list(entries if everything else deque(entries, maxlen=last))
    if missing := sorted(set(indices) - {entry.index for entry in chosen}):
        raise UnknownNameError(f"no entry {', '.join(map(str, missing))} in the log")
    document = {"schema": "unlearnkit/log-entries/v1", "entries": [_entry_document(entry) for entry in chosen]}
    output.emit(document, lambda _: (line for entry in chosen for line in _render_entry(entry, raw=raw)))


@log.command()
@click.option("--import", "imported", type=_FILE, help="A cosigned or earlier checkpoint to hold the log to.")
@passphrase_options
@pass_output
def checkpoint(output: Output, *, imported: Path | None, passphrase: PassphraseSource) -> None:
    """Verify the log, sign what it holds now, and print the checkpoint; or take in one that a witness has cosigned.

    \b
    Example:
      unlearnkit log checkpoint > to-the-witness
      unlearnkit log checkpoint --import from-the-witness
    """
    from unlearnkit.compliance.log.publication import import_checkpoint, publish_checkpoint

    workspace = _workspace()
    opened = workspace.open_log()
    if imported is None:
        found = publish_checkpoint(opened, workspace.log_key(passphrase.read()))
    else:
        key, witnesses = workspace.log_public_key(), workspace.trust().witnesses
        found = import_checkpoint(opened, imported.read_bytes(), key=key, witnesses=witnesses)
        known = ", ".join(item.witness.name for item in found.cosignatures) or "no witness in the trust store"
        output.say(f"kept the checkpoint of {found.size} entries, cosigned by {known}")
    output.emit(_checkpoint_document(found), lambda _: [found.raw.decode().removesuffix("\n")])


@log.command()
@click.argument("index", type=click.IntRange(min=0), required=False)
@click.option(
    "--since", type=click.IntRange(min=0), help="Prove instead that the log only grew since it had so many entries."
)
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Where it goes. Default: stdout."
)
@pass_output
def prove(output: Output, *, index: int | None, since: int | None, target: Path | None) -> None:
    """Prove that entry INDEX is in the log, as a file that can be verified without the log (tlog-proof).

    With --since: that nothing was changed, as a request to a witness.

    \b
    Example:
      unlearnkit log prove 3 -o 3.tlog-proof
      unlearnkit log prove --since 100
    """
    from unlearnkit.compliance.log.publication import prove_entry, prove_growth
    from unlearnkit.files import write_new

    if (index is None) == (since is None):
        raise click.UsageError("give either INDEX or --since")
    workspace = _workspace()
    path, key = workspace.log_path, workspace.log_public_key()
    raw = prove_entry(path, index, log=key) if index is not None else prove_growth(path, since or 0, log=key)
    if target is not None:
        write_new(target, raw)
    document = {"schema": "unlearnkit/log-proof/v1", "index": index, "since": since, "proof": raw.decode()}
    output.emit(document, lambda _: [str(target) if target else raw.decode().removesuffix("\n")])


@log.command()
@click.argument("target", type=click.Path(path_type=Path))
@pass_output
def export(output: Output, *, target: Path) -> None:
    """Write the log, as far as it is signed, to the new directory TARGET, as files that anybody can serve (tlog-tiles).

    \b
    Example:
      unlearnkit log export public/log
    """
    from unlearnkit.compliance.log.tiles import export_tiles

    workspace = _workspace()
    found = export_tiles(workspace.log_path, target, log=workspace.log_public_key())
    output.emit({**_checkpoint_document(found), "path": str(target)}, lambda _: [f"{found.size} entries in {target}"])


@log.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--vkey", help="The log's key, from somebody you trust. Default: the trust store's.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness's key; may be repeated.")
@click.option(
    "--quorum", type=click.IntRange(min=0), help="So many witnesses must have cosigned. Default: the trust store's."
)
@click.option("--earlier", type=_FILE, multiple=True, help="A checkpoint kept from before; may be repeated.")
@pass_output
def verify(
    output: Output,
    *,
    path: Path | None,
    vkey: str | None,
    witnesses: tuple[str, ...],
    quorum: int | None,
    earlier: tuple[Path, ...],
) -> None:
    """Recompute the whole log from its bytes, and hold it against what was signed.

    Needs no secrets. PATH is the directory of a log, by default the workspace's. What was done to a log is told apart:
    removed, reordered, edited, rewritten, truncated, forked, rolled back.

    \b
    Example:
      unlearnkit log verify --earlier checkpoint-of-last-year
      unlearnkit log verify audit --vkey "$(cat log.vkey)"
    """
    from unlearnkit.compliance.log.reader import read_entries
    from unlearnkit.compliance.log.verification import verify_log
    from unlearnkit.compliance.requests.register import Register
    from unlearnkit.signing.note import parse_vkey

    place = path or _workspace().log_path
    keys = _trusted(vkey, [parse_vkey(line, where="--witness") for line in witnesses], quorum)
    found = verify_log(place, **keys, earlier=[file.read_bytes() for file in earlier])
    register = Register().replay(read_entries(place))
    document = {
        **_checkpoint_document(found.checkpoint),
        "schema": "unlearnkit/log-verification/v1",
        "path": str(place),
        "entries": found.size,
        "unsigned": found.size - found.checkpoint.size,
        "earlier": [{"size": head.size, "root": head.root.hex()} for head in found.earlier],
        "torn_bytes": found.torn,
        "requests": len(register.requests),
    }
    output.emit(document, _render_verified)


@log.command("destroy-key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_output
def destroy_key(output: Output, *, yes: bool) -> None:
    """Destroy the pseudonym key: nobody can ever tell again whom the log, and bundles made with the key, are about.

    This is recorded in the log. Copies of the key are yours to find.

    \b
    Example:
      unlearnkit log destroy-key
    """
    from unlearnkit.compliance.requests.erasure import destroy_key as destroy

    workspace = _workspace()
    path = workspace.pseudonym_key_path
    question = (
        f"Destroy {path}? No person can be found in this log again, and no request received. This cannot be undone."
    )
    if not yes:
        click.confirm(question, abort=True, err=True)
    index = destroy(workspace.desk(), path)
    document = {"schema": "unlearnkit/key-destroyed/v1", "entry": index, "path": str(path)}
    output.emit(document, lambda _: [f"destroyed; entry {index} of the log says so"])


def _workspace() -> Workspace:
    from unlearnkit.compliance.workspace import Workspace

    return Workspace.find()


def _trusted(vkey: str | None, witnesses: list[NoteKey], quorum: int | None) -> dict[str, Any]:
    """What to verify with: what was given, and without a key, what the trust store has."""
    from unlearnkit.signing.note import parse_vkey

    if vkey is not None:
        return {"log": parse_vkey(vkey, where="--vkey"), "witnesses": witnesses, "quorum": quorum or 0}
    workspace = _workspace()
    trust = workspace.trust()
    least = trust.witness_quorum if quorum is None else quorum
    return {"log": workspace.log_public_key(), "witnesses": witnesses or trust.witnesses, "quorum": least}


def _named(entries: Iterable[Entry], indices: set[int]) -> list[Entry]:
    return [entry for entry in entries if entry.index in indices]


def _entry_document(entry: Entry) -> dict[str, Any]:
    from unlearnkit.compliance.log.clock import format_time

    return {
        "index": entry.index,
        "time": format_time(entry.time),
        "type": entry.type,
        "previous": entry.previous,
        "digest": entry.digest,
        "body": dict(entry.body),
    }


def _render_entry(entry: Entry, *, raw: bool) -> Iterator[str]:
    from unlearnkit.canonical import canonicalize
    from unlearnkit.compliance.log.clock import format_time

    if raw:
        yield entry.line.decode().removesuffix("\n")
    else:
        yield f"{entry.index}  {format_time(entry.time)}  {entry.type}  {canonicalize(entry.body).decode()}"


def _checkpoint_document(found: Checkpoint) -> dict[str, Any]:
    return {
        "schema": "unlearnkit/checkpoint/v1",
        "origin": found.origin,
        "size": found.size,
        "root": found.root.hex(),
        "cosignatures": [{"witness": item.witness.name, "time": item.time} for item in found.cosignatures],
        "checkpoint": found.raw.decode(),
    }


def _render_verified(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    cosigned = ", ".join(item["witness"] for item in record["cosignatures"])
    earlier = ", ".join(str(item["size"]) for item in record["earlier"])
    torn = record["torn_bytes"]
    return [
        "VERIFIED: every line, the chain, the root, the signatures, and every step of every request",
        *fields(
            [
                ("log", record["path"]),
                ("origin", record["origin"]),
                ("entries", record["entries"]),
                ("signed", f"{record['size']}, root {record['root']}"),
                ("not signed yet", record["unsigned"] or None),
                ("cosigned by", cosigned or None),
                ("agrees with", f"earlier checkpoints of {earlier} entries" if earlier else None),
                ("requests", record["requests"]),
                ("unfinished", f"{torn} bytes of a line that is being written, or that a crash cut" if torn else None),
            ]
        ),
    ]
