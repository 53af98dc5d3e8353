"""Issuing certificates of absence and exclusion: who is on which list, decided while nobody else records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version

from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.registry import Registry, Release
from unlearnkit.compliance.releases.whereabouts import People
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.absence import Absence, Exclusion, Looked, sign_absence
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.recording import Record, outdated, require_recent
from unlearnkit.verifier.signers import policy_of
from unlearnkit.verifier.together import certifiable


@dataclass(frozen=True, slots=True)
class Clearance:
    """A certificate, its envelope, and the entry that records it; None while signatures are missing."""

    certificate: Absence
    raw: bytes
    entry: Entry | None


def certify_absence(
    requests: Sequence[str],
    *,
    before: Release | None,
    people: People,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    view: LogView,
    keep: Callable[[bytes], None],
) -> Clearance:
    """Certify that nobody who made some requests is in a model in use; with ``before``, that they were in that.

    Args:
        requests: Their ids.
        before: A release that held all of them and was replaced; None: nothing is said of before.
        people: Who is in a release.
        log: Where the certificate is recorded.
        origin: The log's name.
        policy: The one that the requests were received under.
        signers: Keys that sign; where the policy asks for more signatures than these, nothing is recorded yet.
        view: A view of the log to go on from.
        keep: Puts the file on disk, before the log says that it is there.

    Raises:
        RefusedError: One is closed; somebody is in a release in force, or was not in ``before``; nothing took the place
            of that, or it was not trained anew; no release is in force; who is in one cannot be told.
        UnknownNameError: There is no such request; a list of people is not at hand.
        PolicyError: A request is under another policy.
    """
    with log.exclusive() as writer:
        now = view.up_to(writer.end)
        made = _made(now, requests, before, people, policy, origin=origin, issued=format_time(writer.now()))
        raw = sign_absence(made, signers)
        keep(raw)
        is_signed = len(signers) >= policy.signing.threshold
        return Clearance(made, raw, Record.of(made, raw).append(writer) if is_signed else None)


def record_absence(
    file: CertificateFile, certificate: Absence, *, people: People, log: AuditLog, view: LogView, where: str
) -> Entry:
    """Record a certificate that was signed before, if it still holds; the entry that there is, if it was recorded.

    Args:
        file: What holds it. Whoever calls has verified the signatures.
        certificate: What it says.
        people: Who is in a release.
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
        require_still(certificate, now, people, where=where)
        require_recent(certificate.issued, log.now(), where=where)
        return Record.of(certificate, file.envelope).append(writer)


def require_still(certificate: Absence, view: LogView, people: People, *, where: str) -> None:
    """RefusedError unless a certificate says what would be certified now."""
    before = view.registry.get(certificate.before.release) if isinstance(certificate, Exclusion) else None
    policy, told = policy_of(certificate, where), {"origin": certificate.log, "issued": certificate.issued}
    again = replace(_made(view, certificate.requests, before, people, policy, **told), software=certificate.software)
    if again != certificate:
        members = [item.name for item in fields(again) if getattr(again, item.name) != getattr(certificate, item.name)]
        raise outdated(where, f"log and lists of people give other {', '.join(members)} now")


def _made(
    view: LogView,
    requests: Sequence[str],
    before: Release | None,
    people: People,
    policy: Policy,
    *,
    origin: str,
    issued: str,
) -> Absence:
    """What can be certified as the log is; raises as `certify_absence` does."""
    asked = [certifiable(view.register, name, policy) for name in requests]
    asked.sort(key=lambda request: request.steps[0].index)
    subjects = frozenset(request.subject for request in asked)
    made = Absence(
        requests=tuple(request.id for request in asked),
        subjects=tuple(sorted(subjects)),
        releases=_without(view.registry.in_force, subjects, people),
        policy=policy.text,
        log=origin,
        issued=issued,
        software=f"unlearnkit {version('unlearnkit')}",
    )
    if before is None:
        return made
    after = _successor(view.registry, before, subjects, people)
    members = {item.name: getattr(made, item.name) for item in fields(made)}
    return Exclusion(**members, before=Looked.of(before), after=Looked.of(after))


def held_before(registry: Registry, subjects: frozenset[str], people: People) -> Release | None:
    """The last release that held somebody of these people and was replaced; None if none did."""
    for release in reversed(registry.releases.values()):
        if release.replaced_by is not None and subjects & people(release):
            return release
    return None


def _without(releases: Sequence[Release], subjects: frozenset[str], people: People) -> tuple[Looked, ...]:
    """The releases in force, if they hold nobody of these."""
    if not releases:
        raise RefusedError(
            "no release is in force: there is no model to be absent from", hint="`unlearnkit release add`"
        )
    for release in releases:
        if held := subjects & people(release):
            raise RefusedError(
                f"{release.id} is in force and holds data of {len(held)} of the {len(subjects)} who ask",
                hint="train it again without them, and `unlearnkit release add --replaces`; or certify the effect",
            )
    return tuple(Looked.of(release) for release in releases)


def _successor(registry: Registry, before: Release, subjects: frozenset[str], people: People) -> Release:
    """What took the place of a release, trained without these people, who were in that."""
    if missing := subjects - people(before):
        raise RefusedError(
            f"{before.id} held no data of {len(missing)} of the {len(subjects)} who ask",
            hint="certify apart who was in different releases; who was in none gets a certificate of absence",
        )
    if before.replaced_by is None:
        raise RefusedError(f"nothing took the place of {before.id}", hint="`unlearnkit release add --replaces`")
    after = registry.get(before.replaced_by)
    if held := subjects & people(after):
        raise RefusedError(f"{after.id} took the place of {before.id}, and holds data of {len(held)} of them still")
    require_trained_anew(Looked.of(before), Looked.of(after))
    return after


def require_trained_anew(before: Looked, after: Looked) -> None:
    """RefusedError unless a release differs from the one before it as one that was trained without somebody does."""
    for name in ("recipe", "model", "units"):
        if getattr(before.artefacts, name) == getattr(after.artefacts, name):
            raise RefusedError(
                f"{after.release} was not trained without anybody: its {name} digest is that of {before.release}",
                hint="whose data is left out is left out of the recipe",
            )
