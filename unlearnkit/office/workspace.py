"""A workspace at work: releases, requests, certificates, checkpoints and proofs, audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.publication import (
    import_checkpoint,
    prove_entries,
    prove_growth,
    publish_checkpoint,
)
from unlearnkit.compliance.log.repair import Repaired, repair
from unlearnkit.compliance.log.tiles import export_tiles
from unlearnkit.compliance.releases.whereabouts import linked_bundles
from unlearnkit.compliance.requests.erasure import destroy_key, purge
from unlearnkit.compliance.requests.receipt import make_receipts
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.view import Judge, LogView
from unlearnkit.office.audits import Audited, carry_out, evidence_files
from unlearnkit.office.cutting import CutBundle, cut_bundle
from unlearnkit.office.intake import Asked, id_of
from unlearnkit.office.keys import KeySteps
from unlearnkit.office.outlook import OutlookSteps
from unlearnkit.office.purging import Purging, people_at_hand, purging
from unlearnkit.office.releases import ReleaseNamed, only
from unlearnkit.office.sketches import SketchSteps
from unlearnkit.verifier.examination import Verification, verify

if TYPE_CHECKING:
    from unlearnkit.audit.processes import RecipeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """A proof about a log. about: the entry that is in it, or the size since which it only grew. raw: the file."""

    about: int
    raw: bytes


@dataclass(frozen=True)
class Workspace(OutlookSteps, SketchSteps, KeySteps):
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

    def receipts(self, requests: Sequence[Asked]) -> dict[str, bytes]:
        """The receipts of requests, for those who made them, by id: files that verify with the log's public key alone.

        A checkpoint is signed first, if the last one does not cover them all.

        Raises:
            UnknownNameError: There is no such request, or no key to sign with.
            VerificationError: The log is not what was signed.

        Example:
            >>> (request,) = office.receive(["cleo"])
            >>> raw = office.receipts([request])[request.id]
            >>> _ = (folder / "cleo.receipt.json").write_bytes(raw)
            >>> found = uk.verify(folder / "cleo.receipt.json", trust=office.root / "keys" / "log.vkey")
            >>> found.kind.value, found.value.request == request.id
            ('receipt', True)

        """
        view = LogView.read(self.log_path, log=self.log_public_key())
        entries = {name: view.register.get(name).steps[0].index for name in map(id_of, requests)}
        if not all(view.covers(index) for index in entries.values()):
            publish_checkpoint(self.open_log(), self.log_key(self.passphrase), recompute=view.history)
        found = list(view.entries(entries.values()))
        made = make_receipts(self.log_path, found, log=self.log_public_key(), tree=view.tree())
        return dict(zip(entries, made, strict=True))

    def prove_growth(self, since: int) -> LogProof:
        """That the log only grew since it had so many entries: what a witness is sent."""
        return LogProof(about=since, raw=prove_growth(self.log_path, since, log=self.log_public_key()))

    def export(self, target: Path | str) -> Checkpoint:
        """Write the log, as far as it is signed, to a new directory, as files that anybody can serve (tlog-tiles)."""
        return export_tiles(self.log_path, Path(target), log=self.log_public_key())

    def destroy_key(self) -> int:
        """Destroy the pseudonym key, and return the entry that says so; raises as `erasure.destroy_key` does."""
        return destroy_key(self.desk(), self.pseudonym_key_path)

    def purging(self) -> Purging:
        """Whose requests are needed no longer, and who of them can be forgotten; raises as `purge` does."""
        return purging(self.view(), self.root, self.today)

    def purge(self, *, by: str | None = None) -> tuple[Request, ...]:
        """Forget everybody whose requests are needed no longer: nobody can tell from then on who they were.

        The log stays as it is, and says so. Whoever asks later is somebody new. Everybody else is named as before: who
        has a request that is needed, or is in a release whose bundle is at hand.

        Args:
            by: Who does it.

        Returns:
            The requests of those who were forgotten.

        Raises:
            UnknownNameError: There is no pseudonym key; the bundle of a release in force is not at hand.
            RefusedError: Who is in a release in force cannot be told.
        """
        view = self.view()
        due = purging(view, self.root, self.today).due
        others = people_at_hand(view, self.root)
        purged = purge(self.desk(actor=by), self.pseudonym_key_path, due.keys(), others=others)
        self._desks.clear()  # they hold the key that knew them
        return purged

    def cut(self, release: ReleaseNamed) -> CutBundle:
        """Remove, for ever, what the bundle of a release that is out of use says of people's data, and its model.

        Manifest, signature and list of people are left: certificates of exclusion and absence rest on them. Those of
        the effect and of corrections, which follow from the numbers, can then be verified no more.

        Args:
            release: Which.

        Raises:
            RefusedError: A release in force has this bundle, or was corrected from it.
            UnknownNameError: There is no such release, or its bundle is not at hand.
            VerificationError: Another bundle lies there, or nobody trusted signed it.
        """
        return cut_bundle(self, release)

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
        self,
        path: Path | str,
        *,
        bundle: Path | str | None = None,
        evidence: Sequence[Path | str] = (),
        model: Path | str | None = None,
    ) -> Verification:
        """`unlearnkit.verify` with this workspace's log and trust store.

        Args:
            path: What is verified.
            bundle: The bundle that it is about.
            evidence: The audits that it rests on, beside those that the workspace keeps.
            model: The file of the model in use: whether it is the one of the bundle, or of the certificate.
        """
        others, log, trust = linked_bundles(self.root), self.log_path, self.trust()
        if bundle is not None:
            evidence = [*evidence_files(self.root, self.view(), self.open_bundle(bundle)), *evidence]
        return verify(path, bundle=bundle, bundles=others, log=log, trust=trust, evidence=evidence, model=model)
