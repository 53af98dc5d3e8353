"""``unlearnkit report``: a certificate as one page for people."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .errors import values_from_options
from .output import Document, Output, pass_output
from .trust import trust_option
from .verify import CheckRow

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.trust import TrustStore

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)

_EXTENTS = {
    "everything": "VERIFIED AND RECOMPUTED",
    "signature": "SIGNATURE VERIFIED, NUMBERS NOT RECOMPUTED",
    "nothing": "UNVERIFIED, NO SIGNATURE CHECKED",
}


@click.command()
@click.argument("certificate", type=_FILE, required=False)
@click.option("--register", is_flag=True, help="The workspace's register, instead of a certificate.")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="Where the page goes.")
@click.option("--bundle", type=_FOLDER, help="The bundle that it is about: then everything is verified and recomputed.")
@click.option("--log", type=_FOLDER, help="The log that it is in. Default: the workspace's.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit that it rests on. May be repeated.")
@trust_option
@pass_output
def report(
    output: Output,
    *,
    certificate: Path | None,
    register: bool,
    path: Path,
    bundle: Path | None,
    log: Path | None,
    evidence: tuple[Path, ...],
    trust: TrustStore | None,
) -> None:
    """Write CERTIFICATE as one page of HTML, for people: no network and no script is needed to read it.

    With --register, the page has all requests of the workspace instead: what is due, late, not signed, which releases,
    what is spent.

    With --bundle, --log and trusted keys everything is verified and recomputed first, as 'unlearnkit verify' does; with
    trusted keys alone, the signatures are; without, the page says that it is UNVERIFIED. One of exclusion, absence
    or correction is verified with the bundles of the workspace. What does not verify gets no page.

    \b
    Example:
      unlearnkit report r2.certificate.json -o r2.html --bundle run/bundle --log audit --trust trust.toml
      unlearnkit report --register -o register.html
    """
    from unlearnkit.files import write_new
    from unlearnkit.report import certificate_page

    if path.exists():
        raise FileExistsError(errno.EEXIST, "there is something already, which is not overwritten", str(path))
    if (certificate is None) == (not register) or (register and (bundle or log or evidence)):
        raise click.UsageError("give one certificate; or --register, which takes none of its options")
    if certificate is None:
        _write_register(output, path)
        return
    with values_from_options():
        page = certificate_page(certificate, bundle=bundle, log=log, trust=trust, evidence=evidence)
    write_new(path, page.html.encode())
    extent = page.extent.value
    if extent != "everything":
        output.say(f"{_EXTENTS[extent]}.")
    rows = tuple(map(CheckRow.of, page.checks))
    output.emit(_Report(path=path, verified=extent == "everything", extent=extent, checks=rows), _render)


def _write_register(output: Output, path: Path) -> None:
    import unlearnkit as uk
    from unlearnkit.files import write_new
    from unlearnkit.office.register_page import register_page

    write_new(path, register_page(uk.Workspace.find()).encode(), mode=0o600)
    output.emit(_Register(path=path), lambda made: [f"register: {made.path}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Register(Document):
    """Where the page was written."""

    schema: ClassVar[str] = "unlearnkit/register-page/v1"

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report(Document):
    """verified: everything was; extent: how much was."""

    schema: ClassVar[str] = "unlearnkit/report/v1"

    path: Path
    verified: bool
    extent: str
    checks: tuple[CheckRow, ...]


def _render(report: _Report) -> Iterable[str]:
    yield f"{_EXTENTS[report.extent]}: {report.path}"
    yield from map(str, report.checks)
