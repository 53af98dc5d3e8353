"""``unlearnkit log timestamp``: trusted time for the audit log (RFC 3161), file out and file in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click

from .output import Document, Output, columns, pass_output

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("-o", "--output", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write a request here.")
@click.option("--import", "imported", type=_FILE, help="An authority's response, to be verified and kept.")
@click.option("--authority", "roots", type=_FILE, multiple=True, help="A root certificate (PEM) of an authority.")
@pass_output
def timestamp(output: Output, *, target: Path | None, imported: Path | None, roots: tuple[Path, ...]) -> None:
    """Ask an authority of time about the last checkpoint (-o), or keep what it answered (--import).

    The authority sees a digest only. `unlearnkit log verify --authority` then shows since when entries have been there.

    \b
    Example:
      unlearnkit log timestamp -o request.tsq
      curl -H 'Content-Type: application/timestamp-query' --data-binary @request.tsq https://tsa.example > reply.tsr
      unlearnkit log timestamp --import reply.tsr --authority tsa-root.pem
    """
    import unlearnkit as uk
    from unlearnkit.compliance.log.times import keep_stamp, request_stamp
    from unlearnkit.files import PUBLIC_MODE, read_bounded, write_new
    from unlearnkit.signing.timestamp import MAX_RESPONSE, Authority

    office = uk.Workspace.find()
    if target is not None and imported is None:
        write_new(target, request_stamp(office.log_path, log=office.log_public_key()), mode=PUBLIC_MODE)
        output.emit(_Stamped(request=target), lambda _: [str(target)])
    elif imported is not None and target is None:
        known, raw = Authority.read(roots), read_bounded(imported, MAX_RESPONSE)
        kept = keep_stamp(office.log_path, raw, log=office.log_public_key(), where=str(imported), authority=known)
        stamped = _Stamped(size=kept.size, time=kept.time.isoformat())
        output.emit(stamped, lambda found: columns([("entries", found.size), ("there at", found.time)]))
    else:
        raise click.UsageError("give either -o, for a request, or --import, for an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamped(Document):
    schema: ClassVar[str] = "unlearnkit/log-timestamp/v1"

    request: Path | None = None
    size: int | None = None
    time: str | None = None
