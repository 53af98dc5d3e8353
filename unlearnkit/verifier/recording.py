"""That a log records a certificate: as the log itself shows, or the proof that is kept with the certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from unlearnkit.compliance.log.clock import parse_time
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.proof import Proven, verify_proof
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import VerificationError
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, Issued, issued_certificates, log_body
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.checks import Checklist
from unlearnkit.verifier.materials import Materials

MOST_DAYS = 30
"""So long, at most, a certificate waits for the signatures that it lacks, and for its entry."""

# Between making a certificate that names its place and recording it, under the lock of the log.
_AT_ONCE = timedelta(seconds=60)


def issued_in(view: LogView) -> list[Issued]:
    """All certificates that a log records, in order."""
    return issued_certificates(view.of_type(CERTIFICATE_ISSUED))


def recorded_as(issued: Iterable[Issued], digest: str) -> Issued | None:
    """The certificate with this digest, if it is among those that a log records."""
    return next((item for item in issued if item.certificate == digest), None)


def verify_in_log(file: CertificateFile, certificate: Certificate, view: LogView, issued: Iterable[Issued]) -> Entry:
    """The entry that records a certificate, under the checkpoint of the log.

    Raises:
        VerificationError: The log records no such certificate, or says something else of it, or it is not signed yet.
    """
    found = recorded_as(issued, file.digest)
    if found is None:
        raise VerificationError(
            f"the log {certificate.log} does not record this certificate, whose digest is {file.digest}",
            hint="if it was to be recorded: `unlearnkit certify --resume FILE` does so, if it still holds",
        )
    size = 0 if view.signed is None else view.signed.checkpoint.size
    if found.index >= size:
        raise VerificationError(
            f"the certificate's entry {found.index} is not under the log's checkpoint, of size {size}",
            hint="`unlearnkit log checkpoint` signs all entries recorded so far",
        )
    entry = view.entry(found.index)
    _verify_entry(entry, file, certificate)
    return entry


def verify_by_proof(file: CertificateFile, certificate: Certificate, beside: Materials, *, where: str) -> Proven | None:
    """What the proof beside a certificate shows; None where there is none.

    Raises:
        VerificationError: The proof is of another entry or log, or a trusted key did not sign that log.
        UnknownNameError: Nobody is trusted to keep such a log.
    """
    proven = proven_entry(file, certificate.log, beside, where=where)
    if proven is not None:
        _verify_entry(proven.entry, file, certificate)
    return proven


def proven_entry(file: CertificateFile, origin: str, beside: Materials, *, where: str) -> Proven | None:
    """The entry that is kept with a certificate, in the log of that name; raises as `verify_by_proof` does.

    A key of the log that has ended is enough where the log is at hand, which is then held to what that key signed.
    """
    if file.recorded is None:
        return None
    line, proof = file.recorded
    key, witnesses = beside.trust.log(origin), beside.trust.witnesses
    known = key.ever if beside.has_log(origin) else key
    return verify_proof(proof, where=f"{where}: proof", line=line, log=known, witnesses=witnesses, quorum=beside.quorum)


class Placed(Protocol):
    """A certificate that names the place of the entry that records it."""

    @property
    def log(self) -> str:
        """The name of the log."""

    @property
    def index(self) -> int:
        """Of the entry."""

    @property
    def issued(self) -> str:
        """When it was signed."""


def verify_in_place(
    file: CertificateFile,
    certificate: Placed,
    *,
    kind: str,
    body: Mapping[str, Any],
    beside: Materials,
    checks: Checklist,
) -> tuple[Entry, LogView]:
    """The entry that records a certificate where that says, under the log's checkpoint, and the log.

    kind, body: of the entry, as they follow from the certificate. checks: filled in.

    Raises:
        VerificationError: Something else is there, or is not signed yet; or the entry kept with it is another one.
        UnknownNameError: The log is not at hand.
    """
    proven = proven_entry(file, certificate.log, beside, where=checks.about)
    if proven is not None:
        beside.seen(proven.checkpoint)
    view, index = beside.view(origin=certificate.log), certificate.index
    size = 0 if view.signed is None else view.signed.checkpoint.size
    _require(index < size, f"its entry {index} is not under the log's checkpoint, of size {size}")
    entry = view.entry(index)
    _require(entry.type == kind, f"entry {index} of the log is a {entry.type}, not a {kind}")
    _require(entry.body == body, f"entry {index} of the log records another certificate")
    elapsed = entry.time - parse_time(certificate.issued, where="issued")
    is_soon = timedelta(0) <= elapsed <= _AT_ONCE
    _require(is_soon, f"it says it was issued {certificate.issued}, the log says {entry.time}")
    _require(proven is None or proven.entry == entry, "the entry that is kept with it is another one")
    checks.add("log", f"entry {index} of {certificate.log} records this certificate")
    leave_out_log(checks, view, beside.quorum)
    return entry, view


def leave_out_log(checks: Checklist, view: LogView | None, quorum: int) -> None:
    """What a log does not tell of itself. view: None where a proof was enough. quorum: of witnesses."""
    if not quorum:
        checks.leave_out("whether others are shown the same log, which witnesses would tell")
    if view is not None and view.unsigned:
        checks.leave_out(f"who vouches for the last {view.unsigned} entries of the log: no checkpoint has them yet")


def _verify_entry(entry: Entry, file: CertificateFile, certificate: Certificate) -> None:
    """The entry records these very bytes, not before they were signed and not long after."""
    if entry.type != CERTIFICATE_ISSUED:
        raise VerificationError(f"entry {entry.index} of the log is a {entry.type}, and records no certificate")
    if entry.body != log_body(certificate, file.envelope):
        raise VerificationError(f"entry {entry.index} of the log records another certificate, or says more or less")
    elapsed = entry.time - parse_time(certificate.issued, where="issued")
    if not timedelta(0) <= elapsed <= timedelta(days=MOST_DAYS):
        raise VerificationError(
            f"the certificate is wrong: it says it was issued {certificate.issued}, the log recorded it {entry.time}"
        )


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
