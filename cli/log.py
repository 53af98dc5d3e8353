"""``unlearnkit log``: the audit log; read, sign, prove, export, verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from unlearnkit.names import counted

from .init import PassphraseSource, passphrase_options
from .log_times import timestamp
from .log_views import (
    CheckpointView,
    Entries,
    EntryView,
    Exported,
    KeyDestroyed,
    ProofFile,
    RepairedLog,
    VerifiedLog,
    render_repaired,
    render_verified,
)
from .output import Output, pass_output
from .trust import name_trust

if TYPE_CHECKING:
    from unlearnkit.compliance.log.entry import Entry
    from unlearnkit.compliance.log.times import Stamp
    from unlearnkit.compliance.view import LogView
    from unlearnkit.office.workspace import Workspace

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
    view = _office().view()
    first = 0 if everything else max(0, len(view) - last)
    chosen = list(view.entries(indices or range(first, len(view))))
    entries = Entries(entries=tuple(EntryView.of(entry, signed=view.covers(entry.index)) for entry in chosen))
    lines = map(_raw, chosen) if raw else map(str, entries.entries)
    output.emit(entries, lambda _: lines, exact=raw)


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
    from unlearnkit.files import read_bounded
    from unlearnkit.signing.note import MAX_NOTE

    office = _office().unlocked(passphrase.read())
    if imported is None:
        found = office.checkpoint()
    else:
        found = office.import_checkpoint(read_bounded(imported, MAX_NOTE))
        known = ", ".join(item.witness.name for item in found.cosignatures) or "no witness in the trust store"
        output.say(f"kept the checkpoint of {counted(found.size, 'entry')}, cosigned by {known}")
    output.emit(CheckpointView.of(found), lambda checkpoint: [checkpoint.checkpoint.removesuffix("\n")], exact=True)


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
    from unlearnkit.files import write_new

    if index is not None and since is None:
        found = _office().prove(index)
    elif since is not None and index is None:
        found = _office().prove_growth(since)
    else:
        raise click.UsageError("give either INDEX or --since")
    if target is not None:
        write_new(target, found.raw)
    proof = ProofFile(index=index, since=since, proof=found.raw.decode())
    output.emit(proof, lambda _: [str(target) if target else proof.proof.removesuffix("\n")], exact=True)


@log.command()
@click.argument("target", type=click.Path(path_type=Path))
@pass_output
def export(output: Output, *, target: Path) -> None:
    """Write the log, as far as it is signed, to the new directory TARGET, as files that anybody can serve (tlog-tiles).

    \b
    Example:
      unlearnkit log export public/log
    """
    found = _office().export(target)
    exported = Exported.at(target, found)
    output.emit(exported, lambda _: [f"{counted(exported.size, 'entry')} in {exported.path}"])


@log.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--vkey", help="The log's key, from somebody you trust. Default: the trust store's.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness's key; may be repeated.")
@click.option(
    "--quorum", type=click.IntRange(min=0), help="So many witnesses must have cosigned. Default: the trust store's."
)
@click.option("--earlier", type=_FILE, multiple=True, help="A checkpoint kept from before; may be repeated.")
@click.option(
    "--authority", "roots", type=_FILE, multiple=True, help="A root certificate (PEM) of an authority of time."
)
@pass_output
def verify(
    output: Output,
    *,
    path: Path | None,
    vkey: str | None,
    witnesses: tuple[str, ...],
    quorum: int | None,
    earlier: tuple[Path, ...],
    roots: tuple[Path, ...],
) -> None:
    """Recompute the whole log from its bytes, and hold it against what was signed.

    Needs no secrets. PATH is the directory of a log, by default the workspace's. What was done to a log is told apart:
    removed, reordered, edited, rewritten, truncated, forked, rolled back.

    \b
    Example:
      unlearnkit log verify --earlier checkpoint-of-last-year
      unlearnkit log verify audit --vkey "$(cat log.vkey)"
    """
    from unlearnkit.compliance.view import LogView
    from unlearnkit.files import read_bounded
    from unlearnkit.signing.note import MAX_NOTE, parse_vkey

    known = tuple(parse_vkey(line, where="--witness") for line in witnesses)
    if vkey is not None:
        key, least = parse_vkey(vkey, where="--vkey"), quorum or 0
    else:
        office = _office()
        trust = office.trust()
        name_trust(output, office)
        key = trust.log(office.origin)
        known, least = known or trust.witnesses, trust.witness_quorum if quorum is None else quorum
    place = path or _office().log_path
    view = LogView.verify(
        place, log=key, witnesses=known, quorum=least, earlier=[read_bounded(file, MAX_NOTE) for file in earlier]
    )
    output.emit(VerifiedLog.of_view(view, _stamps(view, roots)), render_verified)


@log.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True),
    help="A copy of the log, a file or a directory, or an export of it. Default: the damaged log has to do.",
)
@pass_output
def repair(output: Output, *, source: Path | None) -> None:
    """Restore what is signed of the log from a copy, keep what is good beyond it, and set everything else aside.

    The repaired log begins with the very entries that the last checkpoint signs, or nothing is changed. Unsigned steps
    that were not legal are replaced by entries that say so. What was taken out is kept in a file, and recorded.

    \b
    Example:
      unlearnkit log repair --from /backup/audit
    """
    output.emit(RepairedLog.of(_office().repair(source)), render_repaired)


log.add_command(timestamp)


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
    office = _office()
    path = office.pseudonym_key_path
    question = (
        f"Destroy {path}? No person can be found in this log again, and no request received. This cannot be undone."
    )
    if not yes:
        click.confirm(question, abort=True, err=True)
    destroyed = KeyDestroyed(entry=office.destroy_key(), path=path)
    output.emit(destroyed, lambda found: [f"destroyed; entry {found.entry} of the log says so"])


def _stamps(view: LogView, roots: tuple[Path, ...]) -> tuple[Stamp, ...]:
    """The times that are kept with a log, by authorities that were named; none were looked at where nobody was."""
    from unlearnkit.compliance.log.times import stamps
    from unlearnkit.signing.timestamp import Authority

    if not roots or view.signed is None:
        return ()
    head, tree = view.signed.checkpoint, view.tree()
    return stamps(view.path, origin=head.origin, most=head.size, root=tree.root, authority=Authority.read(roots))


def _raw(entry: Entry) -> str:
    return entry.line.decode().removesuffix("\n")


def _office() -> Workspace:
    import unlearnkit as uk

    return uk.Workspace.find()
