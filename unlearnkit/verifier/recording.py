"""That a log records a certificate: as the log itself shows, or the proof that is kept with the certificate.

No certificate names its entry, for it may wait for signatures: the log names it, by the SHA-256 of its envelope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from unlearnkit.compliance.log.clock import parse_time
from unlearnkit.compliance.log.entry import Entry, draft
from unlearnkit.compliance.log.proof import Proven, verify_proof
from unlearnkit.compliance.log.writer import Writer
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.verifier.absence import Absence, clearing_body, entry_type
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, Issued, issued_certificates, log_body
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.checks import Checklist
from unlearnkit.verifier.correction import CORRECTION_ISSUED, CorrectionCertificate, correction_body
from unlearnkit.verifier.materials import Materials

MOST_DAYS = 30
"""So long, at most, a certificate waits for the signatures that it lacks, and for its entry."""

AnyCertificate = Certificate | Absence | CorrectionCertificate


@dataclass(frozen=True, slots=True)
class Record:
    """What a log says of a certificate. kind, body: of the entry. log: its name. issued: when it was signed."""

    kind: str
    body: Mapping[str, Any]
    log: str
    issued: str

    @classmethod
    def of(cls, certificate: AnyCertificate, envelope: bytes) -> Record:
        """As it follows from the certificate. ValueError for what no reader of the log would take."""
        if isinstance(certificate, Certificate):
            kind, body = CERTIFICATE_ISSUED, log_body(certificate, envelope)
        elif isinstance(certificate, Absence):
            kind, body = entry_type(certificate), clearing_body(certificate, envelope)
        else:
            kind, body = CORRECTION_ISSUED, correction_body(certificate, envelope)
        return cls(kind, body, certificate.log, certificate.issued)

    @property
    def certificate(self) -> str:
        """SHA-256 of the envelope."""
        return str(self.body["certificate"])

    def entry(self, view: LogView) -> Entry | None:
        """The first entry that records this certificate; None if none does."""
        entries = view.of_type(self.kind)
        return next((entry for entry in entries if entry.body.get("certificate") == self.certificate), None)

    def append(self, writer: Writer) -> Entry:
        """Record it."""
        (entry,) = writer.record_many([draft(self.kind, self.body)])
        return entry

    def require(self, entry: Entry) -> None:
        """VerificationError unless an entry records these very bytes, not before they were signed nor long after."""
        if entry.type != self.kind:
            raise VerificationError(f"entry {entry.index} of the log is a {entry.type}, and no {self.kind}")
        if entry.body != self.body:
            raise VerificationError(f"entry {entry.index} of the log records another certificate, or says more or less")
        elapsed = entry.time - parse_time(self.issued, where="issued")
        if not timedelta(0) <= elapsed <= timedelta(days=MOST_DAYS):
            raise VerificationError(
                f"the certificate is wrong: it says it was issued {self.issued}, the log recorded it {entry.time}"
            )


def issued_in(view: LogView) -> list[Issued]:
    """All certificates of the effect that a log records, in order."""
    return issued_certificates(view.of_type(CERTIFICATE_ISSUED))


def outdated(where: str, reason: str) -> RefusedError:
    """A certificate that was signed and not recorded, and may not be any more."""
    return RefusedError(
        f"{where} does not hold any more: {reason}", hint="certify again; nothing was recorded, and no delta spent"
    )


def require_recent(issued: str, now: datetime, *, where: str) -> None:
    """RefusedError for a certificate that has waited for too long."""
    if now - parse_time(issued, where=where) > timedelta(days=MOST_DAYS):
        raise outdated(where, f"it was made more than {MOST_DAYS} days ago")


def verify_in_log(said: Record, view: LogView) -> Entry:
    """The entry that records a certificate, under the checkpoint of the log.

    Raises:
        VerificationError: The log records no such certificate, or says something else of it, or it is not signed yet.
    """
    entry = said.entry(view)
    if entry is None:
        raise VerificationError(
            f"the log {said.log} does not record this certificate, whose digest is {said.certificate}",
            hint="if it was to be recorded: `unlearnkit certify --resume FILE` does so, if it still holds",
        )
    size = 0 if view.signed is None else view.signed.checkpoint.size
    if entry.index >= size:
        raise VerificationError(
            f"the certificate's entry {entry.index} is not under the log's checkpoint, of size {size}",
            hint="`unlearnkit log checkpoint` signs all entries recorded so far",
        )
    said.require(entry)
    return entry


def verify_by_proof(file: CertificateFile, said: Record, beside: Materials, *, where: str) -> Proven | None:
    """What the proof beside a certificate shows; None where there is none.

    A key of the log that has ended is enough where the log is at hand, which is then held to what that key signed.

    Raises:
        VerificationError: The proof is of another entry or log, or a trusted key did not sign that log.
        UnknownNameError: Nobody is trusted to keep such a log.
    """
    if file.recorded is None:
        return None
    line, proof = file.recorded
    key, witnesses = beside.trust.log(said.log), beside.trust.witnesses
    log = key.ever if beside.has_log(said.log) else key
    proven = verify_proof(proof, where=f"{where}: proof", line=line, log=log, witnesses=witnesses, quorum=beside.quorum)
    said.require(proven.entry)
    return proven


def verify_recorded(
    file: CertificateFile, certificate: AnyCertificate, *, beside: Materials, checks: Checklist
) -> tuple[Entry, LogView | None]:
    """The entry that records a certificate, and the log; None for that where the proof in the file has to do.

    checks: filled in.

    Raises:
        VerificationError: What `verify_in_log` and `verify_by_proof` raise.
        UnknownNameError: Neither log nor proof is at hand, or nobody is trusted to keep such a log.
    """
    said = Record.of(certificate, file.envelope)
    proven = verify_by_proof(file, said, beside, where=checks.about)
    if proven is not None:
        beside.seen(proven.checkpoint)
        checks.add("proof", f"entry {proven.entry.index} of {said.log}, as its checkpoint proves, records it")
    view = beside.view_of(said.log, is_needed=proven is None)
    if view is None:
        assert proven is not None  # noqa: S101 - else the view was needed
        return proven.entry, None
    entry = verify_in_log(said, view)
    checks.add("log", f"entry {entry.index} of {said.log} records this certificate")
    return entry, view


def leave_out_histories(checks: Checklist, sizes: Sequence[int]) -> None:
    """Without a log, nobody knows whether proofs under different checkpoints are of one. sizes: of those."""
    if len(sizes) > 1:
        seen = ", ".join(map(str, sizes))
        checks.leave_out(
            f"whether the histories of {seen} entries, of different proofs, are one, which the log tells: --log"
        )


def leave_out_log(checks: Checklist, view: LogView | None, quorum: int) -> None:
    """What a log does not tell of itself. view: None where a proof was enough. quorum: of witnesses."""
    if not quorum:
        checks.leave_out("whether others are shown the same log, which witnesses would tell")
    if view is not None and view.unsigned:
        several = f"{view.unsigned} entries of the log: no checkpoint has them"
        last = "entry of the log: no checkpoint has it" if view.unsigned == 1 else several
        checks.leave_out(f"who vouches for the last {last} yet")
