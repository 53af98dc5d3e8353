"""All releases of a log: a state machine over its entries, as the register is for requests.

A release is named by its name and version (digits@1). The same check decides whether a step may be recorded and whether
a recorded one was legal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from unlearnkit.compliance.log.clock import format_time, latest_day
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.releases.release import (
    Artefacts,
    Corrects,
    Registered,
    ReleaseBody,
    ReleaseEvent,
    Retired,
    parse_release,
)
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError

_RESERVED = "release-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release as the log tells it.

    index: of the entry that registered it. registered: the day from which it is in use. retired: the day from which it
    is not. ended: the entry that says so. replaces, replaced_by: the releases before and after it, by id. corrects:
    what corrected weights were corrected from, and for whom.
    """

    name: str
    version: str
    artefacts: Artefacts
    index: int
    registered: date
    replaces: str | None = None
    replaced_by: str | None = None
    retired: date | None = None
    ended: int | None = None
    corrects: Corrects | None = None

    @property
    def without(self) -> tuple[str, ...]:
        """The people of its bundle whom its weights leave out."""
        return () if self.corrects is None else self.corrects.without

    @property
    def id(self) -> str:
        """Name and version: digits@1."""
        return f"{self.name}@{self.version}"

    @property
    def is_in_force(self) -> bool:
        """Whether it is in use, as far as the log says."""
        return self.retired is None

    def was_in_force(self, *, before: int) -> bool:
        """Whether it was in use when the log had the entries before this one."""
        return self.index < before and (self.ended is None or self.ended >= before)


_EVENTS = frozenset(ReleaseEvent)


class Registry:
    """All releases of a log, derived by applying its entries in order."""

    def __init__(self) -> None:
        self.releases: dict[str, Release] = {}

    @property
    def in_force(self) -> tuple[Release, ...]:
        """Those in use, in the order in which they came."""
        return tuple(release for release in self.releases.values() if release.is_in_force)

    def get(self, name: str) -> Release:
        """The release with this id; UnknownNameError if there is none."""
        if name not in self.releases:
            known = ", ".join(self.releases) or "none"
            raise UnknownNameError(f"no release {name!r}: there are {known}", hint="`unlearnkit release list`")
        return self.releases[name]

    def in_force_as(self, artefacts: Artefacts) -> Release:
        """The release in use that is made of these; RefusedError if there is none."""
        for release in self.in_force:
            if release.artefacts == artefacts:
                return release
        same = (release for release in self.in_force if release.artefacts.bundle == artefacts.bundle)
        if (made := next(same, None)) is not None:
            raise RefusedError(
                f"{made.id}, in force, is a corrected model: what its bundle says is about the trained one",
                hint="`unlearnkit correct` leaves more people out; or train again",
            )
        there = ", ".join(release.id for release in self.in_force) or "none"
        raise RefusedError(
            f"bundle {artefacts.bundle} is of no release in force: there are {there}",
            hint="`unlearnkit release add` records that its model is in use",
        )

    def replay(self, entry: Entry) -> None:
        """`apply` an entry that was recorded; VerificationError for one that should not have been."""
        try:
            self.apply(entry.index, entry.type, entry.body, time=entry.time)
        except (RefusedError, UnknownNameError) as err:
            raise VerificationError(f"log entry {entry.index} is not a legal step: {err}") from err

    def apply(self, index: int, kind: str, body: Mapping[str, Any], *, time: datetime) -> None:
        """Take in the entry ``index``; entries about other things are let by.

        time: when it was recorded. Raises FormatError for a malformed body, RefusedError and UnknownNameError for what
        may not happen now; the registry is then as it was.
        """
        if kind not in _EVENTS:
            if kind.startswith(_RESERVED):
                raise FormatError(f"entry {index} is of an unknown type: got {kind!r}")
            return
        said = parse_release(ReleaseEvent(kind), body, where=f"entry {index}: {kind}")
        if said.on > latest_day(time):
            raise RefusedError(f"a day in the future: got {said.on}, recorded {format_time(time)}")
        self.releases |= {release.id: release for release in self.after(index, said)}

    def after(self, index: int, body: ReleaseBody) -> tuple[Release, ...]:
        """The releases that a step changes, as they are after it; raises as `apply` does, and changes nothing."""
        return (self._retire(index, body),) if isinstance(body, Retired) else self._register(index, body)

    def _register(self, index: int, body: Registered) -> tuple[Release, ...]:
        made = Release(
            name=body.name,
            version=body.version,
            artefacts=body.artefacts,
            index=index,
            registered=body.on,
            replaces=body.replaces,
            corrects=body.corrects,
        )
        if body.corrects is not None:
            self._require_corrected(made, body.corrects)
        if made.id in self.releases:
            known = self.releases[made.id]
            raise RefusedError(
                f"there is a release {made.id} already: entry {known.index} registered it",
                hint="give the new one another version",
            )
        for other in self.in_force:
            if other.artefacts.model == made.artefacts.model and other.id != body.replaces:
                raise RefusedError(f"{other.id} is this very model, and in force", hint="a model in use has one name")
        if body.replaces is None:
            return (made,)
        before = self._in_force(body.replaces, "be replaced", body.on)
        return replace(before, retired=body.on, ended=index, replaced_by=made.id), made

    def _require_corrected(self, made: Release, corrects: Corrects) -> None:
        """Corrected weights come from a trained release, and have all of its artefacts but the model."""
        trained = self.get(corrects.release)
        if trained.corrects is not None:
            raise RefusedError(
                f"{trained.id} is itself a correction of {trained.corrects.release}",
                hint="weights are always corrected from those that were trained",
            )
        if replace(made.artefacts, model=trained.artefacts.model) != trained.artefacts:
            raise RefusedError(f"{made.id} is not a correction of {trained.id}: it is of another bundle")

    def _retire(self, index: int, body: Retired) -> Release:
        return replace(self._in_force(body.release, "be retired", body.on), retired=body.on, ended=index)

    def _in_force(self, name: str, what: str, on: date) -> Release:
        """The release, if it can go out of use on a day."""
        release = self.get(name)
        if release.retired is not None:
            after = f", replaced by {release.replaced_by}" if release.replaced_by else ""
            raise RefusedError(f"{name} cannot {what}: it is not in force since {release.retired}{after}")
        if on < release.registered:
            raise RefusedError(f"{name} cannot {what} on {on}: it is in use since {release.registered}")
        return release
