"""``unlearnkit requests receipt``: small files that prove to people that their request is in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, pass_output
from .selection import Chosen, chosen

if TYPE_CHECKING:
    from unlearnkit.office.workspace import Workspace

_NAMED = 3


@click.command()
@chosen
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Folder. Default: this one."
)
@passphrase_options
@pass_output
def receipt(output: Output, *, chosen: Chosen, out: Path, passphrase: PassphraseSource) -> None:
    """Write the receipt of each REQUEST, R2.receipt.json: what the person is given, beside the letter.

    It holds the entry of the log that received the request, the proof that the log has it, and a signed checkpoint: no
    name. Anybody verifies it with keys/log.vkey alone: unlearnkit verify R2.receipt.json --trust log.vkey

    \b
    Example:
      unlearnkit requests receipt R2 R3 -o receipts
    """
    import unlearnkit as uk

    office = uk.Workspace.find().unlocked(passphrase.read())
    with values_from_options():
        names = chosen.of(office)
    output.emit(Receipts(receipts=_written(office, names, out)), _render)


def mention_receipts(output: Output, names: Sequence[str]) -> None:
    """Say how those whose requests were just recorded get their receipts."""
    if names:
        which = " ".join(names) if len(names) <= _NAMED else "--open"
        output.say(f"a receipt for each person: unlearnkit requests receipt {which}")


def _written(office: Workspace, names: Sequence[str], folder: Path) -> tuple[ReceiptRow, ...]:
    """A file for each request, in a folder, made if it is not there; FileExistsError for one that has one."""
    from unlearnkit.compliance.requests.receipt import receipt_name
    from unlearnkit.files import write_new

    made = office.receipts(names)
    if taken := [name for name in made if (folder / receipt_name(name)).exists()]:
        raise FileExistsError(f"there is a receipt of {', '.join(taken[:3])} in {folder} already")
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in made.items():
        write_new(folder / receipt_name(name), raw, mode=0o600)
    return tuple(ReceiptRow(name, folder / receipt_name(name)) for name in made)


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """Where a receipt is."""

    request: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipts(Document):
    """Receipts that were written."""

    schema: ClassVar[str] = "unlearnkit/receipts/v1"

    receipts: tuple[ReceiptRow, ...]


def _render(found: Receipts) -> Iterable[str]:
    return (f"{row.path}: receipt of {row.request}" for row in found.receipts)
