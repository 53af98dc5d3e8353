"""Certificates that wait, of whatever kind: for the signatures of other officers, for their entry, or for its proof.

Whoever adds a signature has first made again what the certificate says. The last signature records it, if it still
holds; nothing is recorded or spent before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, ThresholdError
from unlearnkit.files import MAX_DOCUMENT, read_bounded, write_atomic
from unlearnkit.names import counted
from unlearnkit.office.certified import Certified
from unlearnkit.office.correcting import CorrectionSteps
from unlearnkit.office.filing import finish
from unlearnkit.signing.dsse import countersign_envelope
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.verifier import issue, issue_absence, issue_correction
from unlearnkit.verifier.absence import ABSENCE_TYPE, EXCLUSION_TYPE, Absence, parse_absence
from unlearnkit.verifier.certificate import Certificate, parse_certificate
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file
from unlearnkit.verifier.checks import Checklist
from unlearnkit.verifier.contents import verify_contents
from unlearnkit.verifier.correction import CorrectionCertificate, parse_correction
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.recognition import Kind, recognise
from unlearnkit.verifier.recording import AnyCertificate, Record
from unlearnkit.verifier.signers import policy_of, signing_keys, trusted_signers
from unlearnkit.verifier.verify import verify_subjects
from unlearnkit.verifier.verify_correction import verify_weights_and_claims

_PARSERS: Mapping[Kind, Callable[..., AnyCertificate]] = {
    Kind.CERTIFICATE: parse_certificate,
    Kind.EXCLUSION: partial(parse_absence, predicate_type=EXCLUSION_TYPE),
    Kind.ABSENCE: partial(parse_absence, predicate_type=ABSENCE_TYPE),
    Kind.CORRECTION: parse_correction,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """What a certificate rests on, as it was given. bundle: None: where it lay when the release was registered."""

    bundle: Bundle | Path | str | None
    evidence: Sequence[Path | str]
    replay: Path | str | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A certificate in a file. keys: of those who have signed it and may."""

    path: Path
    file: CertificateFile
    certificate: AnyCertificate
    keys: tuple[PublicKey, ...]

    @property
    def threshold(self) -> int:
        """How many signatures its policy asks for."""
        return policy_of(self.certificate, str(self.path)).signing.threshold


@dataclass(frozen=True)
class CountersigningSteps(CorrectionSteps):
    """How certificates of every kind are finished, as `CertificateSteps` is about how they are made."""

    def countersign(
        self,
        file: Path | str,
        *,
        bundle: Bundle | Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        replay: Path | str | None = None,
        key: PrivateKey | None = None,
    ) -> Certified[Any]:
        """Verify everything that a certificate says, and add a signature; with the last one it is recorded.

        Args:
            file: The certificate that waits for signatures, of whatever kind.
            bundle: What it is about; None: where it lay when the release was registered.
            evidence: Files of the retraining audits that it rests on.
            replay: The file of the signed replay that it names, if it does.
            key: Of the officer who signs now; None: the workspace's.

        Raises:
            RefusedError: The key has signed already, or may not sign; the certificate does not hold any more.
            VerificationError: Something in it is not so.
        """
        beside = _Beside(bundle=bundle, evidence=evidence, replay=replay)
        return self._picked_up(Path(file), beside, self.signer_key(self.passphrase) if key is None else key)

    def resume(
        self,
        file: Path | str,
        *,
        bundle: Bundle | Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        replay: Path | str | None = None,
    ) -> Certified[Any]:
        """Finish a certificate that something has interrupted: record it if it still holds, and put the proof into it.

        A finished one gets a new proof, under the log's present checkpoint and its cosignatures.

        Args:
            file: The certificate, of whatever kind.
            bundle: What it is about; None: where it lay when the release was registered.
            evidence: Files of the retraining audits that it rests on; only needed for what is not recorded yet.
            replay: The file of the signed replay that it names, if it does; needed when evidence is.

        Raises:
            RefusedError: It does not hold any more: certify again, nothing was spent.
            VerificationError: Something in it is not so, or signatures are missing.
        """
        return self._picked_up(Path(file), _Beside(bundle=bundle, evidence=evidence, replay=replay), None)

    def _picked_up(self, path: Path, beside: _Beside, signer: PrivateKey | None) -> Certified[Any]:
        view, log_key, waiting = self.view(), self.log_key(self.passphrase), self._waiting(path)
        file, missing = waiting.file, 0
        entry = Record.of(waiting.certificate, file.envelope).entry(view)
        if entry is None:
            if signer is None and len(waiting.keys) < waiting.threshold:
                raise ThresholdError(
                    f"{path} has {counted(len(waiting.keys), 'signature')}, its policy asks for {waiting.threshold}",
                    hint=f"another officer adds one: `unlearnkit certify --countersign {path}`",
                )
            record = self._made_again(waiting, beside, view)
            if signer is not None:
                file = self._countersigned(waiting, signer)
            missing = max(0, waiting.threshold - len(waiting.keys) - (signer is not None))
            entry = None if missing else record(file)
        finish(path, file, entry, log=self.open_log(), key=log_key, view=view)
        self.share(path)
        return Certified(certificate=waiting.certificate, digest=file.digest, path=path, missing=missing, entry=entry)

    def _waiting(self, path: Path) -> _Waiting:
        where = str(path)
        parse = _PARSERS.get(recognise(path), parse_certificate)
        file = parse_certificate_file(read_bounded(path, MAX_DOCUMENT), where=where)
        certificate, keys = trusted_signers(file.envelope, self.trust_in(file.digest), where=where, parse=parse)
        if certificate.log != self.origin:
            raise RefusedError(f"{where} is for the log {certificate.log}, this workspace has {self.origin}")
        return _Waiting(path, file, certificate, keys)

    def _made_again(self, waiting: _Waiting, beside: _Beside, view: LogView) -> Callable[[CertificateFile], Entry]:
        """How to record a certificate, once everything that follows from log, lists, bundle and evidence was again."""
        certificate, where = waiting.certificate, str(waiting.path)
        told: dict[str, Any] = {"log": self.open_log(), "view": view, "where": where}
        if isinstance(certificate, Absence):
            people = self._people(view)
            issue_absence.require_still(certificate, view, people, where=where)
            return lambda file: issue_absence.record_absence(file, certificate, people=people, **told)
        given = beside.bundle
        opened = self.bundle_of(certificate.release, view=view) if given is None else self.open_bundle(given)
        audits = {audit.digest: audit for audit in self._evidence(view, opened, beside.evidence)}
        if isinstance(certificate, CorrectionCertificate):
            issue_correction.require_still(certificate, opened, view, where=where)
            policy = policy_of(certificate, where)
            verify_weights_and_claims(certificate, policy, opened, audits, Checklist(where))
            return lambda file: issue_correction.record_correction(file, certificate, bundle=opened, **told)
        self._effect_again(certificate, opened, audits, beside.replay, where)
        return lambda file: issue.record(file, certificate, bundle=opened, **told)

    def _effect_again(
        self,
        certificate: Certificate,
        bundle: Bundle,
        audits: Mapping[str, Evidence],
        replay: Path | str | None,
        where: str,
    ) -> None:
        verify_subjects(certificate, bundle)
        replays = [] if replay is None else [self.open_replay(replay, bundle)]
        by_digest = {item.digest: item for item in replays}
        verify_contents(certificate, bundle, audits, Checklist(where), replays=by_digest)

    def _countersigned(self, waiting: _Waiting, signer: PrivateKey) -> CertificateFile:
        """The file with one signature more, on disk."""
        where, public = str(waiting.path), signer.public
        if public not in signing_keys(policy_of(waiting.certificate, where), self.trust()):
            raise RefusedError(
                f"the key {public.key_id[:16]} may not sign certificates",
                hint="give it the role that the policy names, in the trust store",
            )
        if public in waiting.keys:
            raise RefusedError(f"the key {public.key_id[:16]} has signed {where} already", hint="another: --key")
        envelope = countersign_envelope(waiting.file.envelope, where=where, signer=signer)
        signed = CertificateFile(envelope=envelope)
        write_atomic(waiting.path, signed.to_bytes())
        return signed
