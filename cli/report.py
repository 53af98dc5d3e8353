"""``unlearnkit report``: a certificate as one page for people."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Document, Output, pass_output
from .trust import trust_option

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.report import Verified
    from unlearnkit.verifier.certificate import Certificate

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_Checks = list[tuple[str, str]]

_EXTENTS = {
    "everything": "VERIFIED AND RECOMPUTED",
    "signature": "SIGNATURE VERIFIED, NUMBERS NOT RECOMPUTED",
    "nothing": "UNVERIFIED, NO SIGNATURE CHECKED",
}


@click.command()
@click.argument("certificate", type=_FILE)
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="Where the page goes.")
@click.option("--bundle", type=_FOLDER, help="The bundle that it is about: then everything is verified and recomputed.")
@click.option("--log", type=_FOLDER, help="The log that it is in. Default: the workspace's.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit that it rests on. May be repeated.")
@trust_option
@pass_output
def report(
    output: Output,
    *,
    certificate: Path,
    path: Path,
    bundle: Path | None,
    log: Path | None,
    evidence: tuple[Path, ...],
    trust: TrustStore | None,
) -> None:
    """Write CERTIFICATE as one page of HTML, for people: no network and no script is needed to read it.

    With --bundle, --log and trusted keys everything is verified and recomputed first, as 'unlearnkit verify' does; with
    trusted keys alone, the signatures are; without, the page says that it is UNVERIFIED. What does not verify gets no
    page.

    \b
    Example:
      unlearnkit report r2.certificate.json -o r2.html --bundle run/bundle --log audit --trust trust.toml
    """
    from unlearnkit.canonical import sha256_hex
    from unlearnkit.files import write_new
    from unlearnkit.report import render_report

    if path.exists():
        raise FileExistsError(errno.EEXIST, "there is something already, which is not overwritten", str(path))
    raw = certificate.read_bytes()
    found, checks, extent = _verify(raw, str(certificate), bundle, log, evidence, trust)
    page = render_report(found, checks, verified=extent, file=certificate.name, digest=sha256_hex(raw))
    write_new(path, page.encode())
    if extent != "everything":
        output.say(f"{_EXTENTS[extent]}.")
    output.emit(document_of(path, extent, checks), render)


def _verify(
    raw: bytes, where: str, bundle: Path | None, log: Path | None, evidence: tuple[Path, ...], trust: TrustStore | None
) -> tuple[Certificate, _Checks, Verified]:
    """As far as what is at hand allows; whatever is tried and fails is raised."""
    from unlearnkit.report import Verified

    if bundle is not None:
        return *_everything(raw, where, bundle, log, evidence, trust), Verified.EVERYTHING
    if log or evidence:
        raise click.UsageError("--log and --evidence take --bundle: numbers are recomputed from that")
    if trust is not None:
        return *_signature(raw, where, trust), Verified.SIGNATURE
    return _unverified(raw, where), [], Verified.NOTHING


def _everything(
    raw: bytes, where: str, bundle: Path, log: Path | None, evidence: tuple[Path, ...], trust: TrustStore | None
) -> tuple[Certificate, _Checks]:
    from unlearnkit.errors import SignatureError, UnknownNameError
    from unlearnkit.verifier.verify import verify_certificate

    from .trust import log_of_workspace

    if trust is None:
        raise SignatureError("no key is trusted: that verifies nothing", hint="give --trust, or be in a workspace")
    if (log := log or log_of_workspace()) is None:
        raise UnknownNameError("the log that the certificate is in is not there", hint="give its folder: --log")
    checks: _Checks = []
    verified = verify_certificate(
        raw,
        where=where,
        bundle=bundle,
        log=log,
        trust=trust,
        evidence=[file.read_bytes() for file in evidence],
        report=lambda name, found: checks.append((name, found)),
    )
    return verified.certificate, checks


def _signature(raw: bytes, where: str, trust: TrustStore) -> tuple[Certificate, _Checks]:
    from unlearnkit.verifier.verify import verify_signed_certificate

    verified = verify_signed_certificate(raw, where=where, trust=trust)
    return verified.certificate, [("signature", f"signed by {', '.join(key[:16] for key in verified.signers)}")]


def _unverified(raw: bytes, where: str) -> Certificate:
    from unlearnkit.signing.dsse import parse_envelope
    from unlearnkit.verifier.certificate import parse_certificate

    return parse_certificate(parse_envelope(raw, where=where).unverified_payload, where=where)


def document_of(path: Path, extent: str, checks: _Checks) -> dict[str, Any]:
    """What ``report`` prints. verified: everything was; extent: how much was."""
    return {
        "schema": "unlearnkit/report/v1",
        "path": str(path),
        "verified": extent == "everything",
        "extent": str(extent),
        "checks": [{"name": name, "passed": True, "detail": found} for name, found in checks],
    }


def render(document: Document) -> Iterable[str]:
    """The same as text."""
    record: dict[str, Any] = dict(document)
    yield f"{_EXTENTS[record['extent']]}: {record['path']}"
    for check in record["checks"]:
        yield f"  ok    {check['name']}: {check['detail']}"
