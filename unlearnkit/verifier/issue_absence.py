"""Issuing certificates of absence and exclusion: who is on which list, decided while nobody else records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.entry import Entry, draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.registry import Registry, Release
from unlearnkit.compliance.releases.whereabouts import People
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.absence import Absence, Exclusion, Looked, clearing_body, entry_type, sign_absence
from unlearnkit.verifier.signers import NOT_COUNTERSIGNED, require_threshold
from unlearnkit.verifier.together import certifiable


@dataclass(frozen=True, slots=True)
class Clearance:
    """A certificate, the file it is in, and the entry that records it."""

    certificate: Absence
    raw: bytes
    entry: Entry


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
        signers: Keys that sign, as many as the policy asks for.
        view: A view of the log to go on from.
        keep: Puts the file on disk, before the log says that it is there.

    Raises:
        ThresholdError: The policy asks for more signatures than there are keys.
        RefusedError: One is closed; somebody is in a release in force, or was not in ``before``; nothing took the place
            of that, or it was not trained anew; no release is in force; who is in one cannot be told.
        UnknownNameError: There is no such request; a list of people is not at hand.
        PolicyError: A request is under another policy.
    """
    require_threshold(policy, signers, where="a certificate of absence or exclusion", hint=NOT_COUNTERSIGNED)
    with log.exclusive() as writer:
        register = view.up_to(writer.end).register
        asked = sorted((certifiable(register, name, policy) for name in requests), key=lambda item: item.steps[0].index)
        subjects = frozenset(request.subject for request in asked)
        members = {
            "requests": tuple(request.id for request in asked),
            "subjects": tuple(sorted(subjects)),
            "releases": _without(view.registry.in_force, subjects, people),
            "policy": policy.text,
            "log": origin,
            "index": writer.end.index,
            "issued": format_time(writer.now()),
            "software": f"unlearnkit {version('unlearnkit')}",
        }
        if before is None:
            made = Absence(**members)  # type: ignore[arg-type]
        else:
            after = _successor(view.registry, before, subjects, people)
            made = Exclusion(**members, before=Looked.of(before), after=Looked.of(after))  # type: ignore[arg-type]
        raw = sign_absence(made, signers)
        keep(raw)
        (entry,) = writer.record_many([draft(entry_type(made), clearing_body(made, raw))])
    return Clearance(made, raw, entry)


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
                f"{release.id} is in force and holds data of {len(held)} of {len(subjects)} people who ask",
                hint="train it again without them, and `unlearnkit release add --replaces`; or certify the effect",
            )
    return tuple(Looked.of(release) for release in releases)


def _successor(registry: Registry, before: Release, subjects: frozenset[str], people: People) -> Release:
    """What took the place of a release, trained without these people, who were in that."""
    if missing := subjects - people(before):
        raise RefusedError(
            f"{before.id} held no data of {len(missing)} of {len(subjects)} people who ask",
            hint="certify apart who was in different releases; who was in none gets a certificate of absence",
        )
    if before.replaced_by is None:
        raise RefusedError(f"nothing took the place of {before.id}", hint="`unlearnkit release add --replaces`")
    after = registry.get(before.replaced_by)
    if held := subjects & people(after):
        raise RefusedError(f"{after.id} took the place of {before.id}, and holds data of {len(held)} of them still")
    require_trained_anew(before, after)
    return after


def require_trained_anew(before: Release, after: Release) -> None:
    """RefusedError unless a release differs from the one before it as one that was trained without somebody does."""
    for name in ("recipe", "model", "units"):
        if getattr(before.artefacts, name) == getattr(after.artefacts, name):
            raise RefusedError(
                f"{after.id} was not trained without anybody: its {name} digest is that of {before.id}",
                hint="whose data is left out is left out of the recipe",
            )
