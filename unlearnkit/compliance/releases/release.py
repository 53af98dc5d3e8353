"""A release as entries of the log: a model in use, with its bundle; and that it is used no more.

As in requests, there is no free text: names, versions, days and digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL, UNITS
from unlearnkit.bundle.remainder import Remainder
from unlearnkit.names import KeyFingerprint, ReleaseId, Sha256, Version, Word
from unlearnkit.records import Day, from_json
from unlearnkit.shapes import Items


class ReleaseEvent(StrEnum):
    """What can happen to a release; the values are types of entries."""

    REGISTERED = "release-registered"
    RETIRED = "release-retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """What a release is made of, as SHA-256 digests. units: of the list of pseudonyms. key: that made them."""

    bundle: Sha256
    model: Sha256
    recipe: Sha256
    units: Sha256
    key: KeyFingerprint

    @classmethod
    def of(cls, bundle: Bundle | Remainder) -> Self:
        """Those of a bundle."""
        manifest = bundle.manifest
        files = {file.path: file.sha256 for file in manifest.files}
        return cls(
            bundle=bundle.digest,
            model=files[MODEL],
            recipe=manifest.recipe_digest,
            units=files[UNITS],
            key=manifest.pseudonym_key,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrects:
    """That weights were not trained but corrected. release: that they were corrected from, a trained one.

    certificate: that says so, by its digest. without: pseudonyms, sorted, of everybody whom they leave out.
    """

    release: ReleaseId
    certificate: Sha256
    without: Annotated[tuple[Sha256, ...], Items(least=1, in_order=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A model came into use. replaces: the release that it took the place of, which is used no more.

    corrects: for corrected weights; the other artefacts are those of the trained ones then.
    """

    name: Word
    version: Version
    artefacts: Artefacts
    replaces: ReleaseId | None = None
    corrects: Corrects | None = None
    by: Word
    on: Day


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """A model went out of use, and nothing took its place."""

    release: ReleaseId
    by: Word
    on: Day


ReleaseBody = Registered | Retired

RELEASE_BODIES: Mapping[ReleaseEvent, type[Registered | Retired]] = {
    ReleaseEvent.REGISTERED: Registered,
    ReleaseEvent.RETIRED: Retired,
}
"""What each kind of entry says."""


def parse_release(event: ReleaseEvent, body: Mapping[str, Any], *, where: str) -> ReleaseBody:
    """What an entry says; FormatError for anything else."""
    return from_json(RELEASE_BODIES[event], body, where=where)
