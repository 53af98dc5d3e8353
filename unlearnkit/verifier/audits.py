"""Audits in the log: committed to before anybody can know the draws, finished after; none is replaced.

What is audited stands in a policy, which the log names with the bundle's digest in `AUDIT_COMMITTED`. The draws follow
from that entry (`unlearnkit.verifier.planned`). `AUDIT_FINISHED` names the evidence that came out. A later, larger plan
is another commitment, and goes on with the same draws. Certificates name every audit of their recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.audits import AuditRules, PlannedStratum
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, UnknownNameError, VerificationError
from unlearnkit.names import ProbabilityText, Sha256, Word, probability_text
from unlearnkit.records import Count, from_json
from unlearnkit.shapes import Items
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.planned import CommittedStratum, PlannedDeletions

AUDIT_COMMITTED, AUDIT_FINISHED = "audit-committed", "audit-finished"
"""Types of the entries."""

EVIDENCE_FOLDER = "evidence"
"""Where a workspace keeps what its audits found, each under the number of the entry that committed to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What will be audited, of which bundle, by which policy. by: who says so, a word of the policy."""

    bundle: Sha256
    recipe: Sha256
    policy_digest: Sha256
    strata: Annotated[tuple[PlannedStratum, ...], Items(least=1)]
    content: ProbabilityText
    confidence: ProbabilityText
    by: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What came out. committed: the entry that said so before. evidence: SHA-256 of the file."""

    committed: Count
    evidence: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAudit:
    """An audit, as certificates name it. committed: its entry. evidence: what came out, unless it is not finished."""

    committed: Count
    bundle: Sha256
    evidence: Sha256 | None = None


def commitment(bundle: Bundle, rules: AuditRules, *, policy_digest: str, by: str) -> Committed:
    """What the log is to say of auditing a bundle by a policy. PolicyError for one that plans no audit of it."""
    strata = rules.within(bundle.manifest.units)
    if not strata or rules.content is None or rules.confidence is None:
        raise PolicyError("the policy plans no audit of this bundle", hint="state strata, content, confidence: [audit]")
    return Committed(
        bundle=bundle.digest,
        recipe=bundle.manifest.recipe_digest,
        policy_digest=policy_digest,
        strata=strata,
        content=probability_text(rules.content),
        confidence=probability_text(rules.confidence),
        by=by,
    )


def commitments(view: LogView) -> Iterator[tuple[int, Committed]]:
    """All that a log holds, by entry; FormatError for a malformed one."""
    for entry in view.of_type(AUDIT_COMMITTED):
        yield entry.index, from_json(Committed, entry.body, where=f"entry {entry.index}: {AUDIT_COMMITTED}")


def logged_audits(view: LogView, recipe: str, *, before: int | None = None) -> tuple[LoggedAudit, ...]:
    """Every audit of a recipe, in the order of the log. before: only what it held before this entry.

    Raises:
        VerificationError: One was finished that nobody had committed to, or twice.
    """
    known, came = dict(commitments(view)), _finished(view, before)
    if stray := came.keys() - known.keys():
        raise VerificationError(f"entry {min(stray)} commits to no audit, and one is finished that says so")
    return tuple(
        LoggedAudit(committed=index, bundle=said.bundle, evidence=came.get(index))
        for index, said in known.items()
        if said.recipe == recipe and (before is None or index < before)
    )


def _finished(view: LogView, before: int | None) -> Mapping[int, str]:
    found: dict[int, str] = {}
    for entry in view.of_type(AUDIT_FINISHED):
        if before is not None and entry.index >= before:
            continue
        said = from_json(Finished, entry.body, where=f"entry {entry.index}: {AUDIT_FINISHED}")
        if said.committed >= entry.index or said.committed in found:
            raise VerificationError(f"entry {entry.index} finishes audit {said.committed} before it, or again")
        found[said.committed] = said.evidence
    return found


def planned_deletions(view: LogView, bundle: str, strata: Sequence[PlannedStratum]) -> PlannedDeletions:
    """What is drawn of a bundle for some strata that the log has committed to; UnknownNameError for others."""
    tree, known = view.tree(), [(i, said) for i, said in commitments(view) if said.bundle == bundle]
    found = []
    for stratum in strata:
        sizes = stratum.least, stratum.most
        first = next((i for i, said in known if sizes in {(s.least, s.most) for s in said.strata}), None)
        if first is None:
            raise UnknownNameError(f"the log commits to no audit of deletions of {stratum.people} of this bundle")
        root = tree.root(first + 1).hex()
        made = CommittedStratum(least=sizes[0], most=sizes[1], count=stratum.count, committed=first, root=root)
        found.append(made)
    return PlannedDeletions(strata=tuple(found))


def verify_planned(evidence: Evidence, view: LogView) -> None:
    """VerificationError unless the log committed to what evidence says it drew, and its draws follow from that."""
    planned = evidence.planned
    name = f"evidence {evidence.digest[:16]}..."
    if planned is None:
        raise VerificationError(
            f"{name} is an experiment: who made it chose what was drawn",
            hint="certificates rest on audits that a policy's [audit] fixed beforehand: `unlearnkit audit retrain`",
        )
    strata = tuple(PlannedStratum(least=s.least, most=s.most, count=s.count) for s in planned.strata)
    try:
        drawn = planned_deletions(view, evidence.audit.bundle, strata)
    except UnknownNameError as err:
        raise VerificationError(f"{name}: {err}") from err
    if drawn != planned:
        raise VerificationError(f"{name}: what it drew does not follow from what the log committed to")


def all_of(audits: Sequence[LoggedAudit], bundle: str, given: Mapping[str, Evidence]) -> tuple[Evidence, ...]:
    """The evidence of all finished audits of a bundle; UnknownNameError where one is not among what was given."""
    wanted = [audit for audit in audits if audit.bundle == bundle and audit.evidence is not None]
    if missing := [audit for audit in wanted if audit.evidence not in given]:
        raise UnknownNameError(
            f"the audit of entry {missing[0].committed} counts, and its evidence {missing[0].evidence} is not there",
            hint="give the file of the retraining audit: --evidence",
        )
    return tuple(given[str(audit.evidence)] for audit in wanted)


def required_evidence(
    audits: Sequence[LoggedAudit], bundle: str, given: Sequence[Evidence], view: LogView
) -> tuple[Evidence, ...]:
    """All finished audits of a bundle: neither more nor less may decide a certificate.

    Raises:
        UnknownNameError: The evidence of one is not among what was given.
        VerificationError: Something given is not in the log, or not what the log committed to.
    """
    found = all_of(audits, bundle, {item.digest: item for item in given})
    for item in given:
        verify_planned(item, view)
        if item not in found:
            raise VerificationError(f"evidence {item.digest[:16]}... is of no finished audit that the log has by then")
    return found
