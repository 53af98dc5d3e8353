"""Corrected models in a workspace: weights without some people, certified, and in use as a release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.releases.release import Artefacts, Corrects, Registered
from unlearnkit.compliance.releases.standing import require_kept_promises
from unlearnkit.compliance.releases.whereabouts import remember
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.estimation import Prediction
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.office.certificates import CertificateSteps
from unlearnkit.office.filing import finish, first_of, keep, require_free
from unlearnkit.office.intake import Asked, id_of
from unlearnkit.office.recorded import corrections_in
from unlearnkit.office.releases import ReleaseNamed, only, release_id
from unlearnkit.office.serving import require_place, writer
from unlearnkit.verifier.certificate import Outcome
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file
from unlearnkit.verifier.correction import CorrectionCertificate
from unlearnkit.verifier.issue_correction import correct


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorrectedModel:
    """Weights without some people, and the certificate of them.

    digest: SHA-256 of the certificate's envelope, by which the log knows it. path: of its file. model: of the weights,
    a file or a folder.
    missing: so many signatures more the policy asks for; until they are there, it is not recorded.
    predictions: of the bundle's probes without the same people, by name; own losses: of all of them.
    """

    certificate: CorrectionCertificate
    digest: str
    path: Path
    model: Path
    missing: int
    entry: Entry | None
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True)
class CorrectionSteps(CertificateSteps):
    """What is done with corrected models, as `CertificateSteps` is about certificates of the effect."""

    def correct(
        self,
        requests: Sequence[Asked],
        *,
        out: Path | str,
        release: ReleaseNamed | None = None,
        evidence: Sequence[Path | str] = (),
        certificate: Path | str | None = None,
        like: Path | str | None = None,
        force: bool = False,
    ) -> CorrectedModel:
        """Write the weights that the sketch predicts without those who made some requests, and certify them.

        Always from the trained weights, for everybody who asks and everybody who was answered without retraining, or
        by a correction, before. The weights are on disk, then the certificate, then the entry of the log. Where the
        policy asks for more signatures, the certificate waits for them, and nothing is recorded: see `countersign`.

        Args:
            requests: Requests, or their ids.
            out: The file for the weights, which is not there yet: ``.pt``, ``.pth`` and ``.bin`` are a state dict for
                torch, every other name is safetensors.
            release: The model in use that they take the place of; None: the one that holds the data of all of them.
            evidence: Files of audits of the bundle, where the workspace does not keep them itself.
            certificate: Its file, or a folder; None: ``certificates`` in the workspace. In a folder it is named after
                the first request and the release: ``R2-digits@1.correction.json``.
            like: The Hugging Face folder of the model before: then ``out`` becomes such a folder, with its other files.
            force: Replace a certificate that is there.

        Raises:
            RefusedError: Something is at one of the places. The bundle keeps no series of weights, or they diverge for
                so many people; a request is closed; no release in force holds the data of all of them.
            UnknownNameError: There is no such request, or the bundle or evidence is not at hand.
        """
        names = [id_of(request) for request in requests]
        signer, log_key = self.signer_key(self.passphrase), self.log_key(self.passphrase)
        view, log, target, policy = self.view(), self.open_log(), Path(out), self.policy_of(names)
        found = self._meant(names, release, view)
        bundle = self.bundle_of(found, view=view)
        path = self.certificates_path if certificate is None else Path(certificate)
        if certificate is None or path.is_dir():
            path /= f"{first_of(names)}-{found.id}.correction.json"
        require_free(path, force=force)
        original = None if like is None else Path(like)
        require_place(target, original)
        write = writer(target, original, bundle.manifest.tied)

        def kept(envelope: bytes, weights: bytes) -> None:
            write(weights)
            keep(path, envelope, force=force)

        made = correct(
            bundle,
            names,
            log=log,
            origin=self.origin,
            policy=policy,
            signers=[signer],
            evidence=self._evidence(view, bundle, evidence),
            view=view,
            keep=kept,
        )
        file = CertificateFile(envelope=made.raw)
        finish(path, file, made.entry, log=log, key=log_key, view=view)
        self.share(path, target)
        return CorrectedModel(
            certificate=made.certificate,
            digest=file.digest,
            path=path,
            model=target,
            missing=max(0, policy.signing.threshold - 1),
            entry=made.entry,
            predictions=_predictions(bundle, made.certificate),
        )

    def register_correction(
        self,
        certificate: Path | str,
        *,
        name: str,
        version: str,
        replaces: ReleaseNamed | None = None,
        on: date | None = None,
        by: str | None = None,
    ) -> Release:
        """Record that corrected weights came into use.

        Args:
            certificate: Of the correction, with its entry in the log.
            name: What the model is called: a word.
            version: Which one of that name.
            replaces: The release that it takes the place of; None: the one that was corrected.
            on: The day.
            by: Who says so.

        Raises:
            RefusedError: The log records no such correction, or one that may not be served; what `register` raises.
            UnknownNameError: There is nothing of the name that it replaces, or its bundle is not at hand.
        """
        where = str(certificate)
        file = parse_certificate_file(read_bounded(Path(certificate), MAX_DOCUMENT), where=where)
        view = self.view()
        said = next((item for item in corrections_in(view) if item.certificate == file.digest), None)
        if said is None:
            raise RefusedError(f"the log records no correction certificate like {where}", hint="`unlearnkit correct`")
        if said.decision != Outcome.CORRECT:
            raise RefusedError(f"{where} decided {said.decision}: these weights may not be served")
        before = view.registry.get(said.release)
        trained = before if before.corrects is None else view.registry.get(before.corrects.release)
        bundle = self.bundle_of(trained, view=view)
        if sha256_hex(bundle.correction(said.without).to_bytes()) != said.model:
            raise VerificationError(f"the bundle of {trained.id} does not give the weights of {where}")
        body = Registered(
            name=name,
            version=version,
            artefacts=replace(Artefacts.of(bundle), model=said.model),
            replaces=said.release if replaces is None else release_id(replaces),
            corrects=Corrects(release=trained.id, certificate=said.certificate, without=said.without),
            by=self._who(by),
            on=self._day(on),
        )

        def prepare(view: LogView) -> None:
            require_kept_promises(view.register, bundle, without=said.without)
            remember(self.root, f"{name}@{version}", bundle.path)

        return self._record_release(body, prepare)

    def _meant(self, names: Sequence[str], release: ReleaseNamed | None, view: LogView) -> Release:
        """The release that is corrected."""
        if release is None:
            return only(self.holding(names, view=view), of=f"in force hold all of {', '.join(names)}")
        return view.registry.get(release_id(release))


def _predictions(bundle: Bundle, certificate: CorrectionCertificate) -> dict[str, Prediction]:
    own, without = bundle.manifest.own_loss, certificate.without
    return {
        name: bundle.own_loss(without) if name == own else bundle.probe(name).predict(without)
        for name in bundle.probe_names
    }
