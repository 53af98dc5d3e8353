"""Verifying certificates of absence and exclusion offline, from the log and the bundles of the releases they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.remainder import Remainder
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.names import counted
from unlearnkit.verifier.absence import (
    ABSENCE_TYPE,
    EXCLUSION_TYPE,
    Absence,
    Exclusion,
    Looked,
    parse_absence,
)
from unlearnkit.verifier.asking import verify_requests
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.expected import verify_expected
from unlearnkit.verifier.issue_absence import require_trained_anew
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.recording import leave_out_histories, leave_out_log, verify_recorded
from unlearnkit.verifier.signers import policy_of, require_threshold, trusted_signers


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedAbsence:
    """A certificate of absence or exclusion that was verified. digest: SHA-256 of the envelope. signers: key ids.

    unchecked: what nobody looked at, in words.
    """

    certificate: Absence
    digest: str
    signers: tuple[str, ...]
    checks: tuple[Check, ...]
    unchecked: tuple[str, ...]


def verify_absence(
    raw: bytes, *, where: str, exclusion: bool, beside: Materials, checks: Checklist | None = None
) -> VerifiedAbsence:
    """Check everything that the certificate says.

    Without the log, the proof in the file shows that it is recorded, and what then nobody looked at is listed.

    Args:
        raw: The file.
        where: What to call it in errors.
        exclusion: Whether it is one of exclusion.
        beside: Trusted keys, the log, and the bundles of all releases that it names.
        checks: Filled in on the way.

    Raises:
        VerificationError: The first thing that is not so.
        FormatError: A file is malformed.
        UnknownNameError: Neither log nor proof is at hand, or the bundle of a release is not, or only the log tells
            who is in one.
    """
    checks = checks or Checklist(where)
    file = parse_certificate_file(raw, where=where)
    verify_signatures = partial(signed_absence, file.envelope, exclusion=exclusion, where=where)
    beside.recorded([file.digest], file.time)
    certificate, signers = beside.signed(file.digest, verify_signatures)
    beside.recorded([item.artefacts.bundle for item in certificate.looked], file.time)
    checks.add("signature", f"signed by {', '.join(signer[:16] for signer in signers)}")
    policy = policy_of(certificate, where)
    entry, view = verify_recorded(file, certificate, beside=beside, checks=checks)
    if view is not None:
        _verify_beside_log(certificate, policy, view, checks, index=entry.index)
    else:
        _leave_out(certificate, checks, beside.sizes_seen(certificate.log))
    for item in certificate.looked:
        _verify_list(certificate, item, beside.people_of(item.artefacts.bundle), view)
    checks.add("people", f"{counted(len(certificate.subjects), 'person', 'are')} on none of the signed lists of these")
    if isinstance(certificate, Exclusion):
        _verify_exclusion(certificate, view, index=entry.index)
        left = f"{certificate.before.release}, which {certificate.after.release} took the place of"
        checks.add("exclusion", f"they were in {left}, trained by another recipe")
    leave_out_log(checks, view, beside.quorum)
    trust = beside.trust_beside(view, file.digest)
    if view is not None:
        verify_signatures(trust)
        beside.require_counting(view)
    verify_expected(beside.expected, file.envelope, policy, trust=trust, recorded=entry.time, checks=checks)
    checks.leave_out("whether data of theirs is listed under other names, which who signed the bundles vouches for")
    return VerifiedAbsence(
        certificate=certificate,
        digest=file.digest,
        signers=signers,
        checks=checks.passed,
        unchecked=checks.unchecked,
    )


def _verify_beside_log(certificate: Absence, policy: Policy, view: LogView, checks: Checklist, *, index: int) -> None:
    """What it says was so at the entry ``index``, which records it."""
    verify_requests(certificate, policy, view.register, index=index)
    _require(
        certificate.subjects == tuple(sorted({view.register.get(name).subject for name in certificate.requests})),
        "it names somebody as asking whose request it does not name",
    )
    asked, listed = certificate.requests, ", ".join(certificate.requests)
    open_then = f"request {listed} was" if len(asked) == 1 else f"requests {listed} were"
    checks.add("request", f"{open_then} open, and made by whom it names")
    _verify_releases(certificate, view, index)
    there = ", ".join(item.release for item in certificate.releases)
    checks.add("releases", f"in force then: {there}; their pseudonyms are made with the key of the requests")


def _leave_out(certificate: Absence, checks: Checklist, sizes: Sequence[int]) -> None:
    """What only the log tells. sizes: of checkpoints seen."""
    told, there = "which the log tells: --log", ", ".join(item.release for item in certificate.releases)
    checks.leave_out(
        f"that {', '.join(certificate.requests)} asked, and when, and that no request was closed, {told}",
        f"that {there} were all releases in force, and registered with these bundles, {told}",
        f"that the pseudonyms of requests and releases are made with one key, {told}",
    )
    if isinstance(certificate, Exclusion):
        checks.leave_out(f"that {certificate.after.release} took the place of {certificate.before.release}, {told}")
    leave_out_histories(checks, sizes)


def signed_absence(raw: bytes, trust: TrustStore, *, exclusion: bool, where: str) -> tuple[Absence, tuple[str, ...]]:
    """The certificate in an envelope, signed by those whom its policy asks for, and their key ids.

    Raises SignatureError, ThresholdError, FormatError.
    """
    kind = EXCLUSION_TYPE if exclusion else ABSENCE_TYPE
    parse = partial(parse_absence, predicate_type=kind)
    certificate, keys = trusted_signers(raw, trust, where=where, parse=parse)
    require_threshold(policy_of(certificate, where), keys, where=where)
    return certificate, tuple(key.key_id for key in keys)


def _verify_releases(certificate: Absence, view: LogView, index: int) -> None:
    """It names every release that was in force, as it was registered, and nobody is hidden by another key."""
    known = view.registry.releases.values()
    in_force = tuple(Looked.of(item) for item in known if item.was_in_force(before=index))
    _require(
        certificate.releases == in_force,
        f"it looked at {', '.join(item.release for item in certificate.releases)}, in force were "
        f"{', '.join(item.release for item in in_force) or 'none'}",
    )
    for item in certificate.looked:
        _require(
            item.artefacts.key == view.register.request_key,
            f"nobody can tell who is in {item.release}: its pseudonyms are made with key {item.artefacts.key}, those "
            f"of the requests with {view.register.request_key}",
        )


def _verify_list(certificate: Absence, item: Looked, bundle: Bundle | Remainder, view: LogView | None) -> None:
    """A corrected release has the bundle it was corrected from, with a model of its own, and without some people."""
    found, without = Artefacts.of(bundle), frozenset[str]()
    if view is not None:
        release = _release(view, item)
        without = frozenset(release.without)
        if release.corrects is not None:
            found = replace(found, model=item.artefacts.model)
    elif found != item.artefacts == replace(found, model=item.artefacts.model):
        raise UnknownNameError(f"whom {item.release}, a corrected model, leaves out only the log tells", hint="--log")
    _require(found == item.artefacts, f"the bundle of {item.release} has other artefacts")
    held = [who for who in certificate.subjects if who in bundle.units and who not in without]
    if isinstance(certificate, Exclusion) and item == certificate.before:
        missing = len(certificate.subjects) - len(held)
        _require(not missing, f"{item.release} held no data of {missing} of the {len(certificate.subjects)} who asked")
    else:
        _require(not held, f"{item.release} holds data of {len(held)} of the {len(certificate.subjects)} who asked")


def _verify_exclusion(certificate: Exclusion, view: LogView | None, *, index: int) -> None:
    """The one release took the place of the other before the entry ``index``, and was trained anew."""
    said = certificate.before, certificate.after
    if view is not None:
        before, after = (_release(view, item) for item in said)
        for item, found in zip(said, (before, after), strict=True):
            _require(Looked.of(found) == item, f"{found.id} was registered with other artefacts")
        took_place = before.replaced_by == after.id and after.index < index
        _require(took_place, f"{after.id} had not taken the place of {before.id}")
    is_gone = certificate.before not in certificate.releases
    _require(is_gone, f"{certificate.before.release}, which held them, was in force")
    try:
        require_trained_anew(*said)
    except RefusedError as err:
        raise VerificationError(f"the certificate is wrong: {err}") from None


def _release(view: LogView, item: Looked) -> Release:
    found = view.registry.releases.get(item.release)
    if found is None:
        raise VerificationError("the certificate is wrong: the log has no such releases")
    return found


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
