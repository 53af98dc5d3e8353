"""Verifying certificates of absence and exclusion offline, from the log and the bundles of the releases they name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.requests.register import CLOSING, Register
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.verifier.absence import (
    ABSENCE_TYPE,
    EXCLUSION_TYPE,
    Absence,
    Exclusion,
    Looked,
    clearing_body,
    entry_type,
    parse_absence,
)
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.expected import verify_expected
from unlearnkit.verifier.issue_absence import require_trained_anew
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.recording import verify_in_place
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

    Args:
        raw: The file.
        where: What to call it in errors.
        exclusion: Whether it is one of exclusion.
        beside: Trusted keys, the log, and the bundles of all releases that it names.
        checks: Filled in on the way.

    Raises:
        VerificationError: The first thing that is not so.
        FormatError: A file is malformed.
        UnknownNameError: The log, or the bundle of a release, is not at hand.
    """
    checks = checks or Checklist(where)
    file = parse_certificate_file(raw, where=where)
    verify_signatures = partial(signed_absence, file.envelope, exclusion=exclusion, where=where)
    beside.recorded([file.digest], file.time)
    certificate, signers = beside.signed(file.digest, verify_signatures)
    beside.recorded([item.artefacts.bundle for item in certificate.looked], file.time)
    checks.add("signature", f"signed by {', '.join(signer[:16] for signer in signers)}")
    kind, body = entry_type(certificate), clearing_body(certificate, file.envelope)
    entry, view = verify_in_place(file, certificate, kind=kind, body=body, beside=beside, checks=checks)
    for name in certificate.requests:
        _verify_request(certificate, name, view.register)
    _require(
        certificate.subjects == tuple(sorted({view.register.get(name).subject for name in certificate.requests})),
        "it names somebody as asking whose request it does not name",
    )
    checks.add("request", f"request {', '.join(certificate.requests)} was open, and made by whom it names")
    _verify_releases(certificate, view)
    there = ", ".join(item.release for item in certificate.releases)
    checks.add("releases", f"in force then: {there}; their pseudonyms are made with the key of the requests")
    for item in certificate.looked:
        _verify_list(certificate, item, beside.opened_as(item.artefacts.bundle), view)
    checks.add("people", f"{len(certificate.subjects)} of them are on none of the signed lists of these")
    if isinstance(certificate, Exclusion):
        _verify_exclusion(certificate, view)
        left = f"{certificate.before.release}, which {certificate.after.release} took the place of"
        checks.add("exclusion", f"they were in {left}, trained by another recipe")
    policy, trust = policy_of(certificate, where), beside.trust_beside(view, file.digest)
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


def signed_absence(raw: bytes, trust: TrustStore, *, exclusion: bool, where: str) -> tuple[Absence, tuple[str, ...]]:
    """The certificate in an envelope, signed by those whom its policy asks for, and their key ids.

    Raises SignatureError, ThresholdError, FormatError.
    """
    kind = EXCLUSION_TYPE if exclusion else ABSENCE_TYPE
    parse = partial(parse_absence, predicate_type=kind)
    certificate, keys = trusted_signers(raw, trust, where=where, parse=parse)
    require_threshold(policy_of(certificate, where), keys, where=where)
    return certificate, tuple(key.key_id for key in keys)


def _verify_request(certificate: Absence, name: str, register: Register) -> None:
    """A request was there, and open, when the certificate was recorded."""
    _require(name in register.requests, f"the log has no request {name}")
    request = register.get(name)
    _require(request.steps[0].index < certificate.index, f"request {name} was received after it")
    _require(request.subject in certificate.subjects, f"request {name} was made by somebody else")
    _require(
        request.policy_digest == certificate.policy_digest,
        f"its policy is {certificate.policy_digest}, the request was received under {request.policy_digest}",
    )
    for step in register.original(request).steps:
        is_before = step.event in CLOSING and step.index < certificate.index
        _require(not is_before, f"request {name} was {step.event.state} before it, with entry {step.index}")


def _verify_releases(certificate: Absence, view: LogView) -> None:
    """It names every release that was in force, as it was registered, and nobody is hidden by another key."""
    known = view.registry.releases.values()
    in_force = tuple(Looked.of(item) for item in known if item.was_in_force(before=certificate.index))
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


def _verify_list(certificate: Absence, item: Looked, bundle: Bundle, view: LogView) -> None:
    """A corrected release has the bundle it was corrected from, with a model of its own, and without some people."""
    release = view.registry.releases.get(item.release)
    if release is None:
        raise VerificationError("the certificate is wrong: the log has no such releases")
    found = Artefacts.of(bundle)
    if release.corrects is not None:
        found = replace(found, model=item.artefacts.model)
    _require(found == item.artefacts, f"the bundle of {item.release} has other artefacts")
    held = (set(bundle.units) - set(release.without)) & set(certificate.subjects)
    if isinstance(certificate, Exclusion) and item == certificate.before:
        missing = len(certificate.subjects) - len(held)
        _require(not missing, f"{item.release} held no data of {missing} of {len(certificate.subjects)} people")
    else:
        _require(not held, f"{item.release} holds data of {len(held)} of {len(certificate.subjects)} people")


def _verify_exclusion(certificate: Exclusion, view: LogView) -> None:
    """The one release took the place of the other before it, and was trained anew."""
    before = view.registry.releases.get(certificate.before.release)
    after = view.registry.releases.get(certificate.after.release)
    if before is None or after is None:
        raise VerificationError("the certificate is wrong: the log has no such releases")
    for item, found in ((certificate.before, before), (certificate.after, after)):
        _require(Looked.of(found) == item, f"{found.id} was registered with other artefacts")
    _require(certificate.before not in certificate.releases, f"{before.id}, which held them, was in force")
    took_place = before.replaced_by == after.id and after.index < certificate.index
    _require(took_place, f"{after.id} had not taken the place of {before.id}")
    try:
        require_trained_anew(before, after)
    except RefusedError as err:
        raise VerificationError(f"the certificate is wrong: {err}") from None


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
