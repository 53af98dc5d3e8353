"""What a certificate answers: of which release, for whose requests, and together with whom, when it was recorded."""

from __future__ import annotations

from typing import Protocol

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.registry import Registry
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import standing_set
from unlearnkit.compliance.requests.recount import recount
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import VerificationError
from unlearnkit.names import counted
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.origin import SketchOrigin, sketch_origin


def verify_release(certificate: Certificate, bundle: Bundle, registry: Registry, *, index: int) -> None:
    """The release was in force, with this bundle, when the entry ``index`` recorded it; VerificationError if not."""
    release = registry.releases.get(certificate.release)
    if release is None:
        raise VerificationError(f"the certificate is wrong: the log has no release {certificate.release}")
    _require(release.was_in_force(before=index), f"release {release.id} was not in force at entry {index}")
    _require(release.artefacts == Artefacts.of(bundle), f"release {release.id} was registered with another bundle")


class Answering(Protocol):
    """A certificate that answers requests."""

    @property
    def requests(self) -> tuple[str, ...]:
        """Their ids."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Pseudonyms of who made them."""

    @property
    def policy_digest(self) -> str:
        """Of the policy that they were received under."""


def verify_requests(certificate: Answering, policy: Policy, register: Register, *, index: int) -> None:
    """Each request was there, and open, when the entry ``index`` recorded the certificate; VerificationError if not.

    The policy that it was received under is the certificate's, and its days are due as that says.
    """
    for name in certificate.requests:
        _verify_request(certificate, name, register, index)
        _verify_days(register.original(register.get(name)), policy)


def _verify_request(certificate: Answering, name: str, register: Register, index: int) -> None:
    _require(name in register.requests, f"the log has no request {name}")
    request = register.get(name)
    received = request.steps[0]
    _require(received.index < index, f"request {request.id} was received after it")
    _require(request.subject in certificate.subjects, f"request {request.id} was made by somebody else")
    _require(
        request.policy_digest == certificate.policy_digest,
        f"its policy is {certificate.policy_digest}, the request was received under {request.policy_digest}",
    )
    if step := register.original(request).closed_with(before=index):
        _require(None, f"request {request.id} was {step.event.state} before it, with entry {step.index}")


def _verify_days(request: Request, policy: Policy) -> None:
    """The days on which something is due are those that the policy gives for the day of receipt."""
    if request.policy_digest != policy.digest:  # a duplicate may have come in under a later text
        return
    for difference in recount(request, policy).differences[:1]:
        raise VerificationError(f"the certificate is wrong: {difference}")


def verify_together(certificate: Certificate, register: Register, bundle: Bundle, *, index: int) -> None:
    """The claims are about those who ask and everybody who stood at the entry ``index``; VerificationError if not."""
    asking = tuple(sorted({register.get(name).subject for name in certificate.requests}))
    _require(certificate.subjects == asking, "it names somebody as asking whose request it does not name")
    standing = standing_set(register, bundle, before=index)
    _require(
        certificate.standing == standing,
        f"its standing set has {counted(len(certificate.standing), 'person')}, the log and the bundle give "
        f"{len(standing)}",
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
