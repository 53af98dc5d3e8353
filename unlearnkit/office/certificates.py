"""Certificates in a workspace: made, countersigned and recorded, each in one file with the proof that the log has it.

A file is on disk before its entry is in the log, and is given the proof when a checkpoint covers the entry. Whatever
stops in between is picked up again from the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Self

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import require_bundle_of
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, ThresholdError
from unlearnkit.files import MAX_DOCUMENT, read_bounded, write_atomic
from unlearnkit.office.audits import evidence_files
from unlearnkit.office.clearing import ClearingSteps
from unlearnkit.office.filing import certificate_name, finish, keep, require_free
from unlearnkit.office.recorded import RecordedCertificate, recorded_certificates
from unlearnkit.office.releases import ReleaseNamed, only, release_id
from unlearnkit.office.steps import Asked, id_of
from unlearnkit.signing.dsse import countersign_envelope
from unlearnkit.signing.keys import PrivateKey, PublicKey
from unlearnkit.verifier.certificate import Certificate, parse_certificate
from unlearnkit.verifier.certificate_file import (
    CertificateFile,
    parse_certificate_file,
)
from unlearnkit.verifier.checks import Checklist
from unlearnkit.verifier.contents import verify_contents
from unlearnkit.verifier.evidence import Evidence, verify_evidence
from unlearnkit.verifier.issue import certify, record
from unlearnkit.verifier.recording import issued_in, recorded_as
from unlearnkit.verifier.replayed import SignedReplay, verify_signed_replay
from unlearnkit.verifier.signers import policy_of, signing_keys, trusted_signers
from unlearnkit.verifier.verify import verify_subjects


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A certificate that was made: what it says, the file that it is in, and the entry that records it.

    digest: SHA-256 of its envelope, by which the log knows it. missing: so many signatures more the policy asks for;
    until they are there, it is not recorded, and ``entry`` is None.
    """

    certificate: Certificate
    digest: str
    path: Path
    missing: int
    entry: Entry | None


@dataclass(frozen=True)
class CertificateSteps(ClearingSteps):
    """What is done with certificates, as `RequestSteps` is for requests; the same words mean the same."""

    def unlocked(self, passphrase: bytes | None) -> Self:
        """The same workspace, with the passphrase of its keys; None for keys without."""
        return replace(self, passphrase=passphrase)

    def open_evidence(self, file: Path | str, bundle: Bundle) -> Evidence:
        """The retraining audit of a bundle in a file, signed by somebody trusted; raises as `verify_evidence` does.

        Args:
            file: The evidence.
            bundle: What it is about.
        """
        raw = read_bounded(Path(file), MAX_DOCUMENT)
        keys = self.trust_in(sha256_hex(raw)).keys(Role.CERTIFICATE_SIGNER)
        return verify_evidence(raw, where=str(file), keys=keys, bundle=bundle)

    def open_replay(self, file: Path | str, bundle: Bundle) -> SignedReplay:
        """The signed replay of a bundle in a file, by somebody trusted; raises as `verify_signed_replay` does.

        Args:
            file: What `audit_replay` has signed.
            bundle: What it is about.
        """
        raw = read_bounded(Path(file), MAX_DOCUMENT)
        keys = self.trust_in(sha256_hex(raw)).keys(Role.CERTIFICATE_SIGNER)
        return verify_signed_replay(raw, where=str(file), keys=keys, bundle=bundle)

    def certify(
        self,
        requests: Sequence[Asked],
        *,
        release: ReleaseNamed | None = None,
        bundle: Bundle | Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        replay: Path | str | None = None,
        delta: Decimal | None = None,
        out: Path | str | None = None,
        force: bool = False,
    ) -> Certified:
        """Certify what the model would be without the data of those who made some requests, all together.

        One certificate is about all of them, and about everybody in the bundle who was answered without retraining
        before. It is signed, written to a file, recorded in the log, and covered by a new checkpoint; then the file
        holds the proof that the log has it, too. Where the policy asks for more signatures, the file waits for them,
        and nothing is recorded or spent before: see `countersign`.

        Args:
            requests: Requests, or their ids.
            release: The model in use that it is about; None: the one in force that holds the data of all of them.
            bundle: Of the release, signed by somebody trusted; None: where it lay when that was registered.
            evidence: Files of audits of the bundle, where the workspace does not keep them itself.
            replay: A file of `audit_replay`, signed by somebody trusted: what rounding does to certified claims. Who
                verifies the certificate needs it, too.
            delta: Chance that a bound is wrong; None: the policy's largest.
            out: The file for the certificate, or a folder that is there; None: ``certificates`` in the workspace. In a
                folder it is named after the first request and the release: ``R2-digits@1.certificate.json``.
            force: Replace a certificate that is there.

        Raises:
            RefusedError: There is something at that place, which is told before any work. What `unlearnkit.certify`
                raises: a closed request, a policy that allows none, a budget spent; no release in force holds the data
                of all of them, or several do.
            VerificationError: Bundle, evidence or replay do not verify, or the log is not what was signed before.
            ValueError: No request, or one twice.
        """
        names = [id_of(request) for request in requests]
        signer, log_key = self.signer_key(self.passphrase), self.log_key(self.passphrase)
        log, view, policy = self.open_log(), self.view(), self.policy()
        opened = self._chosen(names, release, bundle, view)
        path = self.certificates_path if out is None else Path(out)
        if out is None or path.is_dir():
            path /= certificate_name(names, view.registry.in_force_as(Artefacts.of(opened)).id)
        require_free(path, force=force)
        made = certify(
            opened,
            names,
            log=log,
            origin=self.origin,
            policy=policy,
            signers=[signer],
            evidence=self._evidence(view, opened, evidence),
            replay=None if replay is None else self.open_replay(replay, opened),
            delta=delta,
            view=view,
            keep=lambda envelope: keep(path, envelope, force=force),
        )
        file, missing = CertificateFile(envelope=made.raw), policy.signing.threshold - 1
        return self._proved(path, file, made.certificate, made.entry, missing, view, log_key)

    def countersign(
        self,
        file: Path | str,
        *,
        bundle: Bundle | Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        replay: Path | str | None = None,
        key: PrivateKey | None = None,
    ) -> Certified:
        """Verify everything that a certificate says, and add a signature; with the last one it is recorded.

        Args:
            file: The certificate that waits for signatures.
            bundle: What it is about; None: where it lay when the release was registered.
            evidence: Files of the retraining audits that it rests on.
            replay: The file of the signed replay that it names, if it does.
            key: Of the officer who signs now; None: the workspace's.

        Raises:
            RefusedError: The key has signed already, or may not sign; the certificate does not hold any more.
            VerificationError: Something in it is not so.
        """
        signer = self.signer_key(self.passphrase) if key is None else key
        return self._picked_up(Path(file), bundle, evidence, replay, signer)

    def resume(
        self,
        file: Path | str,
        *,
        bundle: Bundle | Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        replay: Path | str | None = None,
    ) -> Certified:
        """Finish a certificate that something has interrupted: record it if it still holds, and put the proof into it.

        A finished one gets a new proof, under the log's present checkpoint and its cosignatures.

        Args:
            file: The certificate.
            bundle: What it is about; None: where it lay when the release was registered.
            evidence: Files of the retraining audits that it rests on; only needed for what is not recorded yet.
            replay: The file of the signed replay that it names, if it does; needed when evidence is.

        Raises:
            RefusedError: It does not hold any more: certify again, nothing was spent.
            VerificationError: Something in it is not so, or signatures are missing.
        """
        return self._picked_up(Path(file), bundle, evidence, replay, None)

    def certificates(self) -> tuple[RecordedCertificate, ...]:
        """The certificates that the log records, in order, and where their files are."""
        return recorded_certificates(self.view(), self.certificates_path)

    def _evidence(self, view: LogView, bundle: Bundle, given: Sequence[Path | str]) -> list[Evidence]:
        """All finished audits of a bundle: those that the workspace keeps, and others that were given."""
        files = {file.resolve(): file for file in (*evidence_files(self.root, view, bundle), *map(Path, given))}
        return [self.open_evidence(file, bundle) for file in files.values()]

    def _chosen(
        self,
        names: Sequence[str],
        release: ReleaseNamed | None,
        bundle: Bundle | Path | str | None,
        view: LogView,
    ) -> Bundle:
        """The bundle of the release that is meant."""
        if bundle is None:
            told = f"in force hold all of {', '.join(names)}"
            return self.bundle_of(release or only(self.holding(names, view=view), of=told), view=view)
        opened = self.open_bundle(bundle)
        if release is not None:
            require_bundle_of(view.registry.get(release_id(release)), opened)
        return opened

    def _picked_up(
        self,
        path: Path,
        bundle: Bundle | Path | str | None,
        evidence: Sequence[Path | str],
        replay: Path | str | None,
        signer: PrivateKey | None,
    ) -> Certified:
        where, view, log_key = str(path), self.view(), self.log_key(self.passphrase)
        file = parse_certificate_file(read_bounded(path, MAX_DOCUMENT), where=where)
        trust = self.trust_in(file.digest, view)
        certificate, keys = trusted_signers(file.envelope, trust, where=where, parse=parse_certificate)
        threshold = policy_of(certificate, where).signing.threshold
        if certificate.log != self.origin:
            raise RefusedError(f"{where} is for the log {certificate.log}, this workspace has {self.origin}")
        found, missing = recorded_as(issued_in(view), file.digest), 0
        entry = None if found is None else view.entry(found.index)
        if entry is None:
            if signer is None and len(keys) < threshold:
                raise ThresholdError(
                    f"{where} has {len(keys)} signatures, its policy asks for {threshold}",
                    hint=f"another officer adds one: `unlearnkit certify --countersign {where}`",
                )
            opened = self._verified(certificate, bundle, evidence, replay, view, where)
            if signer is not None:
                file = self._countersigned(path, file, certificate, keys, signer)
            missing = max(0, threshold - len(keys) - (signer is not None))
            if not missing:
                entry = record(file, certificate, bundle=opened, log=self.open_log(), view=view, where=where)
        return self._proved(path, file, certificate, entry, missing, view, log_key)

    def _verified(
        self,
        certificate: Certificate,
        bundle: Bundle | Path | str | None,
        evidence: Sequence[Path | str],
        replay: Path | str | None,
        view: LogView,
        where: str,
    ) -> Bundle:
        """The bundle, once everything that follows from it was made again."""
        opened = self.bundle_of(certificate.release, view=view) if bundle is None else self.open_bundle(bundle)
        audits = self._evidence(view, opened, evidence)
        verify_subjects(certificate, opened)
        replays = [] if replay is None else [self.open_replay(replay, opened)]
        verify_contents(
            certificate,
            opened,
            {audit.digest: audit for audit in audits},
            Checklist(where),
            replays={item.digest: item for item in replays},
        )
        return opened

    def _countersigned(
        self,
        path: Path,
        file: CertificateFile,
        certificate: Certificate,
        keys: Sequence[PublicKey],
        signer: PrivateKey,
    ) -> CertificateFile:
        """The file with one signature more, on disk."""
        where = str(path)
        if signer.public not in signing_keys(policy_of(certificate, where), self.trust()):
            raise RefusedError(
                f"the key {signer.public.key_id[:16]} may not sign certificates",
                hint="give it the role that the policy names, in the trust store",
            )
        if signer.public in keys:
            raise RefusedError(f"the key {signer.public.key_id[:16]} has signed {where} already", hint="another: --key")
        signed = CertificateFile(envelope=countersign_envelope(file.envelope, where=where, signer=signer))
        write_atomic(path, signed.to_bytes())
        return signed

    def _proved(
        self,
        path: Path,
        file: CertificateFile,
        certificate: Certificate,
        entry: Entry | None,
        missing: int,
        view: LogView,
        log_key: LogKey,
    ) -> Certified:
        """Put the proof into the file, if the certificate is recorded."""
        if entry is not None:
            finish(path, file, entry, log=self.open_log(), key=log_key, view=view)
        return Certified(certificate=certificate, digest=file.digest, path=path, missing=missing, entry=entry)
