"""A workspace at work: releases, requests, certificates, checkpoints and proofs, audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.merkle import Tree
from unlearnkit.compliance.log.publication import (
    import_checkpoint,
    prove_entries,
    prove_growth,
    publish_checkpoint,
)
from unlearnkit.compliance.log.tiles import export_tiles
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.releases.standing import require_bundle_of
from unlearnkit.compliance.requests.erasure import destroy_key
from unlearnkit.compliance.view import LogView
from unlearnkit.files import write_atomic
from unlearnkit.office.audits import Audited, carry_out, evidence_files
from unlearnkit.office.releases import ReleaseNamed, ReleaseSteps, only, release_id
from unlearnkit.office.steps import Asked, id_of
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.evidence import Evidence, verify_evidence
from unlearnkit.verifier.examination import Verification, verify
from unlearnkit.verifier.issue import Issuance, certify

if TYPE_CHECKING:
    from unlearnkit.audit.retraining import RecipeSource


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
        return verify_evidence(Path(file).read_bytes(), where=str(file), keys=keys, bundle=bundle)

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
            evidence: Files of audits of the bundle, where they are not in the workspace's own folder.
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
            evidence=[self.open_evidence(file, opened) for file in self._evidence(view, opened, evidence)],
            delta=delta,
            view=view,
        )
        path = _place(made.certificate.requests[0], out)
        write_atomic(path, made.raw)
        publish_checkpoint(log, log_key, recompute=view.history)
        return self._proved(made, path, view.tree())

    def _evidence(self, view: LogView, bundle: Bundle, given: Sequence[Path | str]) -> list[Path]:
        """Files of all finished audits of a bundle: those of the workspace, and others that were given."""
        files = {file.resolve(): file for file in (*evidence_files(self.root, view, bundle), *map(Path, given))}
        return list(files.values())

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
        return publish_checkpoint(self.open_log(), self.log_key(self.passphrase))

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
        release: ReleaseNamed | Bundle | Path | None,
        recipe: RecipeSource,
        *,
        workers: int = 1,
        progress: bool | None = None,
    ) -> Audited:
        """Retrain what the policy's ``[audit]`` plans, and record it. Needs torch and the training data.

        The log commits to the plan first, and a checkpoint is published; the draws follow from both. What comes out is
        in the log, and in the folder ``evidence`` of the workspace, where `certify` finds it. An interrupted audit goes
        on; nothing is replaced, and a policy with more retrainings goes on where a smaller one ended.

        Args:
            release: The model in use that is audited; None: the only one in force; or a bundle.
            recipe: What was sketched; for several processes, a function that makes it.
            workers: Processes.
            progress: Show a progress bar; None: on a terminal.

        Raises:
            PolicyError: The policy plans no audit of this bundle.
            RefusedError: It was audited by this plan; what `unlearnkit.audit_retraining` raises.
            VerificationError: The recipe is another one, or the bundle's base is not the plain run's.
        """
        if release is None:
            release = only(self.registry().in_force)
        bundle = self.open_bundle(release) if isinstance(release, Bundle | Path) else self.bundle_of(release)
        path = carry_out(
            self,
            bundle,
            recipe,
            signer=self.signer_key(self.passphrase),
            log_key=self.log_key(self.passphrase),
            known=[self.open_evidence(file, bundle) for file in evidence_files(self.root, self.view(), bundle)],
            workers=workers,
            progress=progress,
        )
        return Audited(evidence=self.open_evidence(path, bundle), path=path)

    def verify(
        self, path: Path | str, *, bundle: Path | str | None = None, evidence: Sequence[Path | str] = ()
    ) -> Verification:
        """`unlearnkit.verify` with this workspace's log and trust store.

        Args:
            path: What is verified.
            bundle: The bundle that it is about.
            evidence: The audits that it rests on; of a bundle that is given, the workspace's own are at hand.
        """
        own = [] if bundle is None else self._evidence(self.view(), self.open_bundle(bundle), ())
        return verify(path, bundle=bundle, log=self.log_path, trust=self.trust(), evidence=[*own, *evidence])


def _place(name: str, out: Path | str | None) -> Path:
    place = Path(out or ".")
    return place / f"{name}.certificate.json" if place.is_dir() else place
