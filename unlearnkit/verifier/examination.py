"""Verifying whatever is at a path, offline: bundles, logs, proofs, receipts, evidence, certificates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unlearnkit.bundle import Bundle, Manifest
from unlearnkit.compliance.log.checkpoint import Checkpoint, unverified_origin, verify_checkpoint
from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.proof import Proven, parse_proof, verify_proof
from unlearnkit.compliance.log.reader import read_entries
from unlearnkit.compliance.requests.receipt import VerifiedReceipt, receipt_origin, verify_receipt
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import UnknownNameError, UnlearnkitError, VerificationError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.names import counted
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.days import verify_days
from unlearnkit.verifier.evidence import Evidence, verify_evidence
from unlearnkit.verifier.materials import Expect, Materials, Trust
from unlearnkit.verifier.recognition import Kind, recognise
from unlearnkit.verifier.recording import leave_out_log
from unlearnkit.verifier.replayed import NOT_REPLAYED, SignedReplay, verify_signed_replay
from unlearnkit.verifier.served import verify_in_use
from unlearnkit.verifier.verify import VerifiedCertificate, verify_certificate
from unlearnkit.verifier.verify_absence import VerifiedAbsence, verify_absence
from unlearnkit.verifier.verify_correction import VerifiedCorrection, verify_correction

_logger = logging.getLogger(__name__)

Verified = (
    Bundle
    | LogView
    | Checkpoint
    | Proven
    | Evidence
    | SignedReplay
    | VerifiedReceipt
    | VerifiedCertificate
    | VerifiedAbsence
    | VerifiedCorrection
)
"""What comes out of a verification, by the kind of what was verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Something that was verified. checks: what has passed. unchecked: what nobody looked at, in words."""

    path: Path
    kind: Kind
    value: Verified
    checks: tuple[Check, ...]
    unchecked: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that does not verify.

    kind: None for what nothing can be made of. checks: what has passed before. error: the check that has not; nothing
    after it was done.
    """

    path: Path
    kind: Kind | None
    checks: tuple[Check, ...]
    error: UnlearnkitError


def verify(
    path: Path | str,
    *,
    bundle: Path | str | None = None,
    bundles: Sequence[Path | str] = (),
    log: Path | str | None = None,
    trust: Trust | None = None,
    evidence: Sequence[Path | str] = (),
    expect: Expect | None = None,
    model: Path | str | None = None,
) -> Verification:
    """Verify what is at a path, offline and without secrets; what it is, is told by its content.

    Args:
        path: A bundle, log, checkpoint, proof, receipt, evidence, signed replay or certificate.
        bundle: The bundle that evidence, a replay or a certificate is about.
        bundles: Those of further releases, that a certificate of exclusion or absence is about.
        log: The log that a proof or a certificate is in; None: the workspace's.
        trust: A trust store, or files that name keys; None: the workspace's trust store.
        evidence: The retraining audits and the signed replay that a certificate rests on.
        expect: What is expected of a certificate, or a file that says so; None: what the trust store says.
        model: The file of the model in use: whether it is the one of the bundle, or of the certificate.

    Returns:
        What was verified, every check that has passed, and what was not checked.

    Raises:
        FormatError: It is malformed, or nothing that can be verified.
        VerificationError: The first thing about it that is not so.
        SignatureError: Nobody is trusted, or nobody trusted signed it.
        UnknownNameError: Something that it is about is not at hand.

    Example:
        >>> found = uk.verify(bundle.path, trust=office.root / "trust.toml")
        >>> found.kind.value, [check.name for check in found.checks]
        ('bundle', ['signature', 'files', 'directions', 'numbers'])

    """
    beside = Materials.at_hand(
        bundle=bundle, bundles=bundles, log=log, trust=trust, evidence=evidence, expect=expect, model=model
    )
    found = examine(Path(path), beside)
    if isinstance(found, Failure):
        raise found.error
    return found


def examine(path: Path, beside: Materials) -> Verification | Failure:
    """`verify` that returns the failure, with what has passed before it; for several paths that share materials."""
    kind, checks = None, Checklist(str(path))
    try:
        kind = recognise(path)
        _logger.info("%s: a %s", path, kind)
        value = _VERIFIED_BY[kind](path, beside, checks)
    except UnlearnkitError as error:
        beside.forget()
        return Failure(path=path, kind=kind, checks=checks.passed, error=error)
    return Verification(path=path, kind=kind, value=value, checks=checks.passed, unchecked=checks.unchecked)


def _require_counting(beside: Materials) -> None:
    """By the log, where one was given that is trusted: it says which keys were revoked, and when things were there."""
    if beside.log is not None and not beside.is_ours:
        with suppress(UnknownNameError):
            beside.require_counting(beside.view())


def _bundle(path: Path, beside: Materials, checks: Checklist) -> Bundle:
    bundle = beside.opened(path)
    manifest = bundle.manifest
    size = sum(file.size for file in manifest.files)
    checks.add("signature", f"signed by {', '.join(bundle.signers)}")
    checks.add(
        "files",
        f"{counted(len(manifest.files), 'file')}, {counted(size, 'byte')}, and nothing else; each as signed and listed",
    )
    origin = _origin(manifest)
    checks.add("directions", f"{manifest.direction_count}, {origin}; {manifest.informed}, orthonormal")
    probes = ", ".join(probe.name for probe in manifest.probes) or "none"
    checks.add("numbers", f"shapes, precision and degrees as the manifest says, all finite; probes: {probes}")
    for first, last, tensors in bundle.weight_sketches():
        checks.add("weights", f"{len(tensors)} along directions {first} to {last}")
    verify_in_use(beside.model, bundle, checks)
    _require_counting(beside)
    checks.leave_out("whether its numbers are those of its recipe, which training again tells")
    return bundle


def _origin(manifest: Manifest) -> str:
    """Where its directions say that they come from; the log tells whether it is so."""
    if manifest.is_explicit:
        return "given explicitly: no certificate can rest on them"
    log, size, *_ = [*manifest.checkpoint.split("\n"), ""]
    return (
        f"from the recipe and {size} {'entry' if size == '1' else 'entries'} of {log}"
        if log
        else "from the recipe and a salt that somebody chose"
    )


def _log(path: Path, beside: Materials, checks: Checklist) -> LogView:
    view = beside.view(path)
    assert view.signed is not None  # noqa: S101 - it was verified
    checkpoint = view.signed.checkpoint
    checks.add("checkpoint", f"{counted(checkpoint.size, 'entry')} signed by {checkpoint.origin}")
    checks.add("chain", f"{counted(len(view), 'entry')}, each continues the one before")
    checks.add("requests", f"{counted(len(view.register.requests), 'request')}, every step legal")
    verify_days(view, checks)
    leave_out_log(checks, view, beside.quorum)
    return view


def _checkpoint(path: Path, beside: Materials, checks: Checklist) -> Checkpoint:
    raw, trust, where = read_bounded(path, MAX_DOCUMENT), beside.trust, str(path)
    key = trust.log(unverified_origin(raw, where=where))
    found = verify_checkpoint(raw, where=where, log=key, witnesses=trust.witnesses, quorum=beside.quorum)
    beside.seen(found)
    checks.add("checkpoint", f"{counted(found.size, 'entry')}, root {found.root.hex()}, signed by {found.origin}")
    checks.leave_out("the entries that it signs")
    leave_out_log(checks, None, beside.quorum)
    return found


def _proof(path: Path, beside: Materials, checks: Checklist) -> Proven:
    raw, trust, where = read_bounded(path, MAX_DOCUMENT), beside.trust, str(path)
    proof = parse_proof(raw, where=where)
    if beside.log is None:
        raise UnknownNameError("a proof is about an entry of a log, which is not there", hint="give its folder: --log")
    line = next((entry.line for entry in read_entries(beside.log) if entry.index == proof.index), b"\n")
    key = trust.log(unverified_origin(proof.checkpoint, where=where))
    found = verify_proof(raw, where=where, line=line, log=key, witnesses=trust.witnesses, quorum=beside.quorum)
    beside.seen(found.checkpoint)
    checks.add("checkpoint", f"{counted(found.checkpoint.size, 'entry')} signed by {key.name}")
    checks.add("inclusion", f"entry {found.entry.index}, a {found.entry.type}, is one of them")
    checks.leave_out("every other entry of the log")
    leave_out_log(checks, None, beside.quorum)
    return found


def _receipt(path: Path, beside: Materials, checks: Checklist) -> VerifiedReceipt:
    raw, trust, where = read_bounded(path, MAX_DOCUMENT), beside.trust, str(path)
    key = trust.log(receipt_origin(raw, where=where))
    known = key.ever if beside.has_log(key.name) else key  # the log at hand is held to what a key signed that ended
    found = verify_receipt(raw, where=where, log=known, witnesses=trust.witnesses, quorum=beside.quorum)
    beside.seen(found.checkpoint)
    said = found.received
    checks.add("checkpoint", f"{counted(found.checkpoint.size, 'entry')} signed by {key.name}")
    checks.add("inclusion", f"entry {found.entry.index} is one of them, recorded {format_time(found.entry.time)}")
    due = f"its answer is due by {said.respond.day} ({said.respond.rule})"
    checks.add("request", f"{found.request} was received on {said.received} under policy {said.policy}; {due}")
    view = beside.view_of(key.name, is_needed=False)
    if view is not None:
        if view.entry(found.entry.index).line != found.entry.line:
            raise VerificationError(f"entry {found.entry.index} of the log is another one than the receipt's")
        checks.add("log", f"it has the same entry; {found.request} is {view.register.get(found.request).state} there")
    else:
        checks.leave_out("what was done about the request since, which the log says")
    checks.leave_out("whose request it is: no name is in it, and who keeps the pseudonym key can tell")
    leave_out_log(checks, view, beside.quorum)
    return found


def _evidence(path: Path, beside: Materials, checks: Checklist) -> Evidence:
    bundle = beside.opened()
    found = beside.ask(path, bundle, verify_evidence)
    _require_counting(beside)
    checks.add("signature", f"signed by {', '.join(found.signers)}")
    checks.add("bundle", f"about bundle {bundle.digest}")
    checks.add("draws", f"{counted(len(found.audit.deletions), 'deletion')}, as the bundle's digest draws them")
    checks.leave_out("whether its values are those of real retrainings, which its signers vouch for")
    return found


def _replay(path: Path, beside: Materials, checks: Checklist) -> SignedReplay:
    bundle = beside.opened()
    found = beside.ask(path, bundle, verify_signed_replay)
    _require_counting(beside)
    checks.add("signature", f"signed by {', '.join(found.signers)}")
    checks.add("bundle", f"about bundle {bundle.digest}, its recipe and all of its probes")
    checks.add("directions", f"{len(found.report.directions)} replayed, as the auditor's seed gives them")
    checks.leave_out(NOT_REPLAYED)
    return found


def _certificate(path: Path, beside: Materials, checks: Checklist) -> VerifiedCertificate:
    return verify_certificate(read_bounded(path, MAX_DOCUMENT), where=str(path), beside=beside, checks=checks)


def _absence(path: Path, beside: Materials, checks: Checklist, *, exclusion: bool = False) -> VerifiedAbsence:
    raw = read_bounded(path, MAX_DOCUMENT)
    return verify_absence(raw, where=str(path), exclusion=exclusion, beside=beside, checks=checks)


def _correction(path: Path, beside: Materials, checks: Checklist) -> VerifiedCorrection:
    return verify_correction(read_bounded(path, MAX_DOCUMENT), where=str(path), beside=beside, checks=checks)


_VERIFIED_BY: Mapping[Kind, Callable[[Path, Materials, Checklist], Verified]] = {
    Kind.BUNDLE: _bundle,
    Kind.LOG: _log,
    Kind.CHECKPOINT: _checkpoint,
    Kind.PROOF: _proof,
    Kind.RECEIPT: _receipt,
    Kind.EVIDENCE: _evidence,
    Kind.REPLAY: _replay,
    Kind.CERTIFICATE: _certificate,
    Kind.EXCLUSION: partial(_absence, exclusion=True),
    Kind.ABSENCE: _absence,
    Kind.CORRECTION: _correction,
}
