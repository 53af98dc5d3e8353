"""Who is still in a model: those who were answered without retraining, and those who must not be in it any more.

Derived from the log and the list of units in a bundle; nothing is stored (docs/theory.md section 12).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.policy import Ending
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.requests.steps import Event, Fulfilled
from unlearnkit.errors import RefusedError, VerificationError


def answered(register: Register, ending: Ending, *, before: int | None = None) -> dict[str, str]:
    """Those whose request was fulfilled in one way, by pseudonym: the request that was.

    before: only if that was before this entry of the log; None: everybody.
    """
    found = {}
    for request in register.requests.values():
        if not request.last(Event.FULFILLED):
            continue
        for step in request.steps:
            is_before = before is None or step.index < before
            if is_before and isinstance(step.body, Fulfilled) and step.body.method == ending:
                found[request.subject] = request.id
    return found


def standing_set(register: Register, bundle: Bundle, *, before: int | None = None) -> tuple[str, ...]:
    """The people in a bundle who were answered without retraining: pseudonyms, sorted.

    Whenever they were: that the same people's data were trained on again, or that the same model has a new name, makes
    nobody leave.

    Args:
        register: All requests.
        bundle: Of the release.
        before: Only what was answered before this entry of the log; None: everything.

    Raises:
        RefusedError: The pseudonyms in the bundle are made with another key than those of the requests.
    """
    require_same_key(register, bundle)
    found = answered(register, Ending.NEGLIGIBLE_EFFECT, before=before)
    return tuple(sorted(who for who in found if who in bundle.units))


def answered_without_retraining(register: Register, bundle: Bundle, *, before: int | None = None) -> tuple[str, ...]:
    """The people in a bundle who stand, or for whom its weights were corrected: whom a correction must leave out.

    Args:
        register: All requests.
        bundle: Of the release.
        before: Only what was answered before this entry of the log; None: everything.

    Returns:
        Their pseudonyms, sorted.

    Raises:
        RefusedError: The pseudonyms in the bundle are made with another key than those of the requests.
    """
    require_same_key(register, bundle)
    endings = (Ending.NEGLIGIBLE_EFFECT, Ending.CORRECTED)
    found = {who for ending in endings for who in answered(register, ending, before=before)}
    return tuple(sorted(who for who in found if who in bundle.units))


def require_bundle_of(release: Release, bundle: Bundle) -> None:
    """VerificationError unless a bundle is the one that was registered, or from which a release was corrected."""
    found = Artefacts.of(bundle)
    if release.corrects is not None:
        found = replace(found, model=release.artefacts.model)
    if found != release.artefacts:
        raise VerificationError(
            f"this is not the bundle of {release.id}: its digest is {found.bundle}, the release's "
            f"{release.artefacts.bundle}"
        )


def require_kept_promises(register: Register, bundle: Bundle, *, without: Sequence[str] = ()) -> None:
    """RefusedError if a model holds data of somebody whose request was met by one without it.

    without: of the bundle's people, whom corrected weights leave out.
    """
    promised = answered(register, Ending.RETRAINED) | answered(register, Ending.CORRECTED)
    if promised:
        require_same_key(register, bundle)
    held = bundle.units.positions(promised.keys() - set(without))
    broken = [promised[bundle.units[place]] for place in held]
    if broken:
        raise RefusedError(
            f"the model holds data of people who were told that one without them is in use: {', '.join(broken)}",
            hint="train it without them",
        )


def require_same_key(register: Register, bundle: Bundle) -> None:
    """RefusedError if the pseudonyms in a bundle are not those of the requests: then nobody can be found in it."""
    key = bundle.manifest.pseudonym_key
    if key != register.request_key:
        raise RefusedError(
            f"cannot tell who is in the bundle: its pseudonyms are made with key {key}, those of the requests with "
            f"{register.request_key}",
            hint="sketch it with the workspace's pseudonym key",
        )
