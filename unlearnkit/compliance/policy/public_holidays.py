"""Public holidays for a policy: looked up once, when it is written, and then part of its text.

A policy's digest must not depend on which version of a list of holidays is installed somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date

from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.errors import FormatError, UnknownNameError

_ARRAY = re.compile(r"^holidays = \[[^\]]*\]", re.MULTILINE)


def public_holidays(place: str, years: Sequence[int]) -> dict[date, str]:
    """The public holidays of a country, or of a part of it, by day; needs the package ``holidays``.

    Args:
        place: As ISO 3166-2 has it: DE-BE, GB-ENG; or a country, DE.
        years: Which.

    Raises:
        UnknownNameError: The package knows no such place.
    """
    import holidays  # noqa: PLC0415 - an extra

    country, _, part = place.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=list(years))
    except NotImplementedError:
        hint = "a country and a part of it as ISO 3166-2 has them: DE-BE"
        raise UnknownNameError(f"no public holidays of {place!r} are known", hint=hint) from None
    return dict(sorted(found.items()))


def with_holidays(raw: bytes, found: Mapping[date, str], *, where: str) -> bytes:
    """A policy's text with these days among its holidays; those that it has already stay.

    Raises:
        FormatError: It is no policy, or has no line ``holidays = [...]``.
    """
    policy = parse_policy(raw, where=where)
    days = sorted({*policy.working_days.holidays, *found})
    lines = "".join(f"    {day},{f'  # {found[day]}' if day in found else ''}\n" for day in days)
    text, count = _ARRAY.subn(lambda _: f"holidays = [\n{lines}]" if days else "holidays = []", policy.text, count=1)
    if not count:
        raise FormatError(f"{where} has no line 'holidays = [...]'", hint="add 'holidays = []' to [working_days]")
    made = text.encode()
    parse_policy(made, where=where)
    return made
