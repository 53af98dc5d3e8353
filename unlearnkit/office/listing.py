"""Releases at a glance: who of each was answered without retraining, how far they move it, and what is left of that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from unlearnkit.compliance.policy.policy import Ending
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.releases.standing import answered
from unlearnkit.compliance.releases.whereabouts import people_of
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.office.releases import JointChange, ReleaseSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A release in a list.

    people: how many were answered without retraining; None: it cannot be told. changes: of the policy's aggregate
    probes, without all of them. unknown: why something is not there.
    """

    release: Release
    people: int | None = None
    changes: tuple[JointChange, ...] = ()
    unknown: str | None = None


def glances(office: ReleaseSteps, view: LogView, releases: Iterable[Release]) -> tuple[Glance, ...]:
    """What can be said of releases from their bundles, as far as these are at hand; one is opened where some stand."""
    return tuple(_glance(office, view, release) for release in releases)


def _glance(office: ReleaseSteps, view: LogView, release: Release) -> Glance:
    people = None
    try:
        kept = answered(view.register, Ending.NEGLIGIBLE_EFFECT)
        people = len(people_of(office.root, release, view.register) & kept.keys())
        changes = office.standing(release).changes if people else ()
    except (RefusedError, UnknownNameError, VerificationError) as err:
        return Glance(release=release, people=people, unknown=str(err))
    return Glance(release=release, people=people, changes=changes)
