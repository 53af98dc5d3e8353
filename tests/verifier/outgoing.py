"""An office whose model was trained again without somebody: small@1 holds ann, small@2 took its place and does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bundle.small import KEY, UNITS, small
from tests.verifier.issuance import RULES, Issuer, issuer, register_release
from unlearnkit.bundle import Bundle, PseudonymKey, write_bundle
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.view import LogView
from unlearnkit.verifier.absence import Absence, clearing_body, entry_type, sign_absence
from unlearnkit.verifier.issue_absence import Clearance, certify_absence
from unlearnkit.verifier.verify_absence import VerifiedAbsence, verify_absence

WITHOUT_ANN = ["eve", *UNITS[1:]]


@dataclass(frozen=True)
class Outgoing:
    """bundles: by the id of a release."""

    office: Issuer
    bundles: dict[str, Bundle]

    def view(self) -> LogView:
        return LogView.read(self.office.folder / "log")

    def people(self, release: Release) -> frozenset[str]:
        return frozenset(self.bundles[release.id].units)

    def clear(self, *requests: str, before: str | None = None) -> Clearance:
        office, view = self.office, self.view()
        return certify_absence(
            requests,
            before=None if before is None else view.registry.get(before),
            people=self.people,
            log=office.log,
            origin=office.log_key.origin,
            policy=office.policy,
            signers=[office.signer],
            view=view,
            keep=lambda raw: None,
        )

    def forge(self, issued: Clearance, change: Callable[[Absence], Absence] = lambda made: made) -> bytes:
        """An altered certificate, signed and recorded as if it were right."""
        office = self.office
        with office.log.exclusive() as writer:
            forged = change(issued.certificate)
            raw = sign_absence(forged, [office.signer])
            writer.record_many([draft(entry_type(forged), clearing_body(forged, raw))])
        return raw

    def verify(self, raw: bytes, *, exclusion: bool = True, bundles: Sequence[Path] | None = None) -> VerifiedAbsence:
        office = self.office
        publish_checkpoint(office.log, office.log_key)
        places = [bundle.path for bundle in self.bundles.values()] if bundles is None else bundles
        return verify_absence(
            raw, where="x.json", exclusion=exclusion, beside=office.materials(bundles=tuple(places), bundle=None)
        )

    def add(self, version: str, *, replaces: str | None, key: PseudonymKey = KEY, **options) -> Bundle:
        """A bundle of another training, registered as small@VERSION."""
        office, place = self.office, self.office.folder / f"bundle-{version}"
        made = trained(office, place, version, key=key, **options)
        register_release(office.log, made, version, replaces=replaces)
        self.bundles[f"small@{version}"] = made
        return made


def trained(office: Issuer, place: Path, version: str, *, recipe: str = "", units=WITHOUT_ANN, **options) -> Bundle:
    """The bundle of another training, of other people."""
    scratch = office.folder / f"run-{version}"
    scratch.mkdir()
    contents = small(scratch, weights=False, units=units, recipe=recipe or version * 64, **options)
    model = {**contents.contents["model"]}
    model["layer.bias"] = model["layer.bias"] + float(version)
    write_bundle(place, manifest=contents.manifest, signer=office.signer, **{**contents.contents, "model": model})
    return Bundle.open(place, trust=[office.signer.public])


def outgoing(folder: Path) -> Outgoing:
    """Ann asked (R2) and was in small@1, which small@2 replaced."""
    office = issuer(folder, rules=RULES)
    made = Outgoing(office, {"small@1": office.bundle})
    office.request("ann")
    made.add("2", replaces="small@1")
    return made
