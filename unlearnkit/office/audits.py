"""An audit as the policy plans it: the log commits to it, then the draws follow, then people are left out for real."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import file_sha256_hex
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.files import make_private_folder
from unlearnkit.office.releases import ReleaseSteps
from unlearnkit.records import to_json
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.audits import (
    AUDIT_COMMITTED,
    AUDIT_FINISHED,
    EVIDENCE_FOLDER,
    Committed,
    Finished,
    commitment,
    commitments,
    logged_audits,
    planned_deletions,
)
from unlearnkit.verifier.evidence import Evidence

if TYPE_CHECKING:
    from unlearnkit.audit.processes import RecipeSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """An audit that was carried out: what it found, and the file of that."""

    evidence: Evidence
    path: Path


def evidence_files(root: Path, view: LogView, bundle: Bundle) -> list[Path]:
    """The evidence of a bundle's finished audits, as far as a workspace has it."""
    audits = logged_audits(view, bundle.manifest.recipe_digest)
    mine = [audit for audit in audits if audit.bundle == bundle.digest and audit.evidence is not None]
    return [file for audit in mine if (file := root / EVIDENCE_FOLDER / f"{audit.committed}.json").is_file()]


def carry_out(
    office: ReleaseSteps,
    bundle: Bundle,
    recipe: RecipeSource,
    *,
    signer: PrivateKey,
    log_key: LogKey,
    known: list[Evidence],
    workers: int,
    progress: bool | None,
) -> Path:
    """Commit, draw, retrain and finish, or go on where that was interrupted; returns the file of the evidence.

    known: what earlier audits of the bundle found.

    Raises:
        PolicyError: The policy plans no audit of the bundle.
        RefusedError: It was audited by this plan.
    """
    from unlearnkit.audit.retraining import audit_retraining  # noqa: PLC0415 - brings torch

    log, policy = office.open_log(), office.policy()
    said = commitment(bundle, policy.audit, policy_digest=policy.digest, by=office.actor)
    index = _commit(office, said)
    publish_checkpoint(log, log_key)
    planned = planned_deletions(office.view(), bundle.digest, said.strata)
    path = office.root / EVIDENCE_FOLDER / f"{index}.json"
    make_private_folder(path.parent)
    if not path.exists():
        audit_retraining(
            recipe,
            bundle,
            deletions=planned,
            signer=signer,
            out=path,
            known=known,
            workers=workers,
            progress=progress,
        )
    office.share(path)
    log.record(AUDIT_FINISHED, to_json(Finished(committed=index, evidence=file_sha256_hex(path))))
    publish_checkpoint(log, log_key)
    return path


def _commit(office: ReleaseSteps, said: Committed) -> int:
    """The entry that commits to it: a new one, or one whose audit is not finished."""
    view, log = office.view(), office.open_log()
    with log.exclusive() as writer:
        finished = {audit.committed: audit for audit in logged_audits(view.up_to(writer.end), said.recipe)}
        same = [index for index, other in commitments(view) if _same_plan(other, said)]
        if not same:
            (entry,) = writer.record_many([draft(AUDIT_COMMITTED, to_json(said))])
            return entry.index
    if finished[same[-1]].evidence is not None:
        raise RefusedError(
            f"this bundle was audited by this plan: entry {same[-1]} committed to it",
            hint="nothing is replaced; a policy with more retrainings goes on where that ended",
        )
    return same[-1]


def _same_plan(one: Committed, other: Committed) -> bool:
    wanted = ("bundle", "strata", "content", "confidence")
    return all(getattr(one, name) == getattr(other, name) for name in wanted)
