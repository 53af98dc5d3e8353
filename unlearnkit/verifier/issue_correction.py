"""Issuing a correction certificate: weights, claims, decision, signature, and the entry of the log, in one piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.correction import Correction
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.registry import Registry, Release
from unlearnkit.compliance.releases.standing import answered_without_retraining
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.audits import LoggedAudit, logged_audits, required_evidence
from unlearnkit.verifier.certificate import UNKNOWN
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.correction import CorrectionCertificate, sign_correction
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.nearness import decide_correction, nearness
from unlearnkit.verifier.recording import Record, outdated, require_recent
from unlearnkit.verifier.retrainings import Retrainings
from unlearnkit.verifier.signers import policy_of
from unlearnkit.verifier.together import certifiable


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """A certificate, its envelope, the entry that records it, and the weights that it is about.

    entry: None while signatures are missing.
    """

    certificate: CorrectionCertificate
    raw: bytes
    entry: Entry | None
    weights: bytes


@dataclass(frozen=True, slots=True)
class Leaving:
    """Whom the weights leave out, of which release. subjects: who asks. standing: who was answered before."""

    release: str
    requests: tuple[str, ...]
    subjects: tuple[str, ...]
    standing: tuple[str, ...]
    audits: tuple[LoggedAudit, ...]

    @property
    def without(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted({*self.subjects, *self.standing}))


def correct(
    bundle: Bundle,
    requests: Sequence[str],
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    evidence: Sequence[Evidence],
    view: LogView,
    keep: Callable[[bytes, bytes], None],
) -> Corrected:
    """Certify the weights that a bundle predicts without those who made some requests, and who stands.

    Args:
        bundle: Of a release in force, or of the one that this corrects.
        requests: Their ids.
        log: Where the certificate is recorded.
        origin: The log's name.
        policy: The one that the requests were received under.
        signers: Keys that sign; where the policy asks for more signatures than these, nothing is recorded yet.
        evidence: All finished audits of the bundle.
        view: A view of the log to go on from.
        keep: Puts the envelope and the weights on disk, before the log says that they are there.

    Raises:
        RefusedError: One is closed, or not in the bundle; it is of no release in force; it keeps no series of weights,
            or they diverge for so many people; somebody was answered meanwhile.
        UnknownNameError: There is no such request, or the evidence of an audit is not at hand.
        PolicyError: A request is under another policy.
    """
    asked = leaving(view, requests, policy, bundle)
    if not bundle.corrects:
        raise RefusedError(
            "the bundle keeps no series of its weights that every machine corrects alike",
            hint="sketch with Solo(keep_weights=True) or Informed(...), and without Forward(keep_weights=True)",
        )
    made = bundle.correction(asked.without)
    weights = made.to_bytes()
    whole = required_evidence(asked.audits, bundle.digest, evidence, view)
    claims = nearness(policy, Retrainings.of(bundle, whole, policy.audit), len(asked.without))
    with log.exclusive() as writer:
        if leaving(view.up_to(writer.end), requests, policy, bundle) != asked:
            raise RefusedError(
                "somebody was answered, or an audit recorded, while weights were computed",
                hint="correct again; nothing was issued",
            )
        certificate = CorrectionCertificate(
            bundle=bundle.digest,
            model=sha256_hex(weights),
            release=asked.release,
            recipe=bundle.manifest.recipe_digest,
            requests=asked.requests,
            subjects=asked.subjects,
            standing=asked.standing,
            without=asked.without,
            counterfactual=bundle.manifest.counterfactual,
            units=bundle.manifest.units,
            convergence=made.convergence,
            ratio=ratio_text(made),
            by_coordinate=made.by_coordinate,
            explanation=made.explanation,
            claims=claims,
            audits=asked.audits,
            policy=policy.text,
            decision=decide_correction(claims, policy, people=len(asked.without)),
            log=origin,
            issued=format_time(writer.now()),
            software=f"unlearnkit {version('unlearnkit')}",
        )
        raw = sign_correction(certificate, signers)
        keep(raw, weights)
        is_signed = len(signers) >= policy.signing.threshold
        return Corrected(certificate, raw, Record.of(certificate, raw).append(writer) if is_signed else None, weights)


def record_correction(
    file: CertificateFile,
    certificate: CorrectionCertificate,
    *,
    bundle: Bundle,
    log: AuditLog,
    view: LogView,
    where: str,
) -> Entry:
    """Record a certificate that was signed before, if it still holds; the entry that there is, if it was recorded.

    Args:
        file: What holds it. Whoever calls has verified signatures and contents.
        certificate: What it says.
        bundle: What it is about.
        log: Where it is recorded.
        view: What the log says so far; what came since is read under its lock.
        where: What to call the file in errors.

    Raises:
        RefusedError: It is not what would be certified now.
    """
    with log.exclusive() as writer:
        now = view.up_to(writer.end)
        if (found := Record.of(certificate, file.envelope).entry(now)) is not None:
            return found
        require_still(certificate, bundle, now, where=where)
        require_recent(certificate.issued, log.now(), where=where)
        return Record.of(certificate, file.envelope).append(writer)


def require_still(certificate: CorrectionCertificate, bundle: Bundle, view: LogView, *, where: str) -> None:
    """RefusedError unless the same people would be left out now, of the same release, after the same audits."""
    now = leaving(view, certificate.requests, policy_of(certificate, where), bundle)
    for name in ("release", "requests", "subjects", "standing", "without", "audits"):
        if getattr(now, name) != getattr(certificate, name):
            raise outdated(where, f"the log gives other {name} now")


def leaving(view: LogView, names: Sequence[str], policy: Policy, bundle: Bundle) -> Leaving:
    """Who is to be left out together, if that may be certified now; raises as `correct` does."""
    if not names or len(set(names)) < len(names):
        raise ValueError(f"requests: got {', '.join(names) or 'none'}, expected at least one, each once")
    asked = sorted((certifiable(view.register, name, policy) for name in names), key=lambda item: item.steps[0].index)
    release = corrected_from(view.registry, bundle)
    if absent := [r.id for r in asked if r.subject in release.without or r.subject not in bundle.units]:
        raise RefusedError(
            f"{release.id} has no data of the person who made request {', '.join(absent)}",
            hint="`unlearnkit certify` says what can be certified of them",
        )
    return Leaving(
        release=release.id,
        requests=tuple(request.id for request in asked),
        subjects=tuple(sorted({request.subject for request in asked})),
        standing=answered_without_retraining(view.register, bundle),
        audits=logged_audits(view, bundle.manifest.recipe_digest),
    )


def corrected_from(registry: Registry, bundle: Bundle, *, before: int | None = None) -> Release:
    """The release in force whose weights come from this bundle, trained or corrected; RefusedError if there is none.

    before: in force when the log had the entries before this one; None: now.
    """
    known = registry.releases.values()
    there = [item for item in known if (item.is_in_force if before is None else item.was_in_force(before=before))]
    for release in reversed(there):
        if release.artefacts.bundle == bundle.digest:
            return release
    raise RefusedError(
        f"bundle {bundle.digest} is of no release in force: there are {', '.join(r.id for r in there) or 'none'}",
        hint="`unlearnkit release add` records that its model is in use",
    )


def ratio_text(made: Correction) -> str:
    """From degree to degree, as a certificate says it."""
    return UNKNOWN if math.isnan(made.ratio) else f"{made.ratio:.6f}"
