"""Releases in a workspace: which models are in use, each with its bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np

from unlearnkit.bundle import Bundle, PseudonymKey
from unlearnkit.bundle.manifest import FILE_NAME as MANIFEST
from unlearnkit.bundle.remainder import is_cut
from unlearnkit.canonical import file_sha256_hex
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.head import REPAIR
from unlearnkit.compliance.policy.policy import OWN_LOSS, Role
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.outlook import Strangers, strangers
from unlearnkit.compliance.releases.registry import Registry, Release
from unlearnkit.compliance.releases.release import Artefacts, Registered, ReleaseBody, ReleaseEvent, Retired
from unlearnkit.compliance.releases.standing import require_bundle_of, require_kept_promises, standing_set
from unlearnkit.compliance.releases.whereabouts import people_of, remember, whereabouts
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.estimation import Sketch
from unlearnkit.estimation.convergence import CONVERGING
from unlearnkit.names import RELEASE_ID, VERSION, WORD, counted
from unlearnkit.office.intake import Asked, id_of
from unlearnkit.office.purging import require_present_names
from unlearnkit.office.steps import RequestSteps
from unlearnkit.records import to_json

ReleaseNamed = Release | str
"""A release, or its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointChange:
    """How far a probe would move without everybody in the standing set, by prediction; nothing is certified.

    largest: of all elements, signed. tolerance: what the policy calls negligible.
    convergence: the worst verdict on the series there; "converging" for nobody.
    """

    probe: str
    largest: float
    tolerance: Decimal
    convergence: str

    @property
    def left(self) -> float:
        """So much of the tolerance is not used yet."""
        return max(0.0, float(self.tolerance) - abs(self.largest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The standing set of a release. people: pseudonyms. units: how many there are. changes: of the policy's probes.

    strangers: how own losses are spread of people whom the model never saw; None where nothing is known of own losses.
    """

    people: tuple[str, ...]
    units: int
    changes: tuple[JointChange, ...]
    strangers: Strangers | None

    @property
    def share(self) -> float:
        """Of all units, how many were answered without retraining."""
        return len(self.people) / self.units


@dataclass(frozen=True)
class ReleaseSteps(RequestSteps):
    """What is done with releases, as `RequestSteps` is for requests; the same words mean the same."""

    def view(self) -> LogView:
        """The log, its chain checked and held to what is signed in one pass; ``unsigned`` entries are beyond that."""
        try:
            return LogView.read(self.log_path, log=self.log_public_key())
        except (FormatError, VerificationError) as err:
            err.hint = err.hint or REPAIR
            raise

    def trust_in(self, digest: str, view: LogView | None = None) -> TrustStore:
        """Whose signatures count on what has this digest: now, or when the log recorded it. view: if it was read."""
        store = self.trust()
        return (view or self.view()).trusted(store, digest) if store.has_ended else store

    def open_bundle(self, bundle: Bundle | Path | str) -> Bundle:
        """A bundle that somebody signed whom the workspace trusts; raises as `Bundle.open` does."""
        place = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
        manifest = place / MANIFEST
        digest = file_sha256_hex(manifest) if manifest.is_file() else ""
        trusted = self.trust_in(digest).keys(Role.SKETCH_SIGNER)
        if isinstance(bundle, Bundle):
            if {key.key_id for key in trusted} & set(bundle.signers):
                return bundle
            bundle = bundle.path
        return Bundle.open(bundle, trust=trusted)

    def bundle_of(self, release: ReleaseNamed, *, view: LogView | None = None) -> Bundle:
        """The bundle of a release, where it lay when that was registered, or where its link leads now.

        view: the log, if it was read.

        Raises:
            UnknownNameError: There is no such release, or its bundle is not at hand.
            VerificationError: It is another bundle, or does not verify.
        """
        registry = self.registry() if view is None else view.registry
        found = registry.get(release_id(release))
        place = whereabouts(self.root, found)
        if is_cut(place):
            raise UnknownNameError(
                f"the bundle of {found.id} was cut: nothing is left of it but the list of its people"
            )
        opened = self.open_bundle(place)
        require_bundle_of(found, opened)
        return opened

    def registry(self) -> Registry:
        """All releases, as the log tells them now."""
        return self.view().registry

    def register(
        self,
        bundle: Bundle | Path | str,
        *,
        name: str,
        version: str,
        replaces: ReleaseNamed | None = None,
        on: date | None = None,
        by: str | None = None,
    ) -> Release:
        """Record that the model of a bundle came into use.

        Args:
            bundle: Its sketch, signed by somebody trusted.
            name: What the model is called: a word.
            version: Which one of that name.
            replaces: The release that it takes the place of, which is in use no more.
            on: The day.
            by: Who says so.

        Raises:
            RefusedError: There is such a release, or the model is in force under another name; the one that it replaces
                is not in force; it holds data of somebody who was told that the model was trained again without.
            UnknownNameError: There is nothing of the name that it replaces.
            ValueError: A name is none, or the day is in the future.
            VerificationError: The bundle does not verify.
        """
        _require(WORD.fits(name), f"name must be {WORD.what}: got {name!r}")
        _require(VERSION.fits(version), f"version must be {VERSION.what}: got {version!r}")
        opened = self.open_bundle(bundle)
        said = Registered(
            name=name,
            version=version,
            artefacts=Artefacts.of(opened),
            replaces=None if replaces is None else release_id(replaces),
            by=self._who(by),
            on=self._day(on),
        )

        def prepare(view: LogView) -> None:
            require_kept_promises(view.register, opened)
            if view.register.forgotten and self.pseudonym_key_path.exists():
                require_present_names(PseudonymKey.load(self.pseudonym_key_path), opened.units, view.register)
            remember(self.root, f"{name}@{version}", opened.path)

        return self._record_release(said, prepare)

    def retire(self, release: ReleaseNamed, *, on: date | None = None, by: str | None = None) -> Release:
        """Record that a release went out of use, with nothing in its place; `register` says what takes its place.

        Args:
            release: Which.
            on: The day.
            by: Who says so.

        Raises:
            RefusedError: It is not in force.
            UnknownNameError: There is none of that id.
            ValueError: The day is in the future.
        """
        return self._record_release(Retired(release=release_id(release), by=self._who(by), on=self._day(on)))

    def asked_since(self, release: ReleaseNamed) -> tuple[Request, ...]:
        """The requests that were received after a release was registered, duplicates left out."""
        view = self.view()
        return requests_since(view, view.registry.get(release_id(release)))

    def open_requests(self, release: ReleaseNamed | None = None) -> tuple[Request, ...]:
        """The open requests of people whose data a release holds, the most urgent first; no duplicates.

        release: None: the only one in force; RefusedError if there are none or several.
        """
        view = self.view()
        found = only(view.registry.in_force) if release is None else view.registry.get(release_id(release))
        people = people_of(self.root, found, view.register)
        return tuple(item for item in self.requests() if item.subject in people and not item.duplicate_of)

    def holding(self, requests: Sequence[Asked], *, view: LogView | None = None) -> tuple[Release, ...]:
        """The releases in force that hold the data of everybody who made these requests. view: the log, if it was read.

        Raises:
            UnknownNameError: The bundle of one in force is not at hand, or there is no such request.
            RefusedError: Who is in one in force cannot be told.
        """
        view = self.view() if view is None else view
        subjects = {view.register.get(id_of(request)).subject for request in requests}
        return tuple(item for item in view.registry.in_force if subjects <= people_of(self.root, item, view.register))

    def standing(self, release: ReleaseNamed, bundle: Bundle | Path | str | None = None) -> Standing:
        """Who of a release was answered without retraining, and what its model would be without all of them.

        Whenever they were answered: whose data was trained on again has not left.

        Args:
            release: Which.
            bundle: The one that was registered with it; None: where it lay then.

        Raises:
            VerificationError: It is another bundle.
            RefusedError: Who is in the bundle cannot be told: its pseudonyms are made with another key.
            UnknownNameError: There is no such release, or the policy names a probe that the bundle does not have.
        """
        view, rules = self.view(), self.policy().certificate
        found, opened = self._registered(view, release, bundle)
        people = tuple(who for who in standing_set(view.register, opened) if who not in found.without)
        changes = tuple(
            _joint(opened.probe(name), people, rules.tolerances[name]) for name in aggregate(opened, rules.probes)
        )
        spread = strangers(opened, rules.tolerances.get(OWN_LOSS))
        return Standing(people=people, units=len(opened.units), changes=changes, strangers=spread)

    def _registered(
        self, view: LogView, release: ReleaseNamed, bundle: Bundle | Path | str | None
    ) -> tuple[Release, Bundle]:
        """A release, and its bundle, which was given or is where it lay then."""
        found = view.registry.get(release_id(release))
        opened = self.bundle_of(release, view=view) if bundle is None else self.open_bundle(bundle)
        require_bundle_of(found, opened)
        return found, opened

    def _record_release(self, body: ReleaseBody, prepare: Callable[[LogView], None] | None = None) -> Release:
        """Decide on what the log says while no other writer records, then record."""
        view, log = self.view(), self.open_log()
        kind = ReleaseEvent.RETIRED if isinstance(body, Retired) else ReleaseEvent.REGISTERED
        with log.exclusive() as writer:
            registry = view.up_to(writer.end).registry
            changed = registry.after(writer.end.index, body)
            if prepare is not None:
                prepare(view)
            writer.record_many([draft(kind, to_json(body))])
        return changed[-1]

    def _who(self, by: str | None) -> str:
        return self.policy().require_word("actors", by or self.actor)

    def _day(self, on: date | None) -> date:
        if on is not None and on > self.today:
            raise ValueError(f"a day in the future: got {on}, today is {self.today}")
        return on or self.today


def only(releases: Sequence[Release], *, of: str = "in force") -> Release:
    """The one release there is; RefusedError lists them where there are none or several. of: what they share."""
    if len(releases) == 1:
        return releases[0]
    there = ", ".join(release.id for release in releases)
    hint = "say which: --release" if there else "`unlearnkit release add` records which model is in use"
    raise RefusedError(f"{counted(len(releases), 'release')} {of}, expected one: {there or 'none'}", hint=hint)


def release_id(release: ReleaseNamed) -> str:
    """The id of a release; FormatError for a text that is none."""
    if isinstance(release, Release):
        return release.id
    return RELEASE_ID.require(release, where="release")


def requests_since(view: LogView, release: Release) -> tuple[Request, ...]:
    """The requests that a log received after a release, duplicates left out."""
    return tuple(
        request
        for request in view.register.requests.values()
        if request.steps[0].index > release.index and not request.duplicate_of
    )


def aggregate(bundle: Bundle, probes: Sequence[str]) -> list[str]:
    """Those that are about everybody together."""
    return [name for name in probes if name != bundle.manifest.own_loss]


def _joint(sketch: Sketch, people: tuple[str, ...], tolerance: Decimal) -> JointChange:
    if not people:
        return JointChange(probe=sketch.name, largest=0.0, tolerance=tolerance, convergence=CONVERGING)
    prediction = sketch.predict(people)
    change = np.ravel(prediction.change)
    return JointChange(
        probe=sketch.name,
        largest=float(change[np.abs(change).argmax()]),
        tolerance=tolerance,
        convergence=prediction.convergence.worst,
    )


def _require(holds: object, message: str) -> None:
    if not holds:
        raise FormatError(message)
