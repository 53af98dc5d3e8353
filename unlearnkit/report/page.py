"""A certificate as a page for people, verified as far as what is at hand allows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unlearnkit.compliance.releases.whereabouts import linked_bundles
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.errors import UnknownNameError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.report.absence import render_absence
from unlearnkit.report.correction import render_correction
from unlearnkit.report.html import RequestDates, Verified, render_report
from unlearnkit.signing.dsse import parse_envelope
from unlearnkit.verifier.absence import ABSENCE_TYPE, EXCLUSION_TYPE, parse_absence
from unlearnkit.verifier.certificate import Certificate, parse_certificate
from unlearnkit.verifier.certificate_file import document_digest, parse_certificate_file
from unlearnkit.verifier.checks import Check
from unlearnkit.verifier.correction import parse_correction
from unlearnkit.verifier.materials import Materials, Trust, trust_at_hand
from unlearnkit.verifier.recognition import Kind, recognise
from unlearnkit.verifier.verify import VerifiedCertificate, verify_certificate, verify_signed_certificate
from unlearnkit.verifier.verify_absence import VerifiedAbsence, verify_absence
from unlearnkit.verifier.verify_correction import VerifiedCorrection, verify_correction


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of HTML. extent: how much of the certificate was verified for it. checks: those that have passed."""

    html: str
    extent: Verified
    checks: tuple[Check, ...]


def certificate_page(
    file: Path,
    *,
    bundle: Path | None = None,
    log: Path | None = None,
    trust: Trust | None = None,
    evidence: Sequence[Path] = (),
) -> Page:
    """A certificate as a page that says how much of it was verified.

    With the bundle, everything is verified and recomputed; with trusted keys alone, the signatures are; else nothing.
    One of exclusion, absence or correction is verified whole where there are trusted keys, with the bundles of the
    workspace.
    What is tried and fails is raised, and makes no page.

    Args:
        file: The certificate.
        bundle: The bundle that it is about.
        log: The log that it is in; None: the workspace's.
        trust: A trust store, or files that name keys; None: the workspace's, if one is in one.
        evidence: The retraining audits that it rests on.

    Raises:
        ValueError: A log or evidence without the bundle: numbers are recomputed from that.
        UnlearnkitError: What `verify_certificate` and `verify_signed_certificate` raise.
    """
    raw, where = read_bounded(file, MAX_DOCUMENT), str(file)
    kind = recognise(file)
    if kind in (Kind.EXCLUSION, Kind.ABSENCE):
        return _absence_page(file, raw, kind, _others(bundle, log, trust, evidence))
    if kind is Kind.CORRECTION:
        return _correction_page(file, raw, _others(bundle, log, trust, evidence))
    if bundle is not None:
        beside = Materials.at_hand(bundle=bundle, log=log, trust=trust, evidence=evidence)
        found = verify_certificate(raw, where=where, beside=beside)
        return _page(file, raw, found.certificate, Verified.EVERYTHING, found, _dates(found.certificate, beside))
    if log or evidence:
        raise ValueError("--log and --evidence take --bundle: numbers are recomputed from that")
    store = trust_at_hand(trust)
    if store is not None:
        digest = parse_certificate_file(raw, where=where).digest
        signed = partial(verify_signed_certificate, raw, where=where)
        found = Materials.at_hand(trust=store).signed(digest, lambda trust: signed(trust=trust))
        return _page(file, raw, found.certificate, Verified.SIGNATURE, found)
    envelope = parse_envelope(parse_certificate_file(raw, where=where).envelope, where=where)
    certificate = parse_certificate(envelope.unverified_payload, where=where)
    return _page(file, raw, certificate, Verified.NOTHING, None)


def _others(bundle: Path | None, log: Path | None, trust: Trust | None, evidence: Sequence[Path]) -> Materials | None:
    """What verifies a certificate that is not of effect; None without a trusted key."""
    if trust_at_hand(trust) is None:
        return None
    workspace = WorkspaceFiles.nearest()
    linked = () if workspace is None else linked_bundles(workspace.root)
    return Materials.at_hand(bundle=bundle, bundles=linked, log=log, trust=trust, evidence=evidence)


def _absence_page(file: Path, raw: bytes, kind: Kind, beside: Materials | None) -> Page:
    where = str(file)
    if beside is None:
        predicate = EXCLUSION_TYPE if kind is Kind.EXCLUSION else ABSENCE_TYPE
        said = parse_absence(_unverified(raw, where), where=where, predicate_type=predicate)
        return _other_page(partial(render_absence, said), file, raw)
    found = verify_absence(raw, where=where, exclusion=kind is Kind.EXCLUSION, beside=beside)
    return _other_page(partial(render_absence, found.certificate), file, raw, found)


def _correction_page(file: Path, raw: bytes, beside: Materials | None) -> Page:
    where = str(file)
    if beside is None:
        said = parse_correction(_unverified(raw, where), where=where)
        return _other_page(partial(render_correction, said), file, raw)
    found = verify_correction(raw, where=where, beside=beside)
    return _other_page(partial(render_correction, found.certificate), file, raw, found)


def _unverified(raw: bytes, where: str) -> bytes:
    """What an envelope holds, which nobody has vouched for."""
    return parse_envelope(parse_certificate_file(raw, where=where).envelope, where=where).unverified_payload


def _other_page(
    render: Callable[..., str], file: Path, raw: bytes, found: VerifiedAbsence | VerifiedCorrection | None = None
) -> Page:
    """A certificate that is not of effect is verified whole, or not at all. render: takes what is known beside it."""
    extent = Verified.NOTHING if found is None else Verified.EVERYTHING
    checks, unchecked = (found.checks, found.unchecked) if found else ((), ())
    html = render(
        checks=[(check.name, check.found) for check in checks],
        verified=extent,
        file=file.name,
        digest=document_digest(raw, where=str(file)),
        unchecked=unchecked,
    )
    return Page(html=html, extent=extent, checks=checks)


def _dates(certificate: Certificate, beside: Materials) -> Iterator[RequestDates]:
    """The days of its requests, from the log that is at hand; none if there is none."""
    view = beside.view_of(certificate.log, is_needed=False)
    if view is None:
        return
    for name in certificate.requests:
        request = view.register.get(name)
        closed = request.current.on if request.is_closed else None
        yield RequestDates(name, request.subject, request.received, request.respond.day, closed)


def _controller(log: str) -> str:
    """Who keeps a log, if it is that of the workspace around, and that says so."""
    workspace = WorkspaceFiles.nearest()
    if workspace is None or workspace.origin != log:
        return ""
    try:
        return workspace.sender().name
    except UnknownNameError:
        return ""


def _page(
    file: Path,
    raw: bytes,
    certificate: Certificate,
    extent: Verified,
    found: VerifiedCertificate | None,
    dates: Iterable[RequestDates] = (),
) -> Page:
    checks, unchecked = (found.checks, found.unchecked) if found else ((), ())
    html = render_report(
        certificate,
        [(check.name, check.found) for check in checks],
        verified=extent,
        file=file.name,
        digest=document_digest(raw, where=file.name),
        unchecked=unchecked,
        dates=tuple(dates),
        controller=_controller(certificate.log),
    )
    return Page(html=html, extent=extent, checks=checks)
