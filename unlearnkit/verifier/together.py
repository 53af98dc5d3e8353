"""Who is answered together: those who ask, and everybody whom the model still has though they were answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import standing_set
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, RefusedError
from unlearnkit.verifier.audits import LoggedAudit, logged_audits
from unlearnkit.verifier.origin import require_salt, sketch_origin


@dataclass(frozen=True, slots=True)
class Together:
    """Who is answered together, of which release. subjects: who asks. standing: who was answered without retraining.

    sketches: the entries that announced other sketches of its recipe.
    audits: of the recipe, as far as the log has them.
    """

    release: str
    requests: tuple[str, ...]
    subjects: tuple[str, ...]
    standing: tuple[str, ...]
    sketches: tuple[int, ...]
    audits: tuple[LoggedAudit, ...]

    @property
    def deleted(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted({*self.subjects, *self.standing}))


def together(view: LogView, names: Sequence[str], policy: Policy, bundle: Bundle, *, origin: str) -> Together:
    """Those whom these requests and the log bring together, if they may be answered now.

    Raises:
        UnknownNameError: There is no such request.
        ValueError: None was given, or one twice.
        RefusedError: One is closed, or the bundle is of no release in force, or has no data of a person.
        PolicyError: One is under another policy, or that takes no directions that somebody chose.
        VerificationError: The directions do not follow from the log, and say that they do.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f"requests: got {', '.join(names) or 'none'}, expected at least one, each once")
    require_salt(bundle.manifest, policy)
    register = view.register
    asked = [certifiable(register, name, policy) for name in names]
    if absent := [request.id for request in asked if request.subject not in bundle.units]:
        raise RefusedError(
            f"the bundle has no data of the person who made request {', '.join(absent)}",
            hint="there is nothing to certify; if the data is in another bundle, name that one",
        )
    return Together(
        release=view.registry.in_force_as(Artefacts.of(bundle)).id,
        requests=tuple(request.id for request in sorted(asked, key=lambda request: request.steps[0].index)),
        subjects=tuple(sorted({request.subject for request in asked})),
        standing=standing_set(register, bundle),
        sketches=sketch_origin(bundle.manifest, view, origin=origin).others,
        audits=logged_audits(view, bundle.manifest.recipe_digest),
    )


def certifiable(register: Register, name: str, policy: Policy) -> Request:
    """The request, if a certificate of it may be issued now."""
    request = register.get(name)
    original = register.original(request)
    if original.is_closed:
        step = original.current
        raise RefusedError(
            f"request {name} is closed: it was {step.event.state}, with entry {step.index}",
            hint="no certificate was issued, and no delta spent",
        )
    if request.policy_digest != policy.digest:
        raise PolicyError(
            f"request {name} was received under another version of its policy than {policy.name} is now",
            hint="certify it under that version; requests that come in now are under the new one",
        )
    return request
