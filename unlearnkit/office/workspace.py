"""A workspace at work: releases, requests, certificates, checkpoints and proofs, audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.merkle import Tree
from unlearnkit.compliance.log.publication import (
    import_checkpoint,
    prove_entries,
    prove_growth,
    publish_checkpoint,
)
from unlearnkit.compliance.log.repair import Repaired, repair
from unlearnkit.compliance.log.tiles import export_tiles
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.releases.standing import require_bundle_of
from unlearnkit.compliance.requests.erasure import destroy_key
from unlearnkit.compliance.view import Judge, LogView
from unlearnkit.files import MAX_DOCUMENT, read_bounded, write_atomic
from unlearnkit.office.releases import ReleaseNamed, ReleaseSteps, only, release_id
from unlearnkit.office.steps import Asked, id_of
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.evidence import Evidence, verify_evidence
from unlearnkit.verifier.examination import Verification, verify
from unlearnkit.verifier.issue import Issuance, certify

if TYPE_CHECKING:
    from unlearnkit.audit.retraining import RecipeSource
    from unlearnkit.verifier.plan import Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A certificate that was issued: what it says, the files it is in, and the entry that records it.

    digest: SHA-256 of the file at ``path``. proof: the file that shows the entry to be in the log.
    """

    certificate: Certificate
    digest: str
    path: Path
    proof: Path
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """A proof about a log. about: the entry that is in it, or the size since which it only grew. raw: the file."""

    about: int
    raw: bytes


@dataclass(frozen=True)
class Workspace(ReleaseSteps):
    """A workspace: its settings and keys, and everything that a privacy officer does in it.

    Attributes:
        root: its directory.
        origin: name of the log.
        policy_source: name of a packaged policy, or a path from ``root``.
        actor: who works here, a word of the policy.
        timezone: where requests are received.
        passphrase: of the log's and the signer's key, if they have one; see `unlocked`.

    Example:
        >>> office = uk.Workspace.find(office.root)
        >>> [release.id for release in office.registry().in_force]
        ['small@1']
        >>> (request,) = office.receive(["bob"])
        >>> issued = office.certify([request], out=folder)
        >>> str(issued.certificate.decision.outcome)
        'insufficient'
        >>> [check.name for check in office.verify(issued.path, bundle=bundle.path).checks][:3]
        ['signature', 'bundle', 'artefacts']

    """

    passphrase: bytes | None = field(default=None, repr=False, compare=False)

    def unlocked(self, passphrase: bytes | None) -> Self:
        """The same workspace, with the passphrase of its keys; None for keys without."""
        return replace(self, passphrase=passphrase)

    def open_evidence(self, file: Path | str, bundle: Bundle) -> Evidence:
        """The retraining audit of a bundle in a file, signed by somebody trusted; raises as `verify_evidence` does.

        Args:
            file: The evidence.
            bundle: What it is about.
        """
        keys = self.trust().keys(Role.CERTIFICATE_SIGNER)
        return verify_evidence(read_bounded(Path(file), MAX_DOCUMENT), where=str(file), keys=keys, bundle=bundle)

    def certify(
        self,
        requests: Sequence[Asked],
        *,
        release: ReleaseNamed | None = None,
        bundle: Bundle | Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        delta: Decimal | None = None,
        out: Path | str | None = None,
    ) -> Certified:
        """Certify what the model would be without the data of those who made some requests, all together.

        One certificate is about all of them, and about everybody in the bundle who was answered without retraining
        before. It is signed, recorded in the log, and written to a file; a new checkpoint covers it, and beside the
        file lies the proof that the log has it.

        Args:
            requests: Requests, or their ids.
            release: The model in use that it is about; None: the one in force that holds the data of all of them.
            bundle: Of the release, signed by somebody trusted; None: where it lay when that was registered.
            evidence: Files of retraining audits of the bundle.
            delta: Chance that a bound is wrong; None: the policy's largest.
            out: The file for the certificate, or a folder that is there; None: the current one. In a folder, it is
                ``R2.certificate.json``, after the first request.

        Raises:
            RefusedError: What `unlearnkit.certify` raises: a closed request, a policy that allows none, a budget spent;
                no release in force holds the data of all of them, or several do.
            VerificationError: Bundle or evidence do not verify, or the log is not what was signed before.
            ValueError: No request, or one twice.
        """
        names = [id_of(request) for request in requests]
        signer, log_key = self.signer_key(self.passphrase), self.log_key(self.passphrase)
        opened, log, view = self._chosen(names, release, bundle), self.open_log(), self.view()
        made = certify(
            opened,
            names,
            log=log,
            origin=self.origin,
            policy=self.policy(),
            signers=[signer],
            evidence=[self.open_evidence(file, opened) for file in evidence],
            delta=delta,
            view=view,
        )
        path = _place(made.certificate.requests[0], out)
        write_atomic(path, made.raw)
        publish_checkpoint(log, log_key, recompute=view.history)
        return self._proved(made, path, view.tree())

    def _chosen(self, names: Sequence[str], release: ReleaseNamed | None, bundle: Bundle | Path | str | None) -> Bundle:
        """The bundle of the release that is meant."""
        if bundle is None:
            return self.bundle_of(release or only(self.holding(names), of=f"in force hold all of {', '.join(names)}"))
        opened = self.open_bundle(bundle)
        if release is not None:
            require_bundle_of(self.registry().get(release_id(release)), opened)
        return opened

    def _proved(self, made: Issuance, path: Path, tree: Tree) -> Certified:
        """Write a proof beside the certificate."""
        (raw,) = prove_entries(self.log_path, [made.entry.index], log=self.log_public_key(), tree=tree)
        proof = path.with_suffix(".tlog-proof")
        write_atomic(proof, raw)
        digest = sha256_hex(made.raw)
        return Certified(certificate=made.certificate, digest=digest, path=path, proof=proof, entry=made.entry)

    def checkpoint(self) -> Checkpoint:
        """Verify the log and sign what it holds now; raises as `publish_checkpoint` does."""
        log, view = self.open_log(), LogView.read(self.log_path)
        return publish_checkpoint(log, self.log_key(self.passphrase), recompute=view.history)

    def repair(self, source: Path | str | None = None) -> Repaired | None:
        """Restore what is signed of the log, keep what is good beyond it, and set everything else aside, on the record.

        Steps that were not legal and are not signed are replaced by entries that say so.

        Args:
            source: A copy of the log, or an export of it; None: the damaged log has to do.

        Returns:
            What was done; None if there was nothing to repair.

        Raises:
            VerificationError: What is signed is nowhere to be found, or was not legal: nothing was changed.
            UnknownNameError: There is no such source.
        """
        return repair(
            self.log_path,
            log=self.log_public_key(),
            now=clock.utc_now,
            judge=Judge(),
            source=None if source is None else Path(source),
        )

    def import_checkpoint(self, raw: bytes) -> Checkpoint:
        """Keep a genuine checkpoint, cosigned or from before; the log is held to it ever after.

        Raises:
            VerificationError: It is not this log's, or shows that the log was rewritten, forked or rolled back.
            FormatError: It is malformed.
        """
        witnesses = self.trust().witnesses
        return import_checkpoint(self.open_log(), raw, key=self.log_public_key(), witnesses=witnesses)

    def prove(self, index: int) -> LogProof:
        """That an entry is in the log, as a file that needs nothing else (tlog-proof).

        Raises:
            UnknownNameError: The checkpoint does not cover the entry.
            VerificationError: The log is not what the checkpoint signs.
        """
        (raw,) = prove_entries(self.log_path, [index], log=self.log_public_key())
        return LogProof(about=index, raw=raw)

    def prove_growth(self, since: int) -> LogProof:
        """That the log only grew since it had so many entries: what a witness is sent."""
        return LogProof(about=since, raw=prove_growth(self.log_path, since, log=self.log_public_key()))

    def export(self, target: Path | str) -> Checkpoint:
        """Write the log, as far as it is signed, to a new directory, as files that anybody can serve (tlog-tiles)."""
        return export_tiles(self.log_path, Path(target), log=self.log_public_key())

    def destroy_key(self) -> int:
        """Destroy the pseudonym key, and return the entry that says so; raises as `erasure.destroy_key` does."""
        return destroy_key(self.desk(), self.pseudonym_key_path)

    def audit(
        self,
        bundle: Bundle | Path | str,
        recipe: RecipeSource,
        *,
        deletions: Distribution,
        out: Path | str,
        count: int = 100,
        delta: float = 0.05,
        workers: int = 1,
        progress: bool | None = None,
    ) -> Evidence:
        """Retrain without drawn sets of units, and write signed evidence. Needs torch and the training data.

        Args:
            bundle: The bundle that is audited.
            recipe: What was sketched; for several processes, a function that makes it.
            deletions: What the sets are drawn from.
            out: Where the evidence goes.
            count: Retrainings.
            delta: The least that bounds shall have.
            workers: Processes.
            progress: Show a progress bar; None: on a terminal.

        Raises:
            FileExistsError: There is something at ``out``.
            RefusedError: What `unlearnkit.audit_retraining` raises.
        """
        from unlearnkit.audit.retraining import audit_retraining  # noqa: PLC0415 - brings torch

        opened = self.open_bundle(bundle)
        audit_retraining(
            recipe,
            opened,
            deletions=deletions,
            count=count,
            delta=delta,
            signer=self.signer_key(self.passphrase),
            out=out,
            workers=workers,
            progress=progress,
        )
        return self.open_evidence(out, opened)

    def verify(
        self, path: Path | str, *, bundle: Path | str | None = None, evidence: Sequence[Path | str] = ()
    ) -> Verification:
        """`unlearnkit.verify` with this workspace's log and trust store.

        Args:
            path: What is verified.
            bundle: The bundle that it is about.
            evidence: The retraining audits that it rests on.
        """
        return verify(path, bundle=bundle, log=self.log_path, trust=self.trust(), evidence=evidence)


def _place(name: str, out: Path | str | None) -> Path:
    place = Path(out or ".")
    return place / f"{name}.certificate.json" if place.is_dir() else place
