"""Forgetting people whose requests are needed no longer: who they are, who has to wait, and who is known as before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.releases.whereabouts import is_at_hand, people_of
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.names import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Purging:
    """Whose requests are needed no longer on a day, by pseudonym.

    due: who can be forgotten, with the last day on which their requests were needed. waiting: whose data a release in
    force holds, and which: if they asked again, they would have to be found in it.
    """

    due: Mapping[str, date]
    waiting: Mapping[str, str]


def purging(view: LogView, root: Path, today: date) -> Purging:
    """Who can be forgotten.

    Raises:
        UnknownNameError: The bundle of a release in force is not at hand.
        RefusedError: Who is in one cannot be told.
    """
    register = view.register
    needed = register.needed_until()
    ended = {who: until for who, until in needed.items() if until < today and who not in register.forgotten}
    waiting: dict[str, str] = {}
    for release in view.registry.in_force if ended else ():
        waiting |= dict.fromkeys(people_of(root, release, register) & ended.keys(), release.id)
    return Purging(due={who: until for who, until in ended.items() if who not in waiting}, waiting=waiting)


def people_at_hand(view: LogView, root: Path) -> set[str]:
    """Everybody in a release whose bundle is at hand, of whatever release that is or was in use."""
    found: set[str] = set()
    for release in view.registry.releases.values():
        if is_at_hand(root, release) and release.artefacts.key == view.register.request_key:
            found.update(people_of(root, release, view.register), release.without)
    return found


def require_present_names(key: PseudonymKey, units: Sequence[str], register: Register) -> None:
    """RefusedError if a bundle names people as the pseudonym key did before it forgot somebody: nobody finds them."""
    strange = [unit for unit in key.unknown(units) if unit not in register.forgotten] if register.forgotten else []
    if strange:
        raise RefusedError(
            f"an older copy of the pseudonym key names {len(strange)} of {counted(len(units), 'person')} in the bundle",
            hint="sketch it again with the key that the workspace has since the last purge",
        )
