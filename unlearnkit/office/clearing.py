"""Certificates of absence and exclusion in a workspace: that somebody's data is in no model in use (any more)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, partial
from pathlib import Path

from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.releases.whereabouts import People, people_of
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.office.certified import Certified
from unlearnkit.office.filing import FOLDER, finish, first_of, keep, require_free
from unlearnkit.office.intake import Asked, id_of
from unlearnkit.office.releases import ReleaseNamed, ReleaseSteps, release_id
from unlearnkit.verifier.absence import Absence
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.issue_absence import certify_absence, held_before


class CertificateKind(StrEnum):
    """What can be certified of somebody: what a model would be without them; that they were left out; or in none."""

    EFFECT = "effect"
    EXCLUSION = "exclusion"
    ABSENCE = "absence"


@dataclass(frozen=True)
class ClearingSteps(ReleaseSteps):
    """What is certified of people who are in no model, as `ReleaseSteps` is about those who are."""

    passphrase: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def certificates_path(self) -> Path:
        """The folder in which certificates are kept."""
        return self.root / FOLDER

    def kind_of(self, requests: Sequence[Asked]) -> CertificateKind:
        """What can be certified of some requests, by where the data of those who made them is.

        The effect, if a release in force holds any; exclusion, if one did that was replaced; otherwise absence.

        Raises:
            UnknownNameError: There is no such request, or the bundle of a release is not at hand.
            RefusedError: Who is in a release cannot be told.
        """
        view = self.view()
        return _kind(view, _subjects(view, requests), self._people(view))

    def open_of_kind(self, kind: CertificateKind | str) -> tuple[Request, ...]:
        """The open requests of which this can be certified, the most urgent first. Raises as `kind_of`."""
        view, wanted = self.view(), CertificateKind(kind)
        people = cache(self._people(view))
        asked = [item for item in self.requests() if not item.duplicate_of]
        return tuple(item for item in asked if _kind(view, frozenset([item.subject]), people) is wanted)

    def certify_absence(
        self,
        requests: Sequence[Asked],
        *,
        kind: CertificateKind | str | None = None,
        before: ReleaseNamed | None = None,
        out: Path | str | None = None,
        force: bool = False,
    ) -> Certified[Absence]:
        """Certify that the data of those who made some requests is in no model in use.

        The certificate is written to a file, recorded in the log, and covered by a new checkpoint; then the file holds
        the proof that the log has it, too. Where the policy asks for more signatures, the file waits for them, and
        nothing is recorded before: see `countersign`.

        Args:
            requests: Requests, or their ids.
            kind: "exclusion": besides, they were in a release, and another, trained without them, took its place;
                "absence": nothing is said of before. None: the first of them, if they were in one.
            before: The release that they were in; None: the last that was replaced.
            out: The file, or a folder that is there; None: ``certificates`` in the workspace. In a folder, it is
                ``R2.exclusion.json``, after the first request.
            force: Replace a certificate that is there.

        Raises:
            RefusedError: There is something at that place. One of them is in a release in force, or was not in the one
                before; that was not replaced by one trained anew; who is in a release cannot be told; a request is
                closed.
            UnknownNameError: There is no such request, or the bundle of a release is not at hand.
        """
        names = [id_of(request) for request in requests]
        signer, log_key = self.signer_key(self.passphrase), self.log_key(self.passphrase)
        log, view, policy = self.open_log(), self.view(), self.policy_of(names)
        was = self._before(view, names, None if kind is None else CertificateKind(kind), before)
        path = self.certificates_path if out is None else Path(out)
        if out is None or path.is_dir():
            path /= f"{first_of(names)}.{CertificateKind.ABSENCE if was is None else CertificateKind.EXCLUSION}.json"
        require_free(path, force=force)
        made = certify_absence(
            names,
            before=was,
            people=self._people(view),
            log=log,
            origin=self.origin,
            policy=policy,
            signers=[signer],
            view=view,
            keep=partial(keep, path, force=force),
        )
        file, missing = CertificateFile(envelope=made.raw), max(0, policy.signing.threshold - 1)
        finish(path, file, made.entry, log=log, key=log_key, view=view)
        self.share(path)
        return Certified(certificate=made.certificate, digest=file.digest, path=path, missing=missing, entry=made.entry)

    def _before(
        self, view: LogView, names: Sequence[str], kind: CertificateKind | None, before: ReleaseNamed | None
    ) -> Release | None:
        """The release that they were in before; None for a certificate of absence."""
        if kind is CertificateKind.EFFECT:
            raise ValueError("an effect is certified by certify(), from a bundle")
        if kind is CertificateKind.ABSENCE:
            return None
        if before is not None:
            return view.registry.get(release_id(before))
        found = held_before(view.registry, _subjects(view, names), self._people(view))
        if found is None and kind is CertificateKind.EXCLUSION:
            raise RefusedError("they were in no release that was replaced", hint="certify absence")
        return found

    def _people(self, view: LogView) -> People:
        return lambda release: people_of(self.root, release, view.register)


def _kind(view: LogView, subjects: frozenset[str], people: People) -> CertificateKind:
    if any(subjects & people(release) for release in view.registry.in_force):
        return CertificateKind.EFFECT
    was = held_before(view.registry, subjects, people)
    return CertificateKind.ABSENCE if was is None else CertificateKind.EXCLUSION


def _subjects(view: LogView, requests: Sequence[Asked]) -> frozenset[str]:
    return frozenset(view.register.get(id_of(request)).subject for request in requests)
