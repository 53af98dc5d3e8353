"""Where the bundles of releases lie: in the folder ``releases`` of a workspace, a link for each, named after it.

A link is a convenience, and nothing is believed because of it: what it leads to is held against the digests in the log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from os.path import relpath
from pathlib import Path

from unlearnkit.bundle.manifest import UNITS
from unlearnkit.bundle.remainder import is_cut
from unlearnkit.canonical import parse_canonical, sha256_hex
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.requests.register import Register
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.files import MAX_DOCUMENT, fsync_directory, make_private_folder, read_bounded

FOLDER = "releases"

People = Callable[[Release], frozenset[str]]
"""The pseudonyms in a release. Raises UnknownNameError if its list is not at hand, RefusedError if it tells nothing."""


def remember(root: Path, release: str, bundle: Path) -> None:
    """Link to the bundle of a release, in place of what was linked before; on return the link is on disk."""
    folder = root / FOLDER
    if not folder.is_dir():
        make_private_folder(folder)
        fsync_directory(root)
    made = folder / f".{release}.{secrets.token_hex(8)}.tmp"
    made.symlink_to(relpath(bundle.resolve(), folder.resolve()))
    made.replace(folder / release)
    fsync_directory(folder)


def is_at_hand(root: Path, release: Release) -> bool:
    """Whether there is something where the bundle of a release is looked for."""
    return (root / FOLDER / release.id).is_dir()


def is_whole(root: Path, release: Release) -> bool:
    """Whether the bundle of a release is at hand, and was not cut."""
    return is_at_hand(root, release) and not is_cut(root / FOLDER / release.id)


def whereabouts(root: Path, release: Release) -> Path:
    """The folder of a release's bundle; UnknownNameError if it is not there any more."""
    if not is_at_hand(root, release):
        raise UnknownNameError(
            f"the bundle of {release.id} is not at hand", hint=f"link to it: ln -sfn BUNDLE {FOLDER}/{release.id}"
        )
    return (root / FOLDER / release.id).resolve()


def linked_bundles(root: Path) -> tuple[Path, ...]:
    """Every bundle that a release of the workspace is linked to."""
    return tuple(place.resolve() for place in sorted((root / FOLDER).glob("*@*")) if place.is_dir())


def people_of(root: Path, release: Release, register: Register) -> frozenset[str]:
    """The pseudonyms in a release, from the list that was registered with it.

    Raises:
        UnknownNameError: The bundle is not at hand.
        VerificationError: It has another list.
        RefusedError: The pseudonyms are made with another key than those of the requests.
    """
    require_tellable(release, register)
    return listed_people(release, read_bounded(whereabouts(root, release) / UNITS, MAX_DOCUMENT))


def listed_people(release: Release, raw: bytes) -> frozenset[str]:
    """The pseudonyms in the list ``raw`` whom the weights do not leave out.

    VerificationError unless it is the list that was registered.
    """
    if sha256_hex(raw) != release.artefacts.units:
        raise VerificationError(f"this is not the list of people of {release.id}: {sha256_hex(raw)[:16]}...")
    pseudonyms = parse_canonical(raw, where=UNITS)
    assert isinstance(pseudonyms, list)  # noqa: S101 - it is what a bundle that verified had
    return frozenset(pseudonyms) - frozenset(release.without)


def require_tellable(release: Release, register: Register) -> None:
    """RefusedError if nobody can be looked for in a release: its pseudonyms are made with another key."""
    key = release.artefacts.key
    if key != register.request_key:
        raise RefusedError(
            f"cannot tell who is in {release.id}: its pseudonyms are made with key {key}, those of the requests with "
            f"{register.request_key}",
            hint="sketch it with the workspace's pseudonym key, or retire it",
        )
