"""Forgetting what a bundle says of people, when a training without them has taken the place of its release."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearnkit.bundle.remainder import cut, open_remainder
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.releases.whereabouts import whereabouts
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.office.releases import ReleaseNamed, ReleaseSteps, release_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CutBundle:
    """What was removed of the bundle of a release. path: where the rest is. files: that are gone, by their paths."""

    release: str
    path: Path
    files: tuple[str, ...]


def cut_bundle(office: ReleaseSteps, release: ReleaseNamed) -> CutBundle:
    """Remove everything of a release's bundle but the signed list of its people; see `Workspace.cut`."""
    registry = office.registry()
    found = registry.get(release_id(release))
    for other in registry.in_force:
        if other.artefacts.bundle == found.artefacts.bundle:
            raise RefusedError(
                f"the bundle of {found.id} is needed: {other.id} is in force",
                hint="train again, and `unlearnkit release add BUNDLE --replaces` it",
            )
    path = whereabouts(office.root, found)
    rest = open_remainder(path, trust=office.trust().keys(Role.SKETCH_SIGNER))
    if rest.digest != found.artefacts.bundle:
        raise VerificationError(f"{path} is not the bundle of {found.id}: its digest is {rest.digest}")
    return CutBundle(release=found.id, path=path, files=cut(path, rest.manifest))
