"""What a certificate answers: of which release, for whose requests, and together with whom, when it was recorded."""

from __future__ import annotations

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.releases.registry import Registry
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import standing_set
from unlearnkit.compliance.requests.register import CLOSING, Register
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import VerificationError
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.origin import SketchOrigin, sketch_origin


def verify_release(certificate: Certificate, bundle: Bundle, registry: Registry, *, index: int) -> None:
    """The release was in force, with this bundle, when the entry ``index`` recorded it; VerificationError if not."""
    release = registry.releases.get(certificate.release)
    if release is None:
        raise VerificationError(f"the certificate is wrong: the log has no release {certificate.release}")
    _require(release.was_in_force(before=index), f"release {release.id} was not in force at entry {index}")
    _require(release.artefacts == Artefacts.of(bundle), f"release {release.id} was registered with another bundle")


def verify_requests(certificate: Certificate, register: Register, *, index: int) -> None:
    """Each request was there, and open, when the entry ``index`` recorded the certificate; VerificationError."""
    for name in certificate.requests:
        _verify_request(certificate, name, register, index)


def _verify_request(certificate: Certificate, name: str, register: Register, index: int) -> None:
    _require(name in register.requests, f"the log has no request {name}")
    request = register.get(name)
    received = request.steps[0]
    _require(received.index < index, f"request {request.id} was received after it")
    _require(request.subject in certificate.subjects, f"request {request.id} was made by somebody else")
    _require(
        request.policy_digest == certificate.policy_digest,
        f"its policy is {certificate.policy_digest}, the request was received under {request.policy_digest}",
    )
    for step in register.original(request).steps:
        is_before = step.event in CLOSING and step.index < index
        _require(not is_before, f"request {request.id} was {step.event.state} before it, with entry {step.index}")


def verify_together(certificate: Certificate, register: Register, bundle: Bundle, *, index: int) -> None:
    """The claims are about those who ask and everybody who stood at the entry ``index``; VerificationError if not."""
    asking = tuple(sorted({register.get(name).subject for name in certificate.requests}))
    _require(certificate.subjects == asking, "it names somebody as asking whose request it does not name")
    standing = standing_set(register, bundle, before=index)
    _require(
        certificate.standing == standing,
        f"its standing set has {len(certificate.standing)} people, the log and the bundle give {len(standing)}",
    )
    verify_union(certificate)


def verify_union(certificate: Certificate) -> None:
    """The claims are about those who ask and who stand, as the certificate itself names them; VerificationError."""
    together = tuple(sorted({*certificate.subjects, *certificate.standing}))
    _require(certificate.deleted == together, "it deletes other data than that of who asks and who stands")


def verify_origin(certificate: Certificate, bundle: Bundle, view: LogView, *, index: int) -> SketchOrigin:
    """The bundle's directions come from where it says, and the certificate names every other sketch; returns where.

    Raises:
        VerificationError: It does not name them all, or the directions do not follow from the log.
    """
    found = sketch_origin(bundle.manifest, view, origin=certificate.log, before=index)
    _require(
        certificate.sketches == found.others,
        f"it names other sketches of its recipe at entries {certificate.sketches}, the log has {found.others}",
    )
    return found


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
