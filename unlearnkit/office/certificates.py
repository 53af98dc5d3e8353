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
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import require_bundle_of
from unlearnkit.compliance.view import LogView
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.office.audits import evidence_files
from unlearnkit.office.certified import Certified
from unlearnkit.office.clearing import ClearingSteps
from unlearnkit.office.filing import certificate_name, finish, keep, require_free
from unlearnkit.office.intake import Asked, id_of
from unlearnkit.office.recorded import RecordedCertificate, recorded_certificates
from unlearnkit.office.releases import ReleaseNamed, only, release_id
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.certificate_file import (
    CertificateFile,
)
from unlearnkit.verifier.evidence import Evidence, verify_evidence
from unlearnkit.verifier.issue import certify
from unlearnkit.verifier.replayed import SignedReplay, verify_signed_replay


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
    ) -> Certified[Certificate]:
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
        log, view, policy = self.open_log(), self.view(), self.policy_of(names)
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
        file, missing = CertificateFile(envelope=made.raw), max(0, policy.signing.threshold - 1)
        finish(path, file, made.entry, log=log, key=log_key, view=view)
        self.share(path)
        return Certified(certificate=made.certificate, digest=file.digest, path=path, missing=missing, entry=made.entry)

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
