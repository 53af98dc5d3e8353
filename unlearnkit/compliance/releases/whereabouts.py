"""Where the bundles of releases lie: in the folder ``releases`` of a workspace, a link for each, named after it.

A link is a convenience, and nothing is believed because of it: what it leads to is held against the digests in the log.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from os.path import relpath
from pathlib import Path
from typing import TypeVar

from unlearnkit.bundle.manifest import UNITS
from unlearnkit.bundle.pseudonyms import Pseudonyms, read_list
from unlearnkit.bundle.remainder import is_cut
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.requests.register import Register
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.files import MAX_DOCUMENT, fsync_directory, make_private_folder

FOLDER = "releases"
_Member = TypeVar("_Member")

People = Callable[[Release], AbstractSet[str]]
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


def people_of(root: Path, release: Release, register: Register) -> AbstractSet[str]:
    """The pseudonyms in a release, from the list that was registered with it.

    Raises:
        UnknownNameError: The bundle is not at hand.
        VerificationError: It has another list.
        RefusedError: The pseudonyms are made with another key than those of the requests.
    """
    require_tellable(release, register)
    return listed_people(release, whereabouts(root, release) / UNITS)


def listed_people(release: Release, file: Path) -> ListedPeople:
    """The pseudonyms in the list of a bundle whom the weights do not leave out.

    VerificationError unless it is the list that was registered, FormatError for what is no list.
    """
    read = read_list(file, MAX_DOCUMENT)
    if read.sha256 != release.artefacts.units:
        raise VerificationError(f"this is not the list of people of {release.id}: {read.sha256[:16]}...")
    return ListedPeople(read.pseudonyms, frozenset(release.without))


class ListedPeople(AbstractSet[str]):
    """The pseudonyms in the list of a bundle, without some: a set that is looked into without being made."""

    def __init__(self, listed: Pseudonyms, without: frozenset[str]) -> None:
        self._listed, self._without = listed, without

    def __contains__(self, who: object) -> bool:
        return who not in self._without and who in self._listed

    def __iter__(self) -> Iterator[str]:
        return (who for who in self._listed if who not in self._without)

    def __len__(self) -> int:
        return len(self._listed) - sum(who in self._listed for who in self._without)

    @classmethod
    def _from_iterable(cls, it: Iterable[_Member]) -> AbstractSet[_Member]:
        return frozenset(it)


def require_tellable(release: Release, register: Register) -> None:
    """RefusedError if nobody can be looked for in a release: its pseudonyms are made with another key."""
    key = release.artefacts.key
    if key != register.request_key:
        raise RefusedError(
            f"cannot tell who is in {release.id}: its pseudonyms are made with key {key}, those of the requests with "
            f"{register.request_key}",
            hint="sketch it with the workspace's pseudonym key, or retire it",
        )
